"""Arrays as files keep them (.npy, .npz, .mat, .h5), row by row, and what their names say. Nothing is unpickled."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.reading.archives import UNREADABLE, Archive
from mien.data.reading.trees import Folder, Tree, suffix_of
from mien.errors import DataError, import_extra

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
SUFFIXES = (".npy", ".npz", ".mat", *HDF5_SUFFIXES)

MAX_WHOLE = 2 * 1024**3
"""The most bytes of an array that can only be read as a whole."""

_BLOCK_BYTES = 16 * 1024**2

_MAT_KINDS = {
    "double": "f8", "single": "f4", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4",
    "uint32": "u4", "int64": "i8", "uint64": "u8",
}  # fmt: skip
_MAT_TEXT = ("char", "cell")
_IMAGES = frozenset(
    {"x", "image", "images", "img", "imgs", "pixel", "pixels", "face", "faces", "picture", "pictures", "photos"}
    | {"data", "input", "inputs", "samples"}
)
_LABELS = frozenset(
    {"y", "label", "labels", "target", "targets", "emotion", "emotions", "expression", "expressions", "class"}
    | {"classes", "category", "categories", "cls", "annotations", "output", "outputs"}
)
_NAMES = frozenset({"name", "names"})
_FILLER = frozenset({"fer", "set", "dataset", "all", "arr", "array", "np", "raw", "the", "int", "idx", "id"})
_SHORT_SPLITS = {"tr": "train", "te": "test", "ts": "test", "va": "validation"}
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=\b[XYxy])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array in a file.

    file: in the tree. key: what it is called, with the folders, the file and the groups that it is in, without a
    suffix. where: for messages. read: its parts along an axis, the first or the last one, from a place on. any_axis:
    whether the samples may lie along the last axis, as MATLAB has them.
    """

    file: str
    key: str
    where: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int, int], Iterator[NDArray[Any]]]
    any_axis: bool = False

    def blocks(self, start: int = 0, *, last: bool = False) -> Iterator[NDArray[Any]]:
        """The rows from `start` on, a few at a time; last: along the last axis, which then comes first."""
        yield from self.read(-1 if last else 0, start)

    def whole(self) -> NDArray[Any]:
        """All of it. Raises DataError where it is large."""
        self.check_size()
        parts = list(self.blocks())
        return np.concatenate(parts) if parts else np.zeros(self.shape, self.dtype)

    def check_size(self) -> None:
        """Raises DataError where it is too large to be read whole."""
        size = math.prod(self.shape) * self.dtype.itemsize
        if size > MAX_WHOLE:
            raise DataError(
                f"{self.where}: has {size / 1e9:,.1f} GB to read at once (at most {MAX_WHOLE / 1e9:.1f}); save it as "
                ".npy or HDF5, samples along the first axis"
            )


def stored_arrays(tree: Tree, name: str) -> list[StoredArray]:
    """The arrays in a file. Raises DataError where it can't be read, MissingExtraError without what reads it."""
    suffix = suffix_of(name)
    stem = name[: -len(suffix)]
    if suffix == ".npy":
        return [_npy(tree, name, stem, name, tree.where(name))]
    if not isinstance(tree, Folder):
        raise DataError(f"{tree.where(name)}: holds arrays and is in an archive itself; unpack it and give the folder")
    path = tree.root / name
    if suffix == ".npz":
        inner = Archive(path)
        members = [member for member in inner.names if suffix_of(member) == ".npy"]
        return [_npy(inner, m, f"{stem}/{m[:-4]}", name, f"{path}[{m[:-4]}]") for m in members]
    try:
        with path.open("rb") as file:
            hdf5 = b"\x89HDF\r\n\x1a\n" in file.read(1024)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); check the file") from error
    if suffix == ".mat" and not hdf5:
        return _mat(path, name, stem)
    return _hdf5(path, name, stem, matlab=suffix == ".mat")


def _rows_at_once(shape: tuple[int, ...], dtype: np.dtype[Any], axis: int = 0) -> int:
    count = shape[axis] if shape else 1
    return max(1, _BLOCK_BYTES * count // max(1, math.prod(shape) * dtype.itemsize))


def _sliced(array: Any, axis: int, start: int, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Parts of anything that is indexed like an array."""
    step = _rows_at_once(array.shape, dtype, axis)
    for first in range(start, array.shape[axis], step):
        part = array[first : first + step] if axis == 0 else array[..., first : first + step]
        yield np.moveaxis(part, axis, 0)


# NumPy


def _npy(tree: Tree, name: str, key: str, file: str, where: str) -> StoredArray:
    shape, dtype, fortran, offset = _npy_header(tree, name, where)

    def read(axis: int, start: int) -> Iterator[NDArray[Any]]:
        if fortran:  # in Fortran's order rows lie apart
            stored.check_size()
            flat = np.concatenate([np.zeros(0, dtype), *_npy_rows(tree, name, (math.prod(shape),), dtype, offset, 0)])
            yield from _sliced(flat.reshape(shape, order="F"), axis, start, dtype)
        else:
            yield from _npy_rows(tree, name, shape, dtype, offset, start)

    stored = StoredArray(file, key, where, shape, dtype, read)
    return stored


def _npy_header(tree: Tree, name: str, where: str) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with tree.open(name) as file:
            version = np.lib.format.read_magic(file)
            shape, fortran, dtype = read.get(version, np.lib.format.read_array_header_2_0)(file)
            offset = file.tell()
    except (*UNREADABLE, ValueError, SyntaxError, TypeError, RecursionError) as error:
        raise DataError(f"{where}: can't be read as a NumPy array ({error}); get a whole copy of the file") from error
    if dtype.hasobject:
        raise DataError(f"{where}: is an array of Python objects, which are pickled and can run code; save numbers or "
                        "text in it")  # fmt: skip
    if any(n < 0 for n in shape):
        raise DataError(f"{where}: has the shape {shape}; get a whole copy of the file")
    return shape, dtype, fortran, offset


def _npy_rows(
    tree: Tree, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int, start: int
) -> Iterator[NDArray[Any]]:
    length = math.prod(shape[1:]) * dtype.itemsize
    step = _rows_at_once(shape, dtype)
    count = shape[0] if shape else 1
    try:
        with tree.open(name) as file:
            file.seek(offset + start * length)
            for first in range(start, count, step):
                rows = min(step, count - first)
                data = file.read(rows * length)
                if len(data) < rows * length:
                    raise DataError(f"{tree.where(name)}: ends early; get a whole copy of the file")
                yield np.frombuffer(data, dtype).reshape(rows, *shape[1:]) if length else np.zeros((rows, 0), dtype)
    except (*UNREADABLE, zlib.error) as error:
        raise DataError(f"{tree.where(name)}: can't be read to its end ({error}); get a whole copy") from error


# MATLAB up to version 7


def _mat(path: Path, name: str, stem: str) -> list[StoredArray]:
    import_extra("scipy.io", "arrays", f"reading {path.name}")
    import scipy.io

    try:
        listed = scipy.io.whosmat(path)
    except Exception as error:  # what it raises for damaged files is not said anywhere
        raise DataError(f"{path}: can't be read as a MATLAB file ({error}); get a whole copy of the file") from error
    known = [(key, tuple(shape), kind) for key, shape, kind in listed if kind in (*_MAT_KINDS, *_MAT_TEXT)]
    return [_mat_array(path, key, shape, kind, name, stem) for key, shape, kind in known]


def _mat_array(path: Path, key: str, shape: tuple[int, ...], kind: str, name: str, stem: str) -> StoredArray:
    if kind in _MAT_TEXT:  # small, and of another shape than the file says
        text = _load_mat(path, key)
        return StoredArray(
            name, f"{stem}/{key}", f"{path}[{key}]", text.shape, text.dtype, lambda _, start: iter([text[start:]])
        )
    dtype = np.dtype(_MAT_KINDS[kind])

    def read(axis: int, start: int) -> Iterator[NDArray[Any]]:
        yield from _sliced(_load_mat(path, key), axis, start, dtype)

    stored = StoredArray(name, f"{stem}/{key}", f"{path}[{key}]", shape, dtype, read, True)
    stored.check_size()
    return stored


def _load_mat(path: Path, key: str) -> NDArray[Any]:
    """One variable; text and cells of text as an array of text (N,)."""
    import scipy.io

    try:
        array: NDArray[Any] = scipy.io.loadmat(path, variable_names=[key])[key]
    except Exception as error:
        raise DataError(f"{path}[{key}]: can't be read ({error}); get a whole copy of the file") from error
    if array.dtype.hasobject:
        cells = [np.asarray(cell).reshape(-1) for cell in array.reshape(-1)]
        return np.array([str(cell[0]) if len(cell) else "" for cell in cells])
    return np.char.rstrip(array) if array.dtype.kind == "U" else array


# HDF5, and MATLAB from version 7.3 on, which writes it with the axes turned round


def _hdf5(path: Path, name: str, stem: str, *, matlab: bool) -> list[StoredArray]:
    h5py = import_extra("h5py", "arrays", f"reading {path.name}")
    found: list[StoredArray] = []

    def add(key: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or key.startswith("#refs#") or item.shape is None:
            return
        text = h5py.check_string_dtype(item.dtype)
        if item.external or item.is_virtual or (item.dtype.hasobject and text is None):
            return  # of other files, or references
        shape = item.shape[::-1] if matlab else item.shape
        dtype = np.dtype("U1") if text is not None else item.dtype
        where = f"{path}[{key}]"
        found.append(
            StoredArray(name, f"{stem}/{key}", where, shape, dtype, _hdf5_reader(path, key, where, matlab=matlab), True)
        )

    try:
        with h5py.File(path, "r") as file:
            file.visititems(add)  # follows no links
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: can't be read as HDF5 ({error}); get a whole copy of the file") from error
    return found


def _hdf5_reader(path: Path, key: str, where: str, *, matlab: bool) -> Callable[[int, int], Iterator[NDArray[Any]]]:
    import h5py

    def read(axis: int, start: int) -> Iterator[NDArray[Any]]:
        try:
            with h5py.File(path, "r") as file:
                item = file[key]
                array = item.asstr() if h5py.check_string_dtype(item.dtype) is not None else item
                along = (0 if axis else -1) if matlab else axis
                if item.ndim == 0:
                    yield np.array([array[()]])
                    return
                for part in _hdf5_parts(array, item, along, start):
                    turned = part.transpose() if matlab else part
                    yield np.moveaxis(turned, axis, 0)
        except (OSError, RuntimeError, ValueError, UnicodeDecodeError) as error:
            raise DataError(f"{where}: can't be read to its end ({error}); get a whole copy of the file") from error

    return read


def _hdf5_parts(array: Any, item: Any, axis: int, start: int) -> Iterator[NDArray[Any]]:
    step = _rows_at_once(item.shape, item.dtype, axis)
    for first in range(start, item.shape[axis], step):
        part = array[first : first + step] if axis == 0 else array[..., first : first + step]
        yield np.asarray(part)


@dataclass(frozen=True, slots=True)
class Named:
    """An array and what its name says. role: images, labels, votes, names or ''. group: of arrays that belong together.

    word: the split as written, '' for none.
    """

    array: StoredArray
    role: str
    group: str
    word: str


def named_array(array: StoredArray, split: Callable[[str], str | None]) -> Named:
    """The role in an array's name. split: the split that a word means."""
    *above, last = array.key.split("/")
    words, word = _words(last, split)
    role = _role(words)
    if not words and above and not role:  # images/train.npy and labels/train.npy
        role = _role(_words(above[-1], split)[0])
        above = above[:-1] if role else above
    if not word:
        word = next((found for part in reversed(above) if (found := _split_word(part, split))), "")
    return Named(array, role, "/".join(above), word)


def _split_word(part: str, split: Callable[[str], str | None]) -> str:
    if part and split(part):
        return part
    return _words(part, split)[1]


def _words(name: str, split: Callable[[str], str | None]) -> tuple[list[str], str]:
    """The words of a name in lower case, and the one among them that means a split."""
    words: list[str] = []
    found = ""
    for piece in _WORD.findall(_CAMEL.sub(" ", name)):
        for word in _apart(piece, split):
            if split(word) or word.lower() in _SHORT_SPLITS:
                found = found or word
            else:
                words.append(word.lower())
    return words, found


def _apart(word: str, split: Callable[[str], str | None]) -> list[str]:
    """xtrain and testY are two words."""
    if len(word) > 1 and word[0] in "xyXY" and (split(word[1:]) or word[1:].lower() in _SHORT_SPLITS):
        return [word[0], word[1:]]
    if len(word) > 1 and word[-1] in "xyXY" and split(word[:-1]):
        return [word[:-1], word[-1]]
    return [word]


def short_split(word: str) -> str | None:
    """The split that a short word in an array's name means: tr, te, va."""
    return _SHORT_SPLITS.get(word.lower())


def _role(words: Sequence[str]) -> str:
    plain = {word for word in words if word not in _FILLER}
    if plain == {"votes"}:
        return "votes"
    if plain & _NAMES and plain <= _NAMES | _LABELS:
        return "names"
    if plain & _LABELS and plain <= _LABELS | _IMAGES:
        return "labels"
    return "images" if plain and plain <= _IMAGES else ""
