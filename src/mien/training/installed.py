"""Whether the extra [train] is installed; imports none of its packages."""

import importlib.util

from mien.errors import MissingExtraError

_PACKAGES = ("torch", "safetensors", "onnx", "onnxscript", "matplotlib")


def can_train() -> bool:
    """Whether the extra [train] is installed."""
    return all(importlib.util.find_spec(name) is not None for name in _PACKAGES)


def require_training(needs: str) -> None:
    """Raises MissingExtraError for what `needs` the extra [train] if it is not installed."""
    if not can_train():
        raise MissingExtraError("train", needs)
