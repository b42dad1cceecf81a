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
        ClusterError,
        DataError,
        DetectorError,
        DeviceError,
        ExportError,
        ImageError,
        MienError,
        MissingExtraError,
        ModelFileError,
        OutputError,
        RecipeError,
        ServingError,
        TrainingError,
        TruncatedVideoError,
        VideoError,
    )
    from mien.evaluation.shortcuts import calibrate, compare, ensemble, evaluate, explain
    from mien.exporting.export import export
    from mien.model_file import ModelFile, open_model
    from mien.recognition.recognizer import Recognizer
    from mien.recognition.shortcuts import predict, watch
    from mien.releases import list_models
    from mien.results import Box, Face, FrameResult, ImageResult, Results, TrackedFace
    from mien.training.callbacks import Callback
    from mien.training.network_listing import list_networks
    from mien.training.recipe import Recipe, list_recipes
    from mien.training.run import Run
    from mien.training.train import train, tune

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports onnxruntime: see mien.inference

# Where each public name lives: module, or module:name. The imports above (for type checkers) and
# __all__ list the same names; a test compares the three.
_HOMES = {
    "Box": "mien.results",
    "calibrate": "mien.evaluation.shortcuts",
    "Callback": "mien.training.callbacks",
    "ClusterError": "mien.errors",
    "compare": "mien.evaluation.shortcuts",
    "DataError": "mien.errors",
    "DetectorError": "mien.errors",
    "DeviceError": "mien.errors",
    "ensemble": "mien.evaluation.shortcuts",
    "evaluate": "mien.evaluation.shortcuts",
    "explain": "mien.evaluation.shortcuts",
    "export": "mien.exporting.export",
    "ExportError": "mien.errors",
    "Face": "mien.results",
    "FrameResult": "mien.results",
    "ImageError": "mien.errors",
    "ImageResult": "mien.results",
    "list_models": "mien.releases",
    "list_networks": "mien.training.network_listing",
    "list_recipes": "mien.training.recipe",
    "load_dataset": "mien.data.readers",
    "MienError": "mien.errors",
    "MissingExtraError": "mien.errors",
    "ModelFile": "mien.model_file",
    "ModelFileError": "mien.errors",
    "open_model": "mien.model_file",
    "OutputError": "mien.errors",
    "predict": "mien.recognition.shortcuts",
    "Recipe": "mien.training.recipe",
    "RecipeError": "mien.errors",
    "Recognizer": "mien.recognition.recognizer",
    "Results": "mien.results",
    "Run": "mien.training.run",
    "ServingError": "mien.errors",
    "TrackedFace": "mien.results",
    "train": "mien.training.train",
    "TrainingError": "mien.errors",
    "TruncatedVideoError": "mien.errors",
    "tune": "mien.training.train",
    "VideoError": "mien.errors",
    "watch": "mien.recognition.shortcuts",
}

__all__ = [
    "Box",
    "Callback",
    "ClusterError",
    "DataError",
    "DetectorError",
    "DeviceError",
    "ExportError",
    "Face",
    "FrameResult",
    "ImageError",
    "ImageResult",
    "MienError",
    "MissingExtraError",
    "ModelFile",
    "ModelFileError",
    "OutputError",
    "Recipe",
    "RecipeError",
    "Recognizer",
    "Results",
    "Run",
    "ServingError",
    "TrackedFace",
    "TrainingError",
    "TruncatedVideoError",
    "VideoError",
    "__version__",
    "audit",
    "calibrate",
    "compare",
    "ensemble",
    "evaluate",
    "explain",
    "export",
    "list_models",
    "list_networks",
    "list_recipes",
    "load_dataset",
    "open_model",
    "predict",
    "train",
    "tune",
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
