"""The shipped model files; their cards are in docs/models."""
