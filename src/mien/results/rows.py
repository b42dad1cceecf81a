"""The one flat schema of results: a row for each face, in every format.

CSV, Parquet shards, timelines, pandas, and the CSVs of the API and the page have the same columns with the same values:

    source, width, height, face, x1, y1, x2, y2, detection_score, expression, confidence, one for each label, error

`face` counts from 1, from left to right. An image without faces, and one that could not be read, is a row with `face`
empty; the latter has an `error`, and 0 for its width and height. `expression` is empty if the model abstained; the
probabilities are kept. Boxes are rounded to a tenth of a pixel, scores and probabilities to four digits. A label with
the name of another column is `label_NAME`. Parquet shards have `image` before these, the number in the list of
images; timelines have `frame, time_s, track` before and `smoothed_expression` after them. Where details of faces were
requested, before `error` come yaw, pitch, roll, gaze_yaw, gaze_pitch (degrees), left_eye_open, right_eye_open,
mouth_open, the 52 blendshapes, and details_error, the reason why they are empty. The mesh is in JSON alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mien.results.details import BLENDSHAPES, Details
from mien.results.faces import Face
from mien.results.videos import FrameResult

Cell = int | float | str | None
Row = tuple[Cell, ...]

_IMAGE = ("source", "width", "height", "face")
_FACE = ("x1", "y1", "x2", "y2", "detection_score", "expression", "confidence")
_DETAILS = (
    *("yaw", "pitch", "roll", "gaze_yaw", "gaze_pitch", "left_eye_open", "right_eye_open", "mouth_open"),
    *BLENDSHAPES,
    "details_error",
)
_FRAME = ("frame", "time_s", "track")
_TEXT = frozenset({"source", "expression", "error", "smoothed_expression", "details_error"})
_WHOLE = {"image": "int64", "frame": "int64", "width": "int32", "height": "int32", "face": "int32", "track": "int32"}
_OTHERS = frozenset({*_IMAGE, *_FACE, *_DETAILS, *_FRAME, *_TEXT, *_WHOLE})


def columns(labels: Sequence[str], *, details: bool = False) -> tuple[str, ...]:
    """The columns of images' rows. labels: the model's, in its order. details: with those of faces' details."""
    names = (f"label_{name}" if name in _OTHERS else name for name in labels)
    return (*_IMAGE, *_FACE, *names, *(_DETAILS if details else ()), "error")


def frame_columns(labels: Sequence[str], *, details: bool = False) -> tuple[str, ...]:
    """The columns of a timeline's rows."""
    return (*_FRAME, *columns(labels, details=details), "smoothed_expression")


def image_rows(
    source: str,
    size_wh: tuple[int, int],
    faces: Sequence[Face],
    error: str | None,
    labels: Sequence[str],
    *,
    details: bool = False,
) -> Iterator[Row]:
    """An image's rows in the order of `columns`; see `ImageResult.rows`."""
    head = (written_text(source), *size_wh)
    for number, face in enumerate(faces, start=1):
        yield (*head, number, *_face_cells(face, labels, details), None)
    if not faces:
        yield (*head, *_no_face(labels, details), None if error is None else written_text(error))


def frame_rows(result: FrameResult, labels: Sequence[str], source: str, *, details: bool = False) -> Iterator[Row]:
    """A frame's rows in the order of `frame_columns`; times are rounded to a microsecond.

    source: what the video is called.
    """
    when = (result.frame, round(result.time_s, 6))
    head = (written_text(source), result.width, result.height)
    for number, tracked in enumerate(result.faces, start=1):
        cells = _face_cells(tracked.face, labels, details)
        yield (*when, tracked.track, *head, number, *cells, None, tracked.smoothed_expression)
    if not result.faces:
        yield (*when, None, *head, *_no_face(labels, details), None, None)


def parquet_table(rows: Sequence[Row], names: Sequence[str]) -> Any:
    """Rows as a pyarrow Table whose columns have those names; needs pyarrow."""
    import pyarrow as pa

    def kind(name: str) -> Any:
        if name in _TEXT:
            return pa.string()
        if name in _WHOLE:
            return getattr(pa, _WHOLE[name])()
        return pa.float64() if name == "time_s" else pa.float32()

    cells = list(zip(*rows, strict=True)) or [()] * len(names)
    arrays = [pa.array(column, kind(name)) for name, column in zip(names, cells, strict=True)]
    return pa.table(arrays, names=list(names))


def pandas_table(rows: Iterable[Row], names: Sequence[str]) -> Any:
    """Rows as a pandas DataFrame whose columns have those names; needs pandas."""
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(names))
    kinds = {"face": "Int32", "width": "int64", "height": "int64"}
    kinds |= {name: "float64" for name in names if name not in _TEXT and name not in kinds}
    return table.astype(kinds | {name: "object" for name in names if name in _TEXT})


def written_text(name: str) -> str:
    """A file's name that is not UTF-8, with the bytes that are not escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def _no_face(labels: Sequence[str], details: bool) -> Row:
    return (None,) * (1 + len(_FACE) + len(labels) + (len(_DETAILS) if details else 0))


def _face_cells(face: Face, labels: Sequence[str], details: bool) -> Row:
    return (
        *(round(v, 1) for v in face.box),
        round(face.detection_score, 4),
        None if face.abstained else face.expression,
        round(face.confidence, 4),
        *(round(face.probabilities[name], 4) for name in labels),
        *(_detail_cells(face.details or Details()) if details else ()),
    )


def _detail_cells(found: Details) -> Row:
    angles = (*(found.pose or (None,) * 3), *(found.gaze or (None,) * 2))
    shapes = found.blendshapes or {}
    shares = (*(found.eyes_open or (None,) * 2), found.mouth_open, *(shapes.get(name) for name in BLENDSHAPES))
    return (
        *(None if v is None else round(v, 1) for v in angles),
        *(None if v is None else round(v, 4) for v in shares),
        found.error,
    )
