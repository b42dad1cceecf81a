"""Video input from files, cameras, streams and pipes, and recordings."""
