"""Data sets: the one currency (`samples`), readers, and toy faces."""
