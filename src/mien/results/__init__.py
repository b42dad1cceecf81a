"""Frozen result objects: what recognition returns, and what every output (table, JSON, CSV, drawn image) is made from.

`rows` holds the one flat schema that CSV, Parquet and pandas share.
"""

from mien.results.details import Details
from mien.results.documents import ModelSummary
from mien.results.faces import Box, Detections, Face, Point
from mien.results.images import ImageResult, Results
from mien.results.videos import ExpressionEvent, FrameResult, GestureEvent, GestureSummary, TrackedFace

__all__ = [
    "Box",
    "Details",
    "Detections",
    "ExpressionEvent",
    "Face",
    "FrameResult",
    "GestureEvent",
    "GestureSummary",
    "ImageResult",
    "ModelSummary",
    "Point",
    "Results",
    "TrackedFace",
]
