"""Input and output of images and videos: reading, drawing, and writing results."""
