"""The exception tree. Every error that a user can cause derives from `MienError`.

A message names the file or key, what was expected and what to do; the command line prints it as one line.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any


class MienError(Exception):
    """Base of all errors that mien raises on purpose."""

    def __str__(self) -> str:
        """One line, also where a file's name has line breaks."""
        return super().__str__().replace("\r", "\\r").replace("\n", "\\n")


class ArgumentError(MienError, ValueError):
    """An argument has an impossible value, or two arguments do not fit together."""


class ImageError(MienError):
    """An image can't be read: missing, empty, truncated, not an image, or too large."""


class VideoError(MienError):
    """A video, camera or stream can't be read: missing, no video, no frame, lost; or one can't be written."""


class TruncatedVideoError(VideoError):
    """A video file ends before the end that it states, or within a frame; what came before stands."""


class DataError(MienError):
    """A data set can't be used as it is."""


class RecipeError(MienError):
    """A recipe has an unknown key, an impossible value, or can't be read."""


class ModelFileError(MienError):
    """A model file is missing, is not mien's, or its metadata does not fit its graph."""


class DetectorError(MienError):
    """A face detector can't be made: unknown name, or its weights are missing or wrong."""


class DeviceError(MienError):
    """A device is asked for that onnxruntime does not know."""


class OutputError(MienError):
    """An output can't be written where the user wants it."""


class ServingError(MienError):
    """The server can't start: an impossible limit, a token file that can't be used, an address that is taken."""


class ExportError(MienError):
    """Something can't be exported: a tool or file that it needs is missing or another one, or the place is taken."""


class TrainingError(MienError):
    """A training run can't start, go on or finish."""


class DivergedError(TrainingError):
    """The loss of a training run is no longer a number: its settings don't work."""


class ClusterError(MienError):
    """Work in several processes or on several machines can't start or go on."""


class MissingExtraError(MienError):
    """A part of mien that was not installed is needed."""

    def __init__(self, extra: str, needs: str) -> None:
        super().__init__(f"{needs} needs the extra [{extra}]: install it with  pip install 'mien[{extra}]'")
        self.extra = extra


def import_extra(module: str, extra: str, needs: str) -> Any:
    """Imports a module of an extra. needs: what it is wanted for. Raises MissingExtraError if it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(extra, needs) from error


def require_extra(extra: str, needs: str, *packages: str) -> None:
    """Raises MissingExtraError if a package of an extra is not installed; imports none."""
    if any(find_spec(name) is None for name in packages):
        raise MissingExtraError(extra, needs)
