"""Images in and out: which files to read, what is drawn on them, and where answers are written."""
