"""Images and videos in and out: which files to read, and where results are written and drawn."""
