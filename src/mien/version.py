"""mien's version: the one place that knows it."""

__version__ = "0.2.0"
