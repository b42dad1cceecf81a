"""Reads data sets that are arrays: NumPy's .npy and .npz, MATLAB's .mat, and HDF5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.reading.class_names import names_in
from mien.data.reading.ferplus import vote_columns
from mien.data.reading.pixels import axes_of, image_of, scale_of
from mien.data.reading.reading import Found, Scan
from mien.data.reading.sources import Coded, Written, column_name, found_rows
from mien.data.reading.stored_arrays import SUFFIXES, Named, StoredArray, named_array, short_split, stored_arrays
from mien.data.reading.text_tables import open_text_table
from mien.data.reading.trees import base_name, folder_of, suffix_of
from mien.data.source import split_rank, text_column
from mien.errors import DataError, MissingExtraError
from mien.labels import EIGHT

_MANY_FILES = 50  # a tree with more .npy files holds an array for each image: annotations, or features

_NAME_FILES = ("label_names.json", "class_names.json", "classes.json")


@dataclass(frozen=True, slots=True)
class _Part:
    """Images in one array and what belongs to them. last: whether the samples lie along the array's last axis."""

    images: StoredArray
    labels: StoredArray | None
    votes: StoredArray | None
    word: str
    last: bool = False
    axes: str = ""
    scale: float = 1.0

    @property
    def count(self) -> int:
        return self.images.shape[-1 if self.last else 0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.images.shape[:-1] if self.last else self.images.shape[1:]


@dataclass(frozen=True, slots=True)
class _Cells:
    parts: Sequence[_Part]

    def read(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
        first = 0
        for part in self.parts:
            low, high = np.searchsorted(rows, (first, first + part.count))
            wanted = rows[low:high] - first
            if len(wanted):
                at = start = int(wanted[0])
                places = iter(wanted.tolist())
                place = next(places)
                for block in part.images.blocks(start, last=part.last):
                    while place is not None and place < at + len(block):
                        yield first + place, (part, block[place - at])
                        place = next(places, None)
                    at += len(block)
                    if place is None:
                        break
            first += part.count

    def decode(self, cell: tuple[_Part, NDArray[Any]], source: str) -> NDArray[np.uint8]:
        """An image as the array holds it: with one channel or three."""
        part, pixels = cell
        return image_of(pixels, part.axes, part.scale)


def find_arrays(scan: Scan) -> Found | None:
    """Arrays of images and labels, called so, in a tree; None where there are none."""
    names = scan.with_suffix(*SUFFIXES)
    if not names or len(names) > _MANY_FILES:
        return None
    arrays: list[Named] = []
    faults: list[DataError] = []
    for name in names:
        try:
            arrays += _named(scan, name)
        except MissingExtraError:
            continue  # `read_arrays` reports it where nothing else is found
        except DataError as error:
            faults.append(error)
    roles = {one.role for one in arrays}
    if not {"images", "labels"} <= roles and not scan.choices.image_column:
        return None
    if faults:
        raise faults[0]
    return _found(scan, arrays)


def read_arrays(scan: Scan, *names: str) -> Found:
    """The arrays in the files that are named, and in what lies beside them. Raises DataError, MissingExtraError."""
    beside = [other for name in names for other in _beside(scan, name)]
    return _found(scan, [one for name in (*names, *beside) for one in _named(scan, name)])


def _named(scan: Scan, name: str) -> list[Named]:
    found = [named_array(array, scan.choices.split) for array in stored_arrays(scan.tree, name)]
    for column, role in ((scan.choices.image_column, "images"), (scan.choices.label_column, "labels")):
        if column:
            found = [
                replace(one, role=role)
                if base_name(one.array.key) == column
                else replace(one, role="")
                if one.role == role
                else one
                for one in found
            ]
    return found


def _beside(scan: Scan, name: str) -> list[str]:
    """The labels beside a .npy file of images: X_train.npy and y_train.npy."""
    if suffix_of(name) != ".npy":
        return []
    stem = name[:-4]
    pairs = (("images", "labels"), ("image", "label"), ("Images", "Labels"), ("x", "y"), ("X", "y"), ("X", "Y"),
             ("data", "labels"), ("images", "votes"), ("faces", "labels"), ("pixels", "labels"))  # fmt: skip
    found = [f"{label.join(stem.rsplit(image, 1))}{name[-4:]}" for image, label in pairs if image in stem]
    return [other for other in dict.fromkeys(found) if other != name and scan.tree.has(other)]


def _found(scan: Scan, arrays: Sequence[Named]) -> Found:
    parts, notes = _parts(scan, arrays)
    names_used = {a.file for part in parts for a in (part.images, part.labels, part.votes) if a}
    where = str(scan.root) if len(names_used) > 1 else scan.tree.where(next(iter(names_used)))
    parts.sort(key=lambda part: split_rank(_split(scan, part.word)))
    written = [_labels_of(part) for part in parts]
    declared, names_file = _declared(scan, arrays)
    further, manifest = _further(scan, parts, written, declared)
    sources = further.pop("source", None)
    if sources is None:
        sources = [f"{_called(part.images)}:{i}" for part in parts for i in range(part.count)]
    labels = Coded.of([text for texts in written for text in texts])
    of_one_hot = [str(i) for part in parts for i in range(_width(part.labels))]
    labels = Coded([*labels.values, *(set(of_one_hot) - set(labels.values))], labels.codes)
    # `tr` and its like are written out: they mean nothing elsewhere.
    words = [part.word if scan.choices.split(part.word) else _split(scan, part.word) for part in parts]
    splits = Coded(words, np.repeat(np.arange(len(parts)), [part.count for part in parts]))
    wrong = {i: "has several classes; expected one" for i, t in enumerate(labels.codes) if labels.values[t] == _SEVERAL}
    labels = Coded(["" if value == _SEVERAL else value for value in labels.values], labels.codes)
    rows = Written(sources, labels, splits, "split", declared, further=further, wrong=wrong)
    used = {*names_used, *names_file, *manifest}
    labelled = ", ".join(_called(part.labels) for part in parts if part.labels)
    stamp = " ".join(f"{name}-{scan.tree.stamp(name)}" for name in sorted(used))
    kinds = {suffix_of(name) for name in names_used}
    title = "NumPy arrays" if kinds <= {".npy", ".npz"} else "MATLAB arrays" if kinds == {".mat"} else "HDF5 arrays"
    return found_rows(scan, rows, _Cells(parts), title=title, where=where, labels_from=labelled, stamp=stamp,
                      used=used, notes=notes)  # fmt: skip


_SEVERAL = "several"


def _called(array: StoredArray) -> str:
    return array.file if suffix_of(array.file) == ".npy" else f"{array.file}[{array.key.rpartition('/')[2]}]"


def _split(scan: Scan, word: str) -> str:
    return scan.choices.split(word) or short_split(word) or ""


def _parts(scan: Scan, arrays: Sequence[Named]) -> tuple[list[_Part], list[str]]:
    """Images with their labels. Raises DataError where there are none, or which belong together is not clear."""
    groups: dict[tuple[str, str], list[Named]] = {}
    for one in arrays:
        groups.setdefault((one.group, _split(scan, one.word)), []).append(one)
    parts = [part for members in groups.values() if (part := _part(members))]
    taken = {id(array) for part in parts for array in (part.images, part.labels, part.votes) if array}
    left = [one.array for one in arrays if id(one.array) not in taken and one.role != "names"]
    shown = ", ".join(f"{_called(a)} {'x'.join(map(str, a.shape))}" for a in left)
    if not parts:
        where = scan.tree.where(arrays[0].array.file) if arrays else scan.root
        raise DataError(f"{where}: no array of images that mien knows; it has {shown or 'no arrays'}; expected "
                        "images and labels, or x_train and y_train; name others with --image-column and "
                        "--label-column")  # fmt: skip
    unpaired = [one for one in arrays if one.role in ("images", "labels") and id(one.array) not in taken]
    if unpaired or (left and not any(part.labels for part in parts)):
        raise DataError(f"{(unpaired[0] if unpaired else arrays[0]).array.where}: which arrays belong together is not "
                        f"clear: {shown} are left over; name them with --image-column and --label-column")  # fmt: skip
    notes = [f"{_called(part.images)} has no labels" for part in parts if not part.labels]
    known = {id(one.array) for one in arrays if one.role}
    notes += [
        f"{_called(part.images)} and {_called(part.labels)} belong together by their shapes"
        for part in parts
        if part.labels and not known & {id(part.images), id(part.labels)}
    ]
    notes += [f"not read: {shown}"] if left else []
    finished = [_with_axes(part) for part in parts]
    if len({part.scale for part in finished}) > 1:
        raise DataError(f"{scan.root}: pixels are 0 to 1 in one array and 0 to 255 in another; import them one by one")
    notes += ["pixels are fractions from 0 to 1, multiplied by 255"] if finished[0].scale == 255 else []
    if any(part.shape[part.axes.index("C")] == 3 for part in finished if "C" in part.axes):
        notes.append("three channels are taken as red, green, blue")
    return finished, notes


def _part(members: Sequence[Named]) -> _Part | None:
    """The images of a group, their labels and votes; by their shapes where their names do not say which is which."""
    by_role = {role: [one.array for one in members if one.role == role] for role in ("images", "labels", "votes", "")}
    nameless = list({a.where: a for a in by_role[""]}.values())
    images = by_role["images"] or [a for a in nameless if len(a.shape) in (3, 4)]
    labels = [a for a in by_role["labels"] if not _are_names(a, images)]
    if not by_role["images"]:
        labels = labels or [a for a in nameless if len(images) == 1 and _fits(a, images[0]) is not None]
        if len(images) != 1 or len(labels) != 1:
            return None
    for found, option in ((images, "image"), (labels, "label")):
        if len(found) > 1:
            raise DataError(f"{found[0].where}: {' and '.join(map(_called, found))} are both {option}s; name one with "
                            f"--{option}-column")  # fmt: skip
    image = images[0]
    if len(image.shape) < 2 or 0 in image.shape:
        raise DataError(f"{image.where}: has the shape {image.shape}; expected images x height x width")
    last = False
    if labels:
        fits = _fits(labels[0], image)
        if fits is None:
            raise DataError(f"{image.where}: has the shape {image.shape}, and {_called(labels[0])} {labels[0].shape}; "
                            "expected a label for each image")  # fmt: skip
        last = fits
    votes = [v for v in by_role["votes"] if v.shape[:1] == image.shape[:1] and v.shape[1:] in ((8,), (10,))]
    return _Part(image, labels[0] if labels else None, votes[0] if len(votes) == 1 else None, members[0].word, last)


def _are_names(array: StoredArray, images: Sequence[StoredArray]) -> bool:
    """Whether an array called `classes` holds the names of classes rather than a label for each image."""
    return array.dtype.kind in "US" and len(array.shape) == 1 and all(array.shape[0] not in i.shape for i in images)


def _fits(labels: StoredArray, images: StoredArray) -> bool | None:
    """Whether labels are those of the images along its first axis (False) or its last one (True); None for neither.

    Raises DataError where both would do and the file may come from MATLAB, which puts samples last.
    """
    shape = labels.shape
    if len(shape) == 2 and labels.any_axis and shape[0] == 1 != shape[1]:
        count = shape[1]
    elif len(shape) == 1 or (len(shape) == 2 and shape[0] > 0):
        count = shape[0]
    else:
        return None
    first, last = images.shape[0] == count, images.any_axis and images.shape[-1] == count and len(images.shape) > 2
    if first and last and suffix_of(images.file) == ".mat":
        raise DataError(f"{images.where}: has the shape {images.shape}: {count} images along its first axis, or its "
                        "last one? Save it with another number of images, or as .npy")  # fmt: skip
    return False if first else True if last else None


def _with_axes(part: _Part) -> _Part:
    where = part.images.where
    axes = axes_of(part.shape, where)
    if part.last and axes == "CHW":
        raise DataError(f"{where}: has the shape {part.images.shape}; expected height x width x channels x images")
    low, high = (0.0, 255.0) if part.images.dtype == np.uint8 else _range(part)
    return replace(part, axes=axes, scale=scale_of(low, high, part.images.dtype, where))


def _range(part: _Part) -> tuple[float, float]:
    """The least and the greatest finite number of all images."""
    low, high = np.inf, -np.inf
    if part.images.dtype.kind not in "iuf":
        return low, high
    for block in part.images.blocks(last=part.last):
        finite = block[np.isfinite(block)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return low, high


def _width(labels: StoredArray | None) -> int:
    """How many classes one-hot labels have; 0 for labels of another kind."""
    return labels.shape[1] if labels and len(labels.shape) == 2 and min(labels.shape) > 1 else 0


def _labels_of(part: _Part) -> list[str]:
    """The labels of a part as written; '' for none."""
    if part.labels is None:
        return [""] * part.count
    labels = part.labels.whole()
    if _width(part.labels):
        return _of_one_hot(labels, part.labels.where)
    flat = labels.reshape(-1)
    if flat.dtype.kind == "S":
        return [text.decode("utf-8", "replace").strip() for text in flat.tolist()]
    if flat.dtype.kind not in "iufbUOT":
        raise DataError(f"{part.labels.where}: labels are {flat.dtype}; expected names or whole numbers")
    return [str(value).strip() for value in flat.tolist()]


def _of_one_hot(labels: NDArray[Any], where: str) -> list[str]:
    if labels.dtype.kind not in "iufb" or not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"{where}: has the shape {labels.shape} and is not one-hot; expected a 1 in each row, and zeros"
        )
    ones = labels.sum(1)
    return ["" if n == 0 else _SEVERAL if n > 1 else str(i) for n, i in zip(ones, labels.argmax(1), strict=True)]


def _declared(scan: Scan, arrays: Sequence[Named]) -> tuple[tuple[str, ...], list[str]]:
    """The names of the numbers, from an array of them or label_names.json, and the file that holds them."""
    folder = folder_of(arrays[0].array.file)
    for name in _NAME_FILES:
        if scan.tree.has(folder + name):
            if scan.exported_names:
                return scan.exported_names, [folder + name]
            return _names_in(scan, folder + name), [folder + name]
    images = [one.array for one in arrays if one.role == "images"]
    for one in arrays:
        if one.role == "names" or (one.role == "labels" and _are_names(one.array, images)):
            texts = one.array.whole().reshape(-1).tolist()
            names = tuple(t.decode("utf-8", "replace") if isinstance(t, bytes) else str(t) for t in texts)
            return names, [one.array.file]
    return (), []


def _names_in(scan: Scan, name: str) -> tuple[str, ...]:
    """["angry", "disgust", ...], {"0": "angry", ...} or {"angry": 0, ...}. Raises DataError."""
    names = names_in(scan.text(name))
    if names and sorted(names) == list(range(len(names))):
        return tuple(names[i] for i in range(len(names)))
    raise DataError(
        f'{scan.tree.where(name)}: expected the names of the labels 0, 1, 2, ...: ["angry", "disgust", ...]'
    )


def _further(
    scan: Scan, parts: Sequence[_Part], written: Sequence[Sequence[str]], declared: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Columns beside labels and splits: votes, and what a manifest.csv of mien says; and the files that hold them."""
    columns: dict[str, Any] = {}
    if all(part.votes for part in parts):
        votes = np.concatenate([part.votes.whole() for part in parts if part.votes]).astype(np.float32)
        columns |= {"votes": votes} if votes.shape[1] == len(EIGHT) else vote_columns(votes)
    folder = folder_of(parts[0].images.file)
    name = f"{folder}manifest.csv"
    rows = _manifest_rows(scan, name, parts, written, declared) if scan.tree.has(name) else None
    if not rows:
        return columns, []
    given = {title: [row[title] for row in rows] for title in rows[0] if title not in ("split", "label")}
    columns["source"] = given.pop("source")
    for title, width in (("box", 4), ("ferplus_other", 2)):
        cells = [given.pop(f"{title}_{i}", None) for i in range(width)]
        if all(cells):
            columns[title] = np.array(cells, np.float32).T
    votes_of = {f"votes_{end}" for end in EIGHT}
    columns |= {column_name(t): text_column(v) for t, v in given.items() if t not in votes_of}
    return columns, [name]


def _manifest_rows(
    scan: Scan, name: str, parts: Sequence[_Part], written: Sequence[Sequence[str]], declared: Sequence[str]
) -> list[Mapping[str, str]] | None:
    """A manifest's rows in the order of the arrays' rows; None where it is of something else."""
    table = open_text_table(scan.tree, name)
    named = table and (table if table.columns else table.with_header())
    if not named or named.columns[:3] != ("source", "split", "label"):
        return None
    by_split: dict[str, list[Mapping[str, str]]] = {}
    for _, cells in named.rows():
        row = dict(zip(named.columns, cells, strict=False))
        by_split.setdefault(row["split"], []).append(row)
    rows: list[Mapping[str, str]] = []
    for part, texts in zip(parts, written, strict=True):
        of_split = by_split.get(_split(scan, part.word), [])
        labels = [declared[int(t)] if t.isdecimal() and int(t) < len(declared) else "" for t in texts]
        if [row.get("label") for row in of_split] != labels:
            raise DataError(
                f"{scan.tree.where(name)}: does not agree with {_called(part.labels or part.images)}, so one was "
                "edited; apply it to the data set that was exported, with  mien data relabel,  or delete it"
            )
        rows += of_split
    return rows
