"""The recognition of layouts: `Scan` (an indexed tree), `Found`, `Reading`, `Choices`, and `ImagePaths` of lists."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mien.data.reading.archives import UNREADABLE
from mien.data.reading.class_names import MOST_BYTES, class_names
from mien.data.reading.label_reading import LabelChoice, Labels, is_no_label, is_number, plain, read_labels
from mien.data.reading.trees import Folder, Tree, base_name, folded, folder_of, leads_out, split_named, suffix_of
from mien.data.source import SPLITS, Source, split_rank
from mien.errors import DataError
from mien.images import IMAGE_SUFFIXES
from mien.signatures import HEAD_BYTES, image_kind

_OTHER_SUFFIXES = frozenset({
    ".csv", ".tsv", ".txt", ".lst", ".json", ".jsonl", ".ndjson", ".xml", ".yaml", ".yml", ".toml", ".md", ".html",
    ".py", ".ipynb", ".parquet", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".pt", ".pth", ".onnx",
    ".tar", ".gz", ".zip", ".rar", ".7z", ".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".wmv", ".wav", ".mp3",
    ".pdf",
})  # fmt: skip
"""Names that are not opened to see whether they are images while a data set is looked over."""

MAX_TEXT = 256 * 1024 * 1024
"""The most bytes of a list or an annotation file."""

EXPORTED = ".mien-export.json"
"""A hidden file in each exported folder: from what, by which settings and steps it was made."""

_NAMES_IMAGES = re.compile(rb"\.(jpe?g|png|bmp|gif|tiff?|webp)\b", re.IGNORECASE)

_APART = str.maketrans("-_.", "   ")
NOT_PART = "is not part of the data set"


@dataclass(frozen=True, slots=True)
class Choices:
    """The user's choices for a data set, where its files leave something open.

    splits: those that are read, None for all. labels: what labels mean. split_map: split as written -> train,
    validation, test or '' (none). label_column, image_column: of lists and tables, by name or, without a header, number
    from 1. root: the folder that paths in lists are relative to. ferplus: fer2013new.csv.
    """

    splits: tuple[str, ...] | None = None
    labels: LabelChoice | None = None
    split_map: Mapping[str, str] = field(default_factory=dict)
    label_column: str = ""
    image_column: str = ""
    root: Path | None = None
    ferplus: Path | None = None

    def split(self, written: str) -> str | None:
        """The split that a word means, '' for none; None where it means no split."""
        if written in self.split_map:
            return self.split_map[written]
        return split_named(written) if written.strip() else ""

    def split_word(self, names: Sequence[str], *, pieces: bool = False) -> str:
        """The last of these names of folders and files that means a split, as written; '' where none does.

        pieces: a word in a name may mean one too: train-00000-of-00003.
        """
        words = [word for name in reversed(names) for word in [name, *(name.translate(_APART).split() * pieces)]]
        return next((word for word in words if word.strip() and self.split(word) is not None), "")

    def to_dict(self) -> dict[str, Any]:
        """What was chosen, as the manifest's history keeps it; what was not is left out."""
        return {
            name: value
            for name, value in (
                ("labels", self.labels.given if self.labels else ""),
                ("split_map", dict(self.split_map)),
                ("label_column", self.label_column),
                ("image_column", self.image_column),
                ("root", str(self.root) if self.root else ""),
                ("ferplus", self.ferplus.name if self.ferplus else ""),
            )
            if value
        }


@dataclass(frozen=True, slots=True)
class Reading:
    """What was understood of a data set, to be read by a person before it is believed.

    layout: what it is called. labels_from: where labels come from. labels: what they mean. splits: split as written ->
    as read. notes: further remarks, a line each.
    """

    layout: str
    labels_from: str = ""
    labels: Labels = field(default_factory=Labels)
    splits: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A line for each thing that was understood: what, two blanks, and how."""
        lines = [f"layout   {self.layout}"]
        names = ", ".join(self.labels.names) if self.labels.names else "none"
        lines.append(f"labels   {names}" + (f"; from {self.labels_from}" if self.labels_from else ""))
        lines += [f"         {line}" for line in self.labels.said]
        if any(self.splits):
            lines.append(
                "splits   " + ", ".join(f"{a} -> {b or 'none'}" if a != b else a for a, b in self.splits.items())
            )
        else:
            lines.append("splits   none")
        return lines + [f"note     {note}" for note in self.notes]


@dataclass(frozen=True, slots=True)
class Found:
    """A data set that a layout recognised.

    used: files of the tree that are no images and were read (lists, tables, annotations); every other file that no
    record names is a problem. stray: why images that no record names are not part of the data.
    """

    source: Source
    reading: Reading
    used: Collection[str] = ()
    stray: str = NOT_PART


@dataclass(frozen=True)
class Scan:
    """A tree, looked over once for all layouts. root: its path on this machine (the archive's, for an archive).

    one_file: the user named a file in it, not the folder. class_files: those that named the numbers of the labels.
    """

    tree: Tree
    root: Path
    choices: Choices = field(default_factory=Choices)
    one_file: bool = False
    class_files: list[str] = field(default_factory=list, compare=False)

    @cached_property
    def image_tree(self) -> Tree:
        """Where the images are that lists name: the folder that the user names, or else the tree."""
        return Folder(self.choices.root) if self.choices.root else self.tree

    @cached_property
    def images(self) -> list[str]:
        """The files that are images: by a known suffix, or else by their first bytes."""
        return [name for name in self.tree.names if self._shows(name)]

    @cached_property
    def image_set(self) -> frozenset[str]:
        """The same, to look names up."""
        return frozenset(self.images)

    @cached_property
    def others(self) -> list[str]:
        """All other files."""
        return [name for name in self.tree.names if name not in self.image_set]

    def with_suffix(self, *suffixes: str) -> list[str]:
        """The files that are no images and end in one of these (lower case, with the dot)."""
        return [name for name in self.others if suffix_of(name) in suffixes]

    def named(self, *names: str) -> list[str]:
        """The files that are no images and have one of these names (lower case), wherever they are."""
        return [name for name in self.others if base_name(name).lower() in names]

    def head(self, name: str, size: int = HEAD_BYTES) -> bytes:
        """The first bytes of a file; none where it can't be read."""
        try:
            with self.tree.open(name) as file:
                return file.read(size)
        except (*UNREADABLE, DataError):
            return b""

    def text(self, name: str, *, most: int = MAX_TEXT) -> str:
        """A whole text file of at most `most` bytes: as `decode_text` reads it. Raises DataError."""
        where, size = self.tree.where(name), self.tree.size(name)
        if size > most:
            raise DataError(f"{where}: has {size / 1e6:,.0f} MB; the limit for lists is {most // 10**6}")
        try:
            with self.tree.open(name) as file:
                data = file.read(most)
        except UNREADABLE as error:
            raise DataError(f"{where}: can't be read ({error}); get a whole copy of the file") from error
        return decode_text(data, where)

    def labels(self, written: Collection[str], where: str, **known: Any) -> Labels:
        """What labels mean, with what the user says of them, or a file of class names; `known` as in `read_labels`."""
        own = self.exported_names
        if own and not self.choices.labels and all(map(is_number, own)):  # classes that are called by numbers
            return read_labels({*written, *own}, where, as_names=True)
        if self.choices.labels or known.get("declared") or known.get("order"):
            return read_labels(written, where, choice=self.choices.labels, **known)
        texts = [text for text in written if not is_no_label(text)]
        if not texts or not all(map(is_number, texts)):
            return read_labels(written, where, **known)
        # Beside one file; deeper folders may be of other data.
        beside = [place.name for place in self.root.iterdir()] if self.one_file else self.tree.names
        small = partial(self.text, most=MOST_BYTES)
        files, names = class_names(beside, {int(plain(text)) for text in texts}, small, where)
        if not names:
            return read_labels(written, where, **known)
        self.class_files.extend(files)
        meaning = LabelChoice("", renamed={str(number): name for number, name in names.items()})
        labels = read_labels(written, where, choice=meaning)
        said = ", ".join(f"{number} {name}" for number, name in sorted(names.items()))
        return replace(labels, said=(f"{said} (named in {', '.join(files)})", *labels.said[1:]))

    @cached_property
    def exported_names(self) -> tuple[str, ...]:
        """The classes of a data set that mien exported, those without a sample too; none of another one."""
        if not self.tree.has(EXPORTED):
            return ()
        try:
            return tuple(map(str, json.loads(self.text(EXPORTED))["label_names"]))
        except (DataError, ValueError, KeyError, TypeError):
            return ()

    @cached_property
    def files_of_folders(self) -> dict[str, str]:
        """Folder -> a file of numbers that is named after it, for sibling folders of which most have one.

        Such folders are clips or people, and no classes: 001/001.json of AFEW-VA, SN001_au1.txt of DISFA.
        """
        levels: dict[int, set[str]] = {}
        for name in self.images:
            for level, part in enumerate(name.split("/")[:-1]):
                levels.setdefault(level, set()).add(part)
        files: dict[str, str] = {}
        for name in self.with_suffix(".txt", ".csv", ".json", ".mat", ".npy", ".xml"):
            stem = base_name(name).rpartition(".")[0]
            files.setdefault(stem, name)
            files.setdefault(stem.partition("_")[0], name)
        for folders in levels.values():
            found = {folder: files[folder] for folder in sorted(folders) if folder in files}
            if 1 < len(folders) <= 2 * len(found) and not any(
                _NAMES_IMAGES.search(self.head(n)) for n in found.values()
            ):
                return found
        return {}

    def _shows(self, name: str) -> bool:
        suffix = suffix_of(name)
        if suffix in IMAGE_SUFFIXES:
            return True
        return suffix not in _OTHER_SUFFIXES and image_kind(self.head(name)) is not None


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which data sets come. title: its name. recognised_by: what marks it, for the documentation.

    find: looks for it; None where it is another. Raises DataError where the layout is clear but can't be used.
    """

    title: str
    recognised_by: str
    find: Callable[[Scan], Found | None]


def make_choices(
    *,
    labels: str = "",
    split_map: str = "",
    label_column: str = "",
    image_column: str = "",
    root: str | Path | None = None,
    ferplus: str | Path | None = None,
) -> Choices:
    """Choices as typed: `labels` as in `LabelChoice.parse`, `split_map` as `holdout=test`. Raises DataError."""
    return Choices(
        labels=LabelChoice.parse(labels) if labels else None,
        split_map=parse_split_map(split_map) if split_map else {},
        label_column=label_column,
        image_column=image_column,
        root=None if root is None else Path(root),
        ferplus=None if ferplus is None else Path(ferplus),
    )


def parse_split_map(text: str) -> dict[str, str]:
    """`holdout=test,extra=train` -> split as written -> split; `-` and nothing stand for no split. Raises DataError."""
    pairs = [part.partition("=") for part in text.split(",")]
    mapped = {old.strip(): "" if new.strip() in ("", "-") else new.strip() for old, _, new in pairs}
    for old, new in mapped.items():
        if not old or new not in ("", *SPLITS) or not all(sign for _, sign, _ in pairs):
            raise DataError(f"--split-map {text}: expected pairs such as  holdout=test,  with {', '.join(SPLITS)}")
    return mapped


def encoding_of(start: bytes) -> str:
    """How text is encoded: UTF-8, or UTF-16 with or without its mark, by where its zero bytes are."""
    if start.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    even, odd = start[:2048:2], start[1:2048:2]
    for zeros, others, name in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if zeros and zeros.count(0) * 10 > 8 * len(zeros) and 0 not in others:
            return name
    return "utf-8-sig"


def decode_text(data: bytes, where: str) -> str:
    """Text in UTF-8 or UTF-16, with or without a byte order mark. Raises DataError."""
    try:
        return data.decode(encoding_of(data)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text: {error}; save it as UTF-8") from error


def split_words(found: Mapping[str, str] | Sequence[tuple[str, str]]) -> dict[str, str]:
    """Splits as written -> as read, in the usual order, for a `Reading`."""
    return dict(sorted(dict(found).items(), key=lambda pair: (split_rank(pair[1]), pair[0])))


_FOLDERS = ("", "images/", "Images/", "image/", "img/", "imgs/", "faces/", "data/")
_ADDRESS = re.compile(r"\w[\w+.-]*://")  # http, s3, gs, file: the files may be here all the same


def paths_of(scan: Scan, listed: str) -> ImagePaths:
    """How paths in a list are found: from the folder that the user names, or else from the list's own."""
    return ImagePaths(scan.image_tree, "" if scan.choices.root else folder_of(listed))


def names_by_last(tree: Tree) -> dict[str, list[str]]:
    """The files of a tree by their last name in lower case, and by it without its suffix, a dot in its place."""
    kept: dict[str, dict[str, list[str]]] = vars(tree)  # with the tree: many lists are looked at
    if "names_by_last" not in kept:
        found: dict[str, list[str]] = {}
        for name in tree.names:
            last = folded(base_name(name))
            found.setdefault(last, []).append(name)
            found.setdefault(last.rpartition(".")[0] + ".", []).append(name)
        kept["names_by_last"] = found
    return kept["names_by_last"]


@dataclass(frozen=True)
class ImagePaths:
    """From paths as lists write them to files of a tree: relative, absolute, of Windows, addresses, without a suffix.

    tree: where the images are. folder: of the list in it, '' or with a slash at its end.
    """

    tree: Tree
    folder: str

    def find(self, written: str) -> str | None:
        """The file that a path means, a name in the tree; None where none, or more than one, does."""
        found = self.fitting(written)
        return found[0] if len(found) == 1 else None

    def fitting(self, written: str) -> list[str]:
        """The files that a path may mean: the one just there, else those of its last name, best below the list."""
        path = written.strip().strip("\"'").replace("\\", "/")
        while path.startswith("./"):
            path = path[2:]
        if not path or path.endswith("/"):
            return []
        if _ADDRESS.match(path):
            path = _ADDRESS.sub("/", path).partition("?")[0]
        elif not leads_out(path):
            for base in _FOLDERS:
                if self.tree.has(self.folder + base + path):
                    return [self.folder + base + path]
        for form in dict.fromkeys((path, unquote(path))):
            last = folded(base_name(form))
            for key in (last, *([] if "." in last else [f"{last}."])):
                found = [
                    c for c in names_by_last(self.tree).get(key, []) if self._fits(c, form, stem=key.endswith("."))
                ]
                if found:
                    return [c for c in found if c.startswith(self.folder)] or found
        return []

    def _fits(self, candidate: str, path: str, *, stem: bool) -> bool:
        """Whether a file of the same last name is the one that a path means: one path must end with the other."""
        inside = folded(candidate.removeprefix(self.folder))
        inside = inside.rpartition(".")[0] if stem else inside
        wanted = folded(path)
        if leads_out(path):
            return wanted.endswith("/" + inside)
        if wanted.endswith("/" + inside):  # from a folder above the tree: with its name, or another folder in common
            above = wanted.removesuffix("/" + inside).rpartition("/")[2]
            return "/" in inside or above == self._root
        return inside.endswith("/" + wanted) or inside == wanted

    @property
    def _root(self) -> str:
        return self.tree.where("").rstrip("/\\").rpartition("/")[2].lower()
