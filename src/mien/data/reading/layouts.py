"""Recognises how a tree of picture files is laid out, and lists its records: class folders and published data sets."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from mien.data.reading.trees import PictureFiles, Record, Tree, is_picture_name, ordered, split_named
from mien.errors import DataError
from mien.labels import EIGHT, FER2013, canonical, canonical_all

Finder = Callable[[Tree, str, Sequence[str]], PictureFiles | None]
"""Looks for one layout under a prefix ('' or 'folder/'), given the names of all pictures; None where it is another."""

_RAF_DB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")  # its labels 1 to 7
_RAF_NAME = re.compile(r"(train|test)_\d+(_aligned)?\.\w+")
_AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")  # its labels 0 to 7
_AFFECTNET_FILE = re.compile(r"(?P<base>(?:.*/)?)(?:train|val)_set/annotations/[^/]+_(?:exp|val|aro)\.npy")
_CK_NAME = re.compile(r"S\d{3}_\d{3}_\d{8}\.\w+")
_MAX_ANNOTATION = 4096  # bytes; AffectNet's hold one number


def find_layout(tree: Tree) -> PictureFiles | None:
    """The records of a tree of pictures, whatever its layout; None where it holds none.

    Raises DataError where the layout is clear but can't be used.
    """
    pictures = [name for name in tree.names if is_picture_name(name)]
    prefix = _inner(tree, pictures)
    finders: tuple[Finder, ...] = (_raf_db, _affectnet, _split_folders, _class_folders)
    for find in finders:
        found = find(tree, prefix, pictures)
        if found:
            return found
    if not pictures:
        return None
    return PictureFiles(tree, [Record(name) for name in pictures], (), "loose pictures")


def affectnet_label(number: int) -> int:
    """AffectNet's number of an expression as an index into `labels.EIGHT`; -1 for its 8 and above, no expression."""
    return EIGHT.index(_AFFECTNET[number]) if 0 <= number < len(_AFFECTNET) else -1


def _inner(tree: Tree, pictures: Sequence[str]) -> str:
    """The prefix under which a layout begins: folders that only hold one other folder are passed through."""
    prefix = ""
    while True:
        inside = {name[len(prefix) :].partition("/")[0] for name in pictures if name.startswith(prefix)}
        first = next(iter(inside), "")
        folder = prefix + first
        if len(inside) != 1 or folder not in tree.folders or split_named(first) or canonical(first) in EIGHT:
            return prefix
        if any(name.startswith(f"{folder}/") and "/" not in name[len(folder) + 1 :] for name in pictures):
            return prefix  # the pictures themselves lie there: it may be a class
        prefix = f"{folder}/"


def _children(tree: Tree, prefix: str) -> list[str]:
    """The names of the folders right below a prefix."""
    depth = prefix.count("/")
    return [f[len(prefix) :] for f in tree.folders if f.startswith(prefix) and f.count("/") == depth]


def _below(names: Iterable[str], folder: str) -> list[str]:
    start = f"{folder}/"
    return [name for name in names if name.startswith(start)]


# Class folders


def _split_folders(tree: Tree, prefix: str, pictures: Sequence[str]) -> PictureFiles | None:
    """A folder per split, with or without a folder per class in each."""
    folders: dict[str, str] = {}
    for child in _children(tree, prefix):
        split = split_named(child)
        if split in folders:
            raise DataError(f"{tree.where(prefix)}: '{folders[split]}' and '{child}' are both {split}; keep one")
        if split:
            folders[split] = child
    if not folders:
        return None
    classes = {split: _children(tree, f"{prefix}{folder}/") for split, folder in folders.items()}
    if not any(classes.values()):
        if not any(_below(pictures, prefix + folder) for folder in folders.values()):
            place = tree.where(prefix + next(iter(folders.values())))
            raise DataError(f"{place}: no class folders in it; expected one per expression, for example {place}/happy")
        records = [Record(n, split) for split, folder in folders.items() for n in _below(pictures, prefix + folder)]
        return PictureFiles(tree, records, (), "loose pictures in split folders")
    spelled = sorted({name for children in classes.values() for name in children})
    raf = set(spelled) <= set("1234567") and any(_RAF_NAME.fullmatch(n.rpartition("/")[2]) for n in pictures[-1:])
    meaning = {name: _RAF_DB[int(name) - 1] if raf else canonical(name) for name in spelled}
    names = FER2013 if raf else ordered(set(meaning.values()))
    labels = {name: names.index(meaning[name]) for name in spelled}
    records = []
    for split in sorted(folders, key=("train", "validation", "test").index):
        folder = prefix + folders[split]
        canonical_all(classes[split], tree.where(folder))
        records += _of_classes(tree, f"{folder}/", classes[split], labels, pictures, split)
    known = tuple(f"{prefix}{folder}/" for folder in folders.values())
    records += _strays(pictures, known, "lies in no folder of a split")
    return PictureFiles(tree, records, names, "RAF-DB in class folders" if raf else "class folders with splits")


def _class_folders(tree: Tree, prefix: str, pictures: Sequence[str]) -> PictureFiles | None:
    """A folder per class, without splits; at least one is named after an expression, or they are just photo albums."""
    known = [c for c in _children(tree, prefix) if canonical(c) in EIGHT]
    if not known:
        return None
    others = [c for c in _children(tree, prefix) if c not in known and _below(pictures, prefix + c)]
    children = sorted(known + others)
    names = ordered(canonical_all(children, tree.where(prefix)))
    labels = {c: names.index(canonical(c)) for c in children}
    records = _of_classes(tree, prefix, children, labels, pictures, "")
    if all(_CK_NAME.fullmatch(r.name.rpartition("/")[2]) for r in records if not r.wrong):
        records = [replace(r, extra=(r.name.rpartition("/")[2].partition("_")[0],)) for r in records]
        return PictureFiles(tree, records, names, "CK+48", {"identity": object})
    return PictureFiles(tree, records, names, "class folders without splits")


def _of_classes(
    tree: Tree, prefix: str, classes: Sequence[str], labels: dict[str, int], pictures: Sequence[str], split: str
) -> list[Record]:
    records = []
    for name in classes:
        files = _below(pictures, prefix + name)
        if not files:
            raise DataError(f"{tree.where(prefix + name)}: no images in it; remove the folder or fill it")
        records += [Record(file, split, labels[name]) for file in files]
    inside = [n for n in pictures if n.startswith(prefix)]
    known = tuple(f"{prefix}{name}/" for name in classes)
    return records + _strays(inside, known, "lies in no class folder", split)


def _strays(pictures: Sequence[str], known: tuple[str, ...], reason: str, split: str = "") -> list[Record]:
    """Pictures outside the folders that count, as records that can't be used."""
    return [Record(name, split, wrong=reason) for name in pictures if not name.startswith(known)]


# RAF-DB, as its authors publish it


def _raf_db(tree: Tree, prefix: str, pictures: Sequence[str]) -> PictureFiles | None:
    """`EmoLabel/list_patition_label.txt` with lines `train_00001.jpg 5`, pictures in Image/aligned or original."""
    lists = [n for n in tree.names if re.search(r"(^|/)EmoLabel/list_par?tition_label\.txt$", n)]
    if not lists:
        return None
    base = lists[0].removesuffix(lists[0][lists[0].rindex("EmoLabel/") :])
    try:
        with tree.open(lists[0]) as file:
            lines = file.read().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{tree.where(lists[0])}: not UTF-8 text: {error}") from error
    records = [_raf_record(tree, base, lists[0], i, line) for i, line in enumerate(lines, start=1) if line.strip()]
    return PictureFiles(tree, records, FER2013, "RAF-DB", stamp=tree.stamp(lists[0]))


def _raf_record(tree: Tree, base: str, listed: str, line_number: int, line: str) -> Record:
    words = line.split()
    where = f"{listed}:{line_number}"
    if len(words) != 2 or "/" in words[0] or words[1] not in tuple("1234567"):
        return Record(where, wrong=f"'{line[:40]}'; expected a file name and a label from 1 to 7")
    split = split_named(words[0].partition("_")[0])
    if split is None:
        return Record(where, wrong=f"'{words[0]}' begins with neither train_ nor test_")
    stem, _, suffix = words[0].rpartition(".")
    label = FER2013.index(_RAF_DB[int(words[1]) - 1])
    for name in (f"{base}Image/aligned/{stem}_aligned.{suffix}", f"{base}Image/original/{words[0]}"):
        if tree.has(name):
            return Record(name, split, label)
    return Record(where, split, wrong=f"{words[0]} lies neither in Image/aligned nor in Image/original")


# AffectNet, as its authors publish it


def _affectnet(tree: Tree, prefix: str, pictures: Sequence[str]) -> PictureFiles | None:
    """`train_set/images/1.jpg` with `train_set/annotations/1_exp.npy`, and `_val`, `_aro` where they are there."""
    base, extra = None, set()
    for name in tree.names:
        found = _AFFECTNET_FILE.fullmatch(name) if name.endswith(".npy") else None
        if found:
            base = found["base"]
            extra.add(name[-7:-4])
            if len(extra) == 3:
                break
    if base is None:
        return None
    records = [
        Record(name, split)
        for folder, split in (("train_set", "train"), ("val_set", "validation"))
        for name in _below(pictures, f"{base}{folder}/images")
    ]
    columns = {"valence": np.float32, "arousal": np.float32} if extra & {"val", "aro"} else {}
    complete = _with_mood if columns else _with_expression
    return PictureFiles(tree, records, EIGHT, "AffectNet", columns, complete)


def _with_expression(tree: Tree, record: Record) -> Record:
    number = _annotation(tree, record.name, "exp")
    if number is None or number != int(number):
        return replace(record, wrong=f"no readable annotation {_annotation_name(record.name, 'exp')}")
    label = affectnet_label(int(number))
    if label < 0:
        return replace(record, wrong=f"no expression: its label is {int(number)}")
    return replace(record, label=label)


def _with_mood(tree: Tree, record: Record) -> Record:
    values = [_annotation(tree, record.name, kind) for kind in ("val", "aro")]
    return replace(_with_expression(tree, record), extra=tuple(np.nan if v is None else v for v in values))


def _annotation_name(picture: str, kind: str) -> str:
    folder, _, file = picture.rpartition("/images/")
    return f"{folder}/annotations/{file.rpartition('.')[0]}_{kind}.npy"


def _annotation(tree: Tree, picture: str, kind: str) -> float | None:
    """The number that an annotation file holds, as number or text; None where there is none."""
    name = _annotation_name(picture, kind)
    if not tree.has(name):
        return None
    with tree.open(name) as file:
        data = file.read(_MAX_ANNOTATION)
    try:
        number = float(np.load(io.BytesIO(data), allow_pickle=False).item())
    except (ValueError, TypeError, AttributeError, EOFError, OSError, SyntaxError, MemoryError):
        return None
    return number if np.isfinite(number) else None
