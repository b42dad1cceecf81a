"""mien: facial expression recognition, from raw images of faces to a recogniser in daily use.

    import mien
    result = mien.predict("photo.jpg")
    result[0].expression

`import mien` is fast: each public name imports its module when it is first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mien.version import __version__

if TYPE_CHECKING:
    from mien.data.readers import load_dataset
    from mien.errors import (
        DataError,
        DetectorError,
        DeviceError,
        ImageError,
        MienError,
        MissingExtraError,
        ModelFileError,
        OutputError,
        VideoError,
    )
    from mien.evaluation.compare import compare
    from mien.evaluation.ensemble import ensemble
    from mien.evaluation.evaluate import evaluate
    from mien.evaluation.explain import explain
    from mien.evaluation.recalibrate import calibrate
    from mien.exporting.export import export
    from mien.model_file import ModelFile, open_model
    from mien.recognition.recognizer import Recognizer
    from mien.recognition.shortcuts import predict, watch
    from mien.releases import list_models
    from mien.results import Box, Face, FrameResult, ImageResult, Results, TrackedFace
    from mien.training.network_listing import list_networks
    from mien.training.train import train

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports onnxruntime: see mien.inference

# Where each public name lives: module, or module:name. The imports above (for type checkers) and
# __all__ list the same names; a test compares the three.
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
    "ImageError": "mien.errors",
    "Recognizer": "mien.recognition.recognizer",
    "Results": "mien.results",
    "TrackedFace": "mien.results",
    "VideoError": "mien.errors",
    "calibrate": "mien.evaluation.recalibrate",
    "compare": "mien.evaluation.compare",
    "ensemble": "mien.evaluation.ensemble",
    "evaluate": "mien.evaluation.evaluate",
    "explain": "mien.evaluation.explain",
    "export": "mien.exporting.export",
    "list_models": "mien.releases",
    "list_networks": "mien.training.network_listing",
    "load_dataset": "mien.data.readers",
    "open_model": "mien.model_file",
    "predict": "mien.recognition.shortcuts",
    "train": "mien.training.train",
    "watch": "mien.recognition.shortcuts",
}

__all__ = [
    "Box",
    "DataError",
    "DetectorError",
    "DeviceError",
    "Face",
    "FrameResult",
    "ImageError",
    "ImageResult",
    "MienError",
    "MissingExtraError",
    "ModelFile",
    "ModelFileError",
    "OutputError",
    "Recognizer",
    "Results",
    "TrackedFace",
    "VideoError",
    "__version__",
    "calibrate",
    "compare",
    "ensemble",
    "evaluate",
    "explain",
    "export",
    "list_models",
    "list_networks",
    "load_dataset",
    "open_model",
    "predict",
    "train",
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
