"""mien: facial expression recognition, from raw images of faces to a recogniser in daily use.

    import mien
    result = mien.predict("photo.jpg")
    result[0].expression

`import mien` is light; what a name needs is imported when the name is first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mien.version import __version__

if TYPE_CHECKING:
    from mien.errors import (
        DataError,
        DetectorError,
        DeviceError,
        MienError,
        MissingExtraError,
        ModelFileError,
        OutputError,
        PictureError,
        VideoError,
    )
    from mien.evaluation.compare import compare_runs as compare
    from mien.exporting.export import export_model as export
    from mien.model_file import ModelFile, open_model
    from mien.recognition.recognizer import Recognizer
    from mien.recognition.shortcuts import predict, watch
    from mien.releases import list_models
    from mien.results import Box, Face, FrameResult, ImageResult, Results, TrackedFace
    from mien.training.network_listing import list_networks

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports onnxruntime: see mien.inference

# Where each public name lives: module, or module:name. It also stands in the imports above, for type checkers, and in
# __all__; a test holds the three together.
_HOMES = {
    "Box": "mien.results",
    "DataError": "mien.errors",
    "DetectorError": "mien.errors",
    "DeviceError": "mien.errors",
    "Face": "mien.results",
    "FrameResult": "mien.results",
    "ImageResult": "mien.results",
    "MienError": "mien.errors",
    "MissingExtraError": "mien.errors",
    "ModelFile": "mien.model_file",
    "ModelFileError": "mien.errors",
    "OutputError": "mien.errors",
    "PictureError": "mien.errors",
    "Recognizer": "mien.recognition.recognizer",
    "Results": "mien.results",
    "TrackedFace": "mien.results",
    "VideoError": "mien.errors",
    "compare": "mien.evaluation.compare:compare_runs",
    "export": "mien.exporting.export:export_model",
    "list_models": "mien.releases",
    "list_networks": "mien.training.network_listing",
    "open_model": "mien.model_file",
    "predict": "mien.recognition.shortcuts",
    "watch": "mien.recognition.shortcuts",
}

__all__ = [
    "Box",
    "DataError",
    "DetectorError",
    "DeviceError",
    "Face",
    "FrameResult",
    "ImageResult",
    "MienError",
    "MissingExtraError",
    "ModelFile",
    "ModelFileError",
    "OutputError",
    "PictureError",
    "Recognizer",
    "Results",
    "TrackedFace",
    "VideoError",
    "__version__",
    "compare",
    "export",
    "list_models",
    "list_networks",
    "open_model",
    "predict",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mien' has no attribute '{name}'")
    module, _, other_name = _HOMES[name].partition(":")
    value = globals()[name] = getattr(import_module(module), other_name or name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
