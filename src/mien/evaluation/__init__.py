"""Measuring model files: metrics, calibration, and the command's library function."""
