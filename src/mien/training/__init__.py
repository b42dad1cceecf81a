"""Training: recipe and data in, run folder and model file out. The only part of mien that imports PyTorch."""
