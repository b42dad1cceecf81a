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
    from mien.data.audit_report import AuditReport
    from mien.data.crops import CropSettings, crop_dataset
    from mien.data.dataset import Dataset
    from mien.data.dedupe import dedupe as dedupe_dataset
    from mien.data.explore import explore as explore_dataset
    from mien.data.export import export_dataset
    from mien.data.flags import drop_flagged
    from mien.data.importing import import_dataset
    from mien.data.info import describe as describe_dataset
    from mien.data.readers import load_dataset
    from mien.data.screen import ScreenSettings, screen_dataset
    from mien.data.splits import SplitSettings, split_dataset
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
    from mien.evaluation.shortcuts import calibrate, compare, ensemble, evaluate, explain
    from mien.exporting.export import export
    from mien.faces import DetectorChoice
    from mien.model_file import ModelFile, open_model
    from mien.recognition.recognizer import Recognizer
    from mien.recognition.shortcuts import predict, watch
    from mien.releases import list_models
    from mien.results import Box, Face, FrameResult, ImageResult, Results, TrackedFace
    from mien.training.auditing import audit
    from mien.training.network_listing import list_networks
    from mien.training.train import train

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports onnxruntime: see mien.inference

# Where each public name lives: module, or module:name. The imports above (for type checkers) and
# __all__ list the same names; a test compares the three.
_HOMES = {
    "AuditReport": "mien.data.audit_report",
    "Dataset": "mien.data.dataset",
    "CropSettings": "mien.data.crops",
    "ScreenSettings": "mien.data.screen",
    "SplitSettings": "mien.data.splits",
    "DetectorChoice": "mien.faces",
    "audit": "mien.training.auditing",
    "import_dataset": "mien.data.importing",
    "crop_dataset": "mien.data.crops",
    "screen_dataset": "mien.data.screen",
    "split_dataset": "mien.data.splits",
    "export_dataset": "mien.data.export",
    "drop_flagged": "mien.data.flags",
    "dedupe_dataset": "mien.data.dedupe:dedupe",
    "explore_dataset": "mien.data.explore:explore",
    "describe_dataset": "mien.data.info:describe",
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
    "calibrate": "mien.evaluation.shortcuts",
    "compare": "mien.evaluation.shortcuts",
    "ensemble": "mien.evaluation.shortcuts",
    "evaluate": "mien.evaluation.shortcuts",
    "explain": "mien.evaluation.shortcuts",
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
    "AuditReport",
    "Box",
    "CropSettings",
    "DataError",
    "Dataset",
    "DetectorChoice",
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
    "ScreenSettings",
    "SplitSettings",
    "TrackedFace",
    "VideoError",
    "__version__",
    "audit",
    "calibrate",
    "compare",
    "crop_dataset",
    "dedupe_dataset",
    "describe_dataset",
    "drop_flagged",
    "ensemble",
    "evaluate",
    "explain",
    "explore_dataset",
    "export",
    "export_dataset",
    "import_dataset",
    "list_models",
    "list_networks",
    "load_dataset",
    "open_model",
    "predict",
    "screen_dataset",
    "split_dataset",
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
