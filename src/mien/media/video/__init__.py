"""Moving images: frames in from files, cameras, streams and pipes; recordings out."""
