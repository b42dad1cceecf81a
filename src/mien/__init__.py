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
    from mien.data.audit import audit
    from mien.data.audit_report import AuditReport
    from mien.data.crops import crop_dataset
    from mien.data.dataset import Dataset
    from mien.data.dedupe import dedupe as dedupe_dataset
    from mien.data.explore import explore as explore_dataset
    from mien.data.export import export_dataset
    from mien.data.flags import drop_flagged
    from mien.data.importing import import_dataset, plan_import
    from mien.data.info import describe as describe_dataset
    from mien.data.readers import load_dataset
    from mien.data.relabel import relabel_dataset
    from mien.data.screen import screen_dataset
    from mien.data.settings import CropSettings, ScreenSettings, SplitSettings
    from mien.data.splits import split_dataset
    from mien.errors import (
        ArgumentError,
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
    from mien.evaluation.compare import compare
    from mien.evaluation.comparison import Comparison
    from mien.evaluation.ensemble import ensemble
    from mien.evaluation.evaluate import evaluate
    from mien.evaluation.explain import Explanation, explain
    from mien.evaluation.hub import pull_model, push_model
    from mien.evaluation.recalibrate import calibrate
    from mien.evaluation.result import Evaluation
    from mien.exporting.export import export
    from mien.faces import DetectorChoice, FaceDetector
    from mien.model_file import ModelFile, load_model
    from mien.recognition.recognizer import Recognizer
    from mien.recognition.shortcuts import predict, watch
    from mien.recognition.watch import Watch
    from mien.releases import list_models
    from mien.results import Box, Details, Detections, Face, FrameResult, ImageResult, Results, TrackedFace
    from mien.training.callbacks import Callback
    from mien.training.cross_validation import CrossValidation, cross_validate
    from mien.training.network_listing import list_networks
    from mien.training.recipe import Recipe, list_recipes
    from mien.training.run import Run
    from mien.training.train import train, tune

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports onnxruntime: see mien.inference

# Where each public name lives: module, or module:name. The imports above (for type checkers) and
# __all__ list the same names; a test compares the three.
_HOMES = {
    "ArgumentError": "mien.errors",
    "AuditReport": "mien.data.audit_report",
    "Box": "mien.results",
    "Callback": "mien.training.callbacks",
    "ClusterError": "mien.errors",
    "Comparison": "mien.evaluation.comparison",
    "CropSettings": "mien.data.settings",
    "CrossValidation": "mien.training.cross_validation",
    "DataError": "mien.errors",
    "Dataset": "mien.data.dataset",
    "Details": "mien.results",
    "Detections": "mien.results",
    "DetectorChoice": "mien.faces",
    "DetectorError": "mien.errors",
    "DeviceError": "mien.errors",
    "Evaluation": "mien.evaluation.result",
    "Explanation": "mien.evaluation.explain",
    "ExportError": "mien.errors",
    "Face": "mien.results",
    "FaceDetector": "mien.faces",
    "FrameResult": "mien.results",
    "ImageError": "mien.errors",
    "ImageResult": "mien.results",
    "MienError": "mien.errors",
    "MissingExtraError": "mien.errors",
    "ModelFile": "mien.model_file",
    "ModelFileError": "mien.errors",
    "OutputError": "mien.errors",
    "Recipe": "mien.training.recipe",
    "RecipeError": "mien.errors",
    "Recognizer": "mien.recognition.recognizer",
    "Results": "mien.results",
    "Run": "mien.training.run",
    "ScreenSettings": "mien.data.settings",
    "ServingError": "mien.errors",
    "SplitSettings": "mien.data.settings",
    "TrackedFace": "mien.results",
    "TrainingError": "mien.errors",
    "TruncatedVideoError": "mien.errors",
    "VideoError": "mien.errors",
    "Watch": "mien.recognition.watch",
    "audit": "mien.data.audit",
    "calibrate": "mien.evaluation.recalibrate",
    "compare": "mien.evaluation.compare",
    "crop_dataset": "mien.data.crops",
    "cross_validate": "mien.training.cross_validation",
    "dedupe_dataset": "mien.data.dedupe:dedupe",
    "describe_dataset": "mien.data.info:describe",
    "drop_flagged": "mien.data.flags",
    "ensemble": "mien.evaluation.ensemble",
    "evaluate": "mien.evaluation.evaluate",
    "explain": "mien.evaluation.explain",
    "explore_dataset": "mien.data.explore:explore",
    "export": "mien.exporting.export",
    "export_dataset": "mien.data.export",
    "import_dataset": "mien.data.importing",
    "list_models": "mien.releases",
    "list_networks": "mien.training.network_listing",
    "list_recipes": "mien.training.recipe",
    "load_dataset": "mien.data.readers",
    "load_model": "mien.model_file",
    "plan_import": "mien.data.importing",
    "predict": "mien.recognition.shortcuts",
    "pull_model": "mien.evaluation.hub",
    "push_model": "mien.evaluation.hub",
    "relabel_dataset": "mien.data.relabel",
    "screen_dataset": "mien.data.screen",
    "split_dataset": "mien.data.splits",
    "train": "mien.training.train",
    "tune": "mien.training.train",
    "watch": "mien.recognition.shortcuts",
}

__all__ = [
    "ArgumentError",
    "AuditReport",
    "Box",
    "Callback",
    "ClusterError",
    "Comparison",
    "CropSettings",
    "CrossValidation",
    "DataError",
    "Dataset",
    "Details",
    "Detections",
    "DetectorChoice",
    "DetectorError",
    "DeviceError",
    "Evaluation",
    "Explanation",
    "ExportError",
    "Face",
    "FaceDetector",
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
    "ScreenSettings",
    "ServingError",
    "SplitSettings",
    "TrackedFace",
    "TrainingError",
    "TruncatedVideoError",
    "VideoError",
    "Watch",
    "__version__",
    "audit",
    "calibrate",
    "compare",
    "crop_dataset",
    "cross_validate",
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
    "list_recipes",
    "load_dataset",
    "load_model",
    "plan_import",
    "predict",
    "pull_model",
    "push_model",
    "relabel_dataset",
    "screen_dataset",
    "split_dataset",
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
