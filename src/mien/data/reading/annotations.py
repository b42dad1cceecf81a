"""What the readers of annotation files share: which image a path means, its split, and its marks: `Annotated`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mien.data.reading.label_reading import is_no_label
from mien.data.reading.reading import Found, Scan
from mien.data.reading.sources import Box, Record, found_files
from mien.data.reading.trees import CONTAINERS, Tree, base_name, folded, folder_of, leads_out, printable, split_named
from mien.errors import DataError
from mien.labels import EIGHT, canonical

NO_FACE = "no face is labelled in it"
"""Why an image without marks is no sample: it shows background."""

NO_IMAGE = "no such image"
"""Why a path that an annotation file names can't be used."""

_LABEL_ATTRIBUTES = {"emotion", "expression", "facial_expression", "facial expression", "label", "class", "sentiment"}


@dataclass(frozen=True, slots=True)
class Mark:
    """One annotation of an image. label: as written. box: of the face; None: the whole image.

    wrong: why it can't be used, if it can't; `where` then names the place, a file and a line of it.
    """

    label: str
    box: Box | None = None
    wrong: str = ""
    where: str = ""


class ImageNames:
    """From paths as annotation files write them to images of the data set."""

    def __init__(self, tree: Tree, images: Sequence[str]) -> None:
        self.tree = tree
        self.images = images
        self._all = set(images)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return _grouped((folded(base_name(name)), name) for name in self.images)

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return _grouped((_stem(folded(base_name(name))), name) for name in self.images)

    def find(
        self, written: str, folder: str = "", split: str = "", *, inner: str = "images/", stem: bool = False
    ) -> str | None:
        """The image that a path means; None where none does, or more than one.

        folder: of the annotation file, '' or with a slash at its end; split: its split: they choose among several.
        inner: the folder in it where the format keeps images, which goes first. stem: the path has no suffix.
        """
        path = re.sub(r"^\w+://", "/", written.strip().replace("\\", "/"))
        foreign = leads_out(path)
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        if not parts:
            return None
        candidates = (self._by_stem if stem else self._by_name).get(folded(parts[-1]), [])
        inside = (folder + inner).lower()
        if not any(name.lower().startswith(inside) for name in candidates):
            exact = folder + "/".join(parts)
            if not stem and not foreign and exact in self._all:
                return exact
        fitting = [(score, name) for name in candidates if (score := _overlap(name, parts, folder, foreign, stem))]
        best = max((score for score, _ in fitting), default=0)
        found = [name for score, name in fitting if score == best]
        for keep in (
            lambda name: name.lower().startswith(inside),
            lambda name: bool(split) and split in map(split_named, name.split("/")[:-1]),
            lambda name: bool(folder) and name.startswith(folder),
        ):
            if len(found) > 1:
                found = [name for name in found if keep(name)] or found
        return found[0] if len(found) == 1 else None


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, name in pairs:
        groups.setdefault(key, []).append(name)
    return groups


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _overlap(name: str, parts: Sequence[str], folder: str, foreign: bool, stem: bool) -> int:
    """How many of the last parts of a path an image's name has; 0 where they contradict each other.

    folder: of the annotation file: what it is called says nothing. foreign: the path is one of another machine, whose
    folders for images may be called otherwise.
    """
    if folder and name.startswith(folder):
        inside = _overlap(name.removeprefix(folder), parts, "", foreign, stem)
        return max(inside, _overlap(name, parts, "", foreign, stem))
    has = [folded(part) for part in (_stem(name) if stem else name).split("/")]
    wants = [folded(part) for part in parts]
    same = 0
    while same < min(len(has), len(wants)) and has[-1 - same] == wants[-1 - same]:
        same += 1
    if same < min(len(has), len(wants)):
        says_nothing = has[-1 - same] in CONTAINERS or split_named(has[-1 - same]) is not None
        if not (foreign and says_nothing):
            return 0
    return same


@dataclass(slots=True)
class _Marked:
    split: str
    marks: tuple[Mark, ...]
    why_none: str


@dataclass
class Annotated:
    """The annotations of a data set, collected until `found` builds the data set.

    title: of the format. fractions: boxes are in shares of the image's size. used: files that were read.
    """

    scan: Scan
    title: str
    fractions: bool = False
    used: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    problems: list[Record] = field(default_factory=list)
    by_attribute: set[str] = field(default_factory=set)
    _marked: dict[str, _Marked] = field(default_factory=dict)

    @cached_property
    def images(self) -> ImageNames:
        """The images that paths are looked for among: the tree's, or those under the folder that the user names."""
        scan, root = self.scan, self.scan.choices.root
        return ImageNames(scan.image_tree, Scan(scan.image_tree, root).images if root else scan.images)

    def split_word(self, word: str) -> str:
        """The split that a word means, as the user or the usual spelling says; '' for none."""
        split = self.scan.choices.split(word)
        if word and split is not None:
            self.splits[word] = split
        return split or ""

    def split_of(self, *names: str) -> str:
        """The split that the folders of files name, the nearest first; '' for none. names: the most reliable first."""
        words = (self.scan.choices.split_word(name.split("/")[:-1]) for name in names)
        return self.split_word(next(filter(None, words), ""))

    def split_of_list(self, name: str) -> str:
        """The split that an annotation file's name tells (instances_train2017.json), or else its folders."""
        stem = _stem(base_name(name))
        words = [w for w in re.findall(r"[^\W\d_]+", stem) if self.scan.choices.split(w) is not None]
        return self.split_word(words[0]) if len(words) == 1 else self.split_of(name)

    def label_of(self, name: str, attributes: Mapping[str, str]) -> str:
        """A mark's label: its class, or the attribute that says the expression where the class is none (face)."""
        if canonical(name) not in EIGHT:
            for key, value in attributes.items():
                if key.strip().lower() in _LABEL_ATTRIBUTES and not is_no_label(value):
                    self.by_attribute.add(key)
                    return value
        return name

    def add(self, name: str, split: str, marks: Iterable[Mark], why_none: str = NO_FACE) -> None:
        """An image and its marks; further ones where another file marked it too. why_none: where there is none."""
        new = tuple(marks)
        old = self._marked.get(name)
        if old is None:
            self._marked[name] = _Marked(split, new, why_none)
            return
        if split and old.split and split != old.split:
            self.wrong(name, f"is in {old.split} and in {split}; read as {old.split}")
        old.split = old.split or split
        old.marks += tuple(mark for mark in new if mark not in old.marks)

    def place(
        self, written: str, file: str, split: str, where: str, marks: Iterable[Mark], why: str = NO_FACE, **how: Any
    ) -> None:
        """`add` for the image that a path in an annotation file means, or a problem. how: as in `ImageNames.find`."""
        name = self.images.find(written, folder_of(file), split, **how)
        if name is None:
            self.wrong(where, f"'{written[:100]}': {NO_IMAGE}", split)
        else:
            self.add(name, split or self.split_of(name), marks, why)

    def wrong(self, where: str, reason: str, split: str = "") -> None:
        """A problem: a place in a file, and what is wrong there."""
        self.problems.append(Record(where, split, wrong=reason))

    def rename(self, name: Callable[[str], str]) -> None:
        """Puts other labels in place of those that were added."""
        for marked in self._marked.values():
            marked.marks = tuple(m if m.wrong else replace(m, label=name(m.label)) for m in marked.marks)

    def found(self, labels_from: str, also: Iterable[str] = (), **known: Any) -> Found | None:
        """The data set; None where another layout explains its images better.

        also: classes that it may have without an image of them: those that are expressions are kept. known: as in
        `read_labels`. Raises DataError where no image of it can be used.
        """
        records = [record for name, marked in self._marked.items() for record in _records(name, marked)]
        good = [r for r in records if not r.wrong]
        declared = dict(enumerate(known.get("declared", ())))
        expressions = {
            r.name for r in good if canonical(declared.get(int(r.label), "") if declared else r.label) in EIGHT
        }
        if self._is_stray(expressions):
            return None
        where = f"{self.scan.root}: {self.title}"
        if not good:
            first = next(iter([*self.problems, *records]), None)
            why = f"; first: {printable(first.name)}: {first.wrong}" if first else ""
            if why.endswith(NO_IMAGE):
                why += "; where its images lie elsewhere, name their folder with --root"
            raise DataError(f"{where}: none of its images has a label that can be read{why}")
        unknown = set(self.scan.choices.split_map) - set(self.splits)
        if unknown:
            raise DataError(
                f"{where}: no split '{sorted(unknown)[0]}', which --split-map names; it has "
                f"{', '.join(self.splits) or 'none'}"
            )
        written = {r.label for r in good}
        held = {canonical(label) for label in written}
        written |= {name for name in also if canonical(name) in EIGHT and canonical(name) not in held}
        labels = self.scan.labels(written, str(self.scan.root), **known)
        records += self.problems
        found = found_files(self.scan, records, labels, self.title, labels_from, splits=self.splits,
                            notes=self._notes(records), used=self.used, tree=self.images.tree,
                            stray="has no label: no file of annotations names it",
                            fractions=self.fractions)  # fmt: skip
        return replace(found, used=self.used | set(self._marked))

    def _is_stray(self, expressions: Collection[str]) -> bool:
        """Whether the images are class folders, and few of them have an expression in what was read."""
        if 2 * len(expressions) >= len(self.images.images):
            return False
        folders = sum(any(canonical(part) in EIGHT for part in n.split("/")[:-1]) for n in self.images.images)
        return 2 * folders > len(self.images.images)

    def _notes(self, records: Sequence[Record]) -> tuple[str, ...]:
        notes = list(self.notes)
        if self.by_attribute:
            notes.append(f"labels are the attribute {', '.join(sorted(self.by_attribute))} of the marks")
        empty = sum(r.wrong == NO_FACE for r in records)
        if empty:
            notes.append(f"images in which no face is labelled, left out: {empty:,}")
        several = len({r.name for r in records if r.face})
        if several:
            notes.append(f"images that show several faces, each cut out at its box: {several:,}")
        return tuple(notes)


def _records(name: str, marked: _Marked) -> Iterator[Record]:
    """A record for each face of an image: its boxes or, where there are none, the one label of the whole image."""
    wrong = [m for m in marked.marks if m.wrong]
    boxed = [m for m in marked.marks if m.box and not m.wrong]
    yield from (Record(m.where or name, marked.split, wrong=m.wrong) for m in wrong)
    if boxed:
        many = len(boxed) + len(wrong) > 1
        for number, mark in enumerate(boxed, start=1):
            yield Record(name, marked.split, mark.label, box=mark.box, face=number if many else 0)
        whole = sorted({m.label for m in marked.marks if not m.box and not m.wrong})
        if whole:
            yield Record(name, marked.split, wrong=f"the label of the whole image ({', '.join(whole)}) is not read: "
                         "its faces have their own")  # fmt: skip
        return
    labels = sorted({m.label for m in marked.marks if not m.wrong and not is_no_label(m.label)})
    if len(labels) == 1:
        yield Record(name, marked.split, labels[0])
    elif labels:
        yield Record(name, marked.split, wrong=f"has {len(labels)} labels ({', '.join(labels)}); expected one")
    elif not wrong:
        yield Record(name, marked.split, wrong=marked.why_none)


def bounds(numbers: Sequence[float]) -> Box:
    """The box around a polygon, x, y, x, y, ..."""
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])


def floats(values: Any) -> list[float] | None:
    """A list of finite numbers, as JSON or text has them; None where it is none."""
    if not isinstance(values, list | tuple):
        return None
    try:
        numbers = [float(v) for v in values if not isinstance(v, bool)]
    except (TypeError, ValueError, OverflowError):
        return None
    finite = all(abs(number) < 1e9 for number in numbers)  # not so for NaN either
    return numbers if finite and len(numbers) == len(values) else None
