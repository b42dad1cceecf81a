"""Model files in other forms, each compared with its source before it is kept."""
