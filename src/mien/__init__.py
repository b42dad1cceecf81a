"""mien: facial expression recognition, from raw face pictures to a recogniser in daily use."""

__version__ = "0.1.0"
