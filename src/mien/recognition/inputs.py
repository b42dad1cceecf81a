"""The inputs of `Recognizer.predict`: which are one image, which are several, and how each is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from mien.errors import ImageError
from mien.image_arrays import ColorOrder, Tensor, rgb_array, split_batch, tensor_array
from mien.images import MAX_FILE_BYTES, as_image, decode_image, is_pillow_image
from mien.media.addresses import NamedImage, read_source, scheme_of, source_name
from mien.media.sources import expand_sources, is_pattern, is_video_file


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A source that could not be expanded into images, and the reason."""

    name: str
    error: str


def is_one(source: object) -> bool:
    """Whether this is a single image; where it is not, `images_of` gives them."""
    if isinstance(source, str | os.PathLike):
        return not _names_several(os.fspath(source))
    if _is_array(source):
        return _dimensions(source) != 4 and not _is_column(source)
    encoded = isinstance(source, bytes | bytearray | memoryview | NamedImage) or hasattr(source, "read")
    return encoded or is_pillow_image(source) or isinstance(source, Mapping) or not isinstance(source, Iterable)


def images_of(source: object) -> Iterator[object]:
    """The images of a source: files of a folder or pattern, rows of a column, an array (N, H, W, C); or itself.

    Raises ImageError for a folder without images, a pattern that matches no file, and an array of another kind.
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        return iter(expand_sources([path])) if _names_several(path) else iter((source,))
    if _is_array(source) and _dimensions(source) == 4:
        return iter(split_batch(_array(source, "the batch"), "the batch"))
    if _is_array(source) and _is_column(source):
        return iter(np.asarray(source).tolist())
    return iter((source,))


def spread(sources: Iterable[object]) -> Iterator[object]:
    """All images of the sources, lazily; a source without images is an `Unreadable`."""
    for source in sources:
        try:
            yield from images_of(source)
        except ImageError as error:
            yield Unreadable(name_of(source, 0), str(error))


def is_in_memory(source: object) -> bool:
    """Whether the image is decoded already: an array, a tensor or a Pillow image."""
    return _is_array(source) or is_pillow_image(source)


def name_of(source: object, index: int) -> str:
    """What a result is called: the path as given, the name of a Pillow image's or open file, or `image N`."""
    if isinstance(source, NamedImage):
        return source.name
    if isinstance(source, str | os.PathLike):
        return source_name(os.fspath(source))
    if isinstance(source, Unreadable):
        return source.name
    named = getattr(source, "filename" if is_pillow_image(source) else "name", "")
    return named if named and isinstance(named, str) else f"image {index}"


def read_image(source: object, name: str, *, color: ColorOrder, max_pixels: int) -> NDArray[np.uint8]:
    """A single image as uint8 RGB (H, W, 3). Raises ImageError for what is none."""
    if isinstance(source, str | os.PathLike):
        return _read_path(os.fspath(source), max_pixels)
    if isinstance(source, NamedImage):
        return read_source(source, max_pixels=max_pixels)
    if is_pillow_image(source):
        return as_image(source, name)
    if _is_array(source):
        return rgb_array(_array(source, name), name, color=color)
    if isinstance(source, bytes | bytearray | memoryview):
        return decode_image(bytes(source), name, max_pixels=max_pixels)
    if isinstance(source, Unreadable):
        raise ImageError(source.error)
    if hasattr(source, "read"):
        return decode_image(_read_file(cast("BinaryIO", source), name), name, max_pixels=max_pixels)
    raise ImageError(
        f"{name}: is of type {type(source).__name__}; expected a path, the bytes of an image file, an open file, "
        f"a Pillow image, an array or a tensor{_hint(source)}"
    )


def _hint(source: object) -> str:
    """What to do with something that is none of the inputs."""
    if source is None:
        return "; cv2.imread gives None for a file that it can't read"
    if isinstance(source, int):
        return f"; follow a camera with  mien.watch({source})"
    if isinstance(source, list | tuple):
        return "; give one flat list, and numbers as an array of NumPy"
    return ""


def _names_several(path: str) -> bool:
    return os.path.isdir(path) or (is_pattern(path) and not scheme_of(path))  # noqa: PTH112 (once an image)


def _read_path(path: str, max_pixels: int) -> NDArray[np.uint8]:
    try:
        return read_source(path, max_pixels=max_pixels)
    except ImageError as error:
        if is_video_file(path) and os.path.isfile(path):  # noqa: PTH113
            raise ImageError(f"{path}: is a video; use  mien.watch(PATH)  or  mien watch PATH") from error
        raise


def _read_file(file: BinaryIO, name: str) -> bytes:
    try:
        data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: can't be read ({error}); give a file that is open for reading") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name}: gives {type(data).__name__}, not bytes; open the file with mode 'rb'")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"{name}: has more than {MAX_FILE_BYTES / 1e6:,.0f} MB, the limit; make it smaller")
    if not data:
        raise ImageError(f"{name}: nothing is left to read; use  file.seek(0)  where it was read or written before")
    return data


def _is_array(source: object) -> bool:
    if isinstance(source, np.ndarray) or (isinstance(source, memoryview) and source.ndim > 1):
        return True
    return not is_pillow_image(source) and (isinstance(source, Tensor) or hasattr(source, "__array__"))


def _dimensions(source: object) -> int:
    return len(getattr(source, "shape", None) or ())


def _is_column(source: object) -> bool:
    """Whether an array holds names, bytes or other objects in place of pixels, as a column of pandas does."""
    dtype = getattr(source, "dtype", None)
    if isinstance(source, Tensor) or (isinstance(dtype, np.dtype) and _dimensions(source) != 1):
        return False
    found = np.asarray(source)
    return found.ndim == 1 and found.dtype.kind in "OSU"


def _array(source: Any, name: str) -> NDArray[Any]:
    try:
        return tensor_array(source, name) if isinstance(source, Tensor) else np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor without data, or that is not dense
        raise ImageError(f"{name}: can't be read as an array ({error}); give a dense array of NumPy") from error
