"""mien: facial expression recognition, from raw face pictures to a recogniser in daily use.

    from mien import Recognizer
    result = Recognizer().predict("photo.jpg")

`import mien` is light; what a name needs is imported when the name is first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mien.version import __version__

if TYPE_CHECKING:
    from mien.errors import MienError
    from mien.model_file import ModelFile, open_model
    from mien.recognition.recognizer import Recognizer
    from mien.results import Box, Face, ImageResult

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports onnxruntime: see mien.inference

__all__ = ["Box", "Face", "ImageResult", "MienError", "ModelFile", "Recognizer", "__version__", "open_model"]

_HOMES = {
    "Box": "mien.results",
    "Face": "mien.results",
    "ImageResult": "mien.results",
    "MienError": "mien.errors",
    "ModelFile": "mien.model_file",
    "Recognizer": "mien.recognition.recognizer",
    "open_model": "mien.model_file",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mien' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
