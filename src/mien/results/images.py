"""Results of images: one, and a list of many."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from mien.errors import ArgumentError, ImageError, OutputError, import_extra
from mien.files import write_bytes
from mien.images import read_image
from mien.results.documents import ImageDocument
from mien.results.faces import Face, faces_text
from mien.results.rows import Row, columns, image_rows, pandas_table

if TYPE_CHECKING:
    import pandas as pd
    import supervision as sv

_REPR_LENGTH = 100
_NOTEBOOK_EDGE = 1024  # pixels


@dataclass(frozen=True, slots=True, repr=False)
class ImageResult:
    """The result of one image: its faces from left to right, or the reason why it could not be read.

    `len`, iteration and indices give faces; a slice gives a result with some of them. A notebook shows it drawn.

    Attributes:
        source: The path as given, or `image N` for what has no name.
        width: Pixels, after the image was turned upright, and made smaller where it has more than 100 million;
            boxes are in these pixels. 0 where it could not be read.
        height: As width.
        faces: From left to right.
        error: Why it could not be read; None where it was.
        image: uint8 RGB (H, W, 3), where it was kept; else None.
        labels: The model's labels in its order.

    Examples:
        >>> import mien
        >>> result = mien.predict("src/mien/examples/astronaut.png")
        >>> result
        ImageResult('src/mien/examples/astronaut.png', 512x512, 1 face: happy 0.99)
        >>> [face.expression for face in result]
        ['happy']
    """

    source: str
    width: int
    height: int
    faces: tuple[Face, ...] = ()
    error: str | None = None
    image: NDArray[np.uint8] | None = field(default=None, compare=False)
    labels: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.faces)

    def __bool__(self) -> bool:
        return True  # an image without faces is a result

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Face: ...
    @overload
    def __getitem__(self, index: slice) -> ImageResult: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Face | ImageResult:
        if isinstance(index, slice):
            return replace(self, faces=self.faces[index])
        return self.faces[index]

    def filter(
        self,
        keep: Callable[[Face], bool] | None = None,
        *,
        expression: str | Collection[str] | None = None,
        min_confidence: float = 0.0,
        min_size: float = 0.0,
    ) -> ImageResult:
        """A new result with the faces that match all arguments.

        Args:
            keep: A function of a face; faces for which it is false are dropped.
            expression: One label or several. Faces that abstained have none and are dropped.
            min_confidence: Of the most likely label, 0 to 1.
            min_size: Of the box's longer edge, pixels.

        Returns:
            A new result of the same image.

        Raises:
            ArgumentError: An expression is none of the model's labels, or min_confidence is out of range.

        Examples:
            >>> import mien
            >>> result = mien.predict("src/mien/examples/astronaut.png")
            >>> len(result.filter(expression="happy", min_size=50)), len(result.filter(lambda face: face.box.x1 > 300))
            (1, 0)
        """
        wanted = None if expression is None else {expression} if isinstance(expression, str) else set(expression)
        if not 0 <= min_confidence <= 1:
            raise ArgumentError(f"min_confidence is {min_confidence}; expected 0 to 1")
        if wanted and self.labels and (unknown := sorted(wanted - set(self.labels))):
            raise ArgumentError(f"expression '{unknown[0]}' is none of the labels {', '.join(self.labels)}")

        def fits(face: Face) -> bool:
            return (
                (wanted is None or (face.expression in wanted and not face.abstained))
                and face.confidence >= min_confidence
                and max(face.box.width, face.box.height) >= min_size
                and (keep is None or bool(keep(face)))
            )

        return replace(self, faces=tuple(face for face in self.faces if fits(face)))

    def to_dict(self) -> ImageDocument:
        """The result as JSON has it, without the image."""
        return {
            "source": self.source,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self.faces],
            "error": self.error,
        }

    def to_json(self) -> str:
        """The text of one JSON object, on one line: a line of `mien predict --format jsonl`."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each face, with the columns of `mien predict --format csv`; see `mien.results.rows`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return _pandas([self])

    def to_supervision(self) -> sv.Detections:
        """The faces as `supervision` has them, for its annotators, trackers and zones.

        Returns:
            `xyxy` float32 (N, 4), `confidence` float32 (N,) of the expression, `class_id` int (N,), the label's index;
            in `data`: `class_name`, `detection_score`, `abstained`.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        import_extra("supervision", "supervision", "to_supervision()")
        import supervision as sv

        labels = list(self.labels) or list(self.faces[0].probabilities if self.faces else ())
        return sv.Detections(
            xyxy=np.array([face.box.xyxy for face in self.faces], np.float32).reshape(-1, 4),
            confidence=np.array([face.confidence for face in self.faces], np.float32),
            class_id=np.array([labels.index(face.expression) for face in self.faces], int),
            data={
                "class_name": np.array([face.expression for face in self.faces], np.str_),
                "detection_score": np.array([face.detection_score for face in self.faces], np.float32),
                "abstained": np.array([face.abstained for face in self.faces], bool),
            },
        )

    def plot(
        self, color: Literal["rgb", "bgr"] = "rgb", *, emoji: bool = False, draw: Sequence[str] = ()
    ) -> NDArray[np.uint8]:
        """The image with each face's box, expression and confidence.

        Args:
            color: Order of the returned channels; `bgr` is OpenCV's.
            emoji: Also a badge of the expression beside each box.
            draw: Also `mesh`, `pose` or `gaze`, where faces have details.

        Returns:
            uint8 (height, width, 3), a new array.

        Raises:
            ImageError: The image was not kept and can't be read again from `source`.
            ArgumentError: Another color, or nothing of that name to draw.

        Examples:
            >>> import mien
            >>> mien.predict("src/mien/examples/astronaut.png").plot().shape
            (512, 512, 3)
        """
        from mien.results.draw import check_drawn, draw_faces

        check_drawn(draw)
        if color not in ("rgb", "bgr"):
            raise ArgumentError(f"color is '{color}'; expected 'rgb' or 'bgr'")
        drawn = draw_faces(self.original(), self.faces, emoji=emoji, draw=draw)
        return drawn if color == "rgb" else np.ascontiguousarray(drawn[..., ::-1])

    def original(self) -> NDArray[np.uint8]:
        """The image as it was predicted, uint8 RGB (H, W, 3): the one that was kept, or its file, read again.

        Raises:
            ImageError: Neither is available, or the file has been replaced.
        """
        if self.image is not None:
            return self.image
        if self.error is not None:
            raise ImageError(self.error)
        if not Path(self.source).is_file():
            raise ImageError(f"{self.source}: its image was not kept; use  predict(..., keep_images=True)")
        image = read_image(self.source)
        if image.shape[:2] != (self.height, self.width):
            raise ImageError(f"{self.source}: has changed since it was predicted; predict it again")
        return image

    def show(self) -> None:
        """Shows the drawn image: in the notebook, or with the system's image viewer.

        Raises:
            ImageError: The image was not kept and can't be read again from `source`.
            OutputError: There is no image viewer.
        """
        drawn = self.plot()
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if shell is not None and "ZMQInteractiveShell" in type(shell).__name__:
            from IPython.display import display

            display(self)  # type: ignore[no-untyped-call]
            return
        from PIL import Image, ImageShow

        if not ImageShow.show(Image.fromarray(drawn)):
            raise OutputError("there is no image viewer on this system; use  save(PATH)  and open the file")

    def save(self, path: str | Path) -> Path:
        """Writes the drawn image, whole or not at all.

        Args:
            path: A .jpg, .jpeg or .png file; its folder must be there.

        Returns:
            The path.

        Raises:
            ImageError: The image was not kept and can't be read again from `source`.
            OutputError: Another suffix, or it can't be written.
        """
        from mien.results.draw import encode_image

        path = Path(path)
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
            raise OutputError(f"{path}: a drawn image can't be written as '{path.suffix}'; use .jpg, .jpeg or .png")
        write_bytes(path, encode_image(self.plot(), path.suffix.lower()))
        return path

    def _repr_png_(self) -> bytes | None:
        """The image with its faces drawn, at most 1024 pixels wide and high; None if the image is not available."""
        from PIL import Image

        try:
            drawn = Image.fromarray(self.plot())
        except ImageError:
            return None
        drawn.thumbnail((_NOTEBOOK_EDGE, _NOTEBOOK_EDGE))
        file = io.BytesIO()
        drawn.save(file, "png")
        return file.getvalue()

    def rows(self, labels: Sequence[str], *, details: bool = False) -> Iterator[Row]:
        """The rows of every flat format: one for each face, or one for an image without any.

        Args:
            labels: The model's, in its order.
            details: Whether the columns of faces' details are among them.

        Returns:
            Tuples of cells, in the order of `mien.results.rows.columns`.
        """
        return image_rows(self.source, (self.width, self.height), self.faces, self.error, labels, details=details)

    def __repr__(self) -> str:
        if self.error is not None:
            return f"ImageResult({_short(self.source)}, error={_short(self.error)})"
        return f"ImageResult({_short(self.source)}, {self.width}x{self.height}, {faces_text(self.faces)})"


class Results(list[ImageResult]):
    """The results of several images, in their order: a list with a few more methods.

    Examples:
        >>> import mien
        >>> results = mien.predict(["src/mien/examples/astronaut.png", "gone.png"])
        >>> results
        Results(2 images, 1 face: happy 0.99, 1 not read)
        >>> results[1].error
        'gone.png: no such file; check the path'
    """

    @overload
    def __getitem__(self, index: SupportsIndex) -> ImageResult: ...
    @overload
    def __getitem__(self, index: slice) -> Results: ...
    def __getitem__(self, index: SupportsIndex | slice) -> ImageResult | Results:
        found = super().__getitem__(index)
        return Results(found) if isinstance(found, list) else found

    @property
    def faces(self) -> tuple[Face, ...]:
        """The faces of all images."""
        return tuple(face for result in self for face in result.faces)

    @property
    def errors(self) -> tuple[str, ...]:
        """Why images could not be read."""
        return tuple(result.error for result in self if result.error is not None)

    def filter(
        self,
        keep: Callable[[Face], bool] | None = None,
        *,
        expression: str | Collection[str] | None = None,
        min_confidence: float = 0.0,
        min_size: float = 0.0,
    ) -> Results:
        """The same images with the faces that fit; arguments and errors as for `ImageResult.filter`."""
        return Results(
            result.filter(keep, expression=expression, min_confidence=min_confidence, min_size=min_size)
            for result in self
        )

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON has them: `{"images": [...]}`."""
        return {"images": [result.to_dict() for result in self]}

    def to_json(self) -> str:
        """The text of one JSON object, `{"images": [...]}`."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each face, with the columns of `mien predict --format csv`; see `mien.results.rows`.

        An image without faces, or that could not be read, is a row, too.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return _pandas(self)

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Writes each image, drawn, into a folder: NAME-annotated.jpg for JPEG sources, otherwise .png.

        Args:
            folder: It is made where it is missing.

        Returns:
            The paths; images that could not be read have none.

        Raises:
            ImageError: An image was not kept and can't be read again from `source`.
            OutputError: Nothing can be written there.
        """
        from mien.results.draw import AnnotatedFolder

        place = AnnotatedFolder(Path(folder))
        return tuple(place.write(result.source, result.plot()) for result in self if result.error is None)

    def __repr__(self) -> str:
        failed = len(self.errors)
        count = f"{len(self)} image{'' if len(self) == 1 else 's'}"
        return f"Results({count}, {faces_text(self.faces)}{f', {failed} not read' if failed else ''})"


def _pandas(results: Iterable[ImageResult]) -> pd.DataFrame:
    import_extra("pandas", "pandas", "to_pandas()")
    results = list(results)
    labels: dict[str, None] = {}
    for result in results:
        labels |= dict.fromkeys(result.labels or (result.faces[0].probabilities if result.faces else ()))
    details = any(face.details is not None for result in results for face in result.faces)
    rows = (row for result in results for row in result.rows(tuple(labels), details=details))
    return pandas_table(rows, columns(tuple(labels), details=details))


def _short(text: str) -> str:
    return repr(text if len(text) <= _REPR_LENGTH else f"{text[: _REPR_LENGTH - 1]}…")
