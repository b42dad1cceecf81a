"""AffectNet as its authors publish it: files of numbers beside the images, or lists of paths, expressions and boxes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mien.data.reading.folders import split_of
from mien.data.reading.label_reading import Labels, plain
from mien.data.reading.lists import one_record_each
from mien.data.reading.reading import Found, ImagePaths, Scan, paths_of
from mien.data.reading.sources import Box, Record, found_files
from mien.data.reading.text_tables import TextTable, open_text_table
from mien.data.reading.trees import Tree, base_name, folder_of, split_named
from mien.data.source import split_rank
from mien.errors import DataError

_ANNOTATION = re.compile(r"(?P<set>.*/)?annotations/(?P<stem>[^/]+)_(?P<kind>exp|val|aro)\.npy", re.IGNORECASE)
_MAX_ANNOTATION = 4096  # bytes; each holds one number
_COLUMNS = ("subdirectory_filepath", "expression")
_MOODS = {"valence": np.float32, "arousal": np.float32}
_NO_EXPRESSION = {"8": "none", "9": "uncertain", "10": "no face", "11": "no face"}


@dataclass(frozen=True, slots=True)
class _Annotations:
    """Looks up a record's label, valence and arousal in its files, just before it is read.

    files: (image's folder and stem in lower case, kind) -> file. moods: whether there are files of valence or arousal.
    """

    files: Mapping[tuple[str, str], str]
    labels: Labels
    moods: bool

    def __call__(self, tree: Tree, record: Record) -> Record:
        key = _key(record.name)
        if self.moods:
            values = [self._number(tree, key, kind) for kind in ("val", "aro")]
            record = replace(record, extra=tuple(math.nan if v is None else v for v in values))
        number = self._number(tree, key, "exp")
        if number is None or number != int(number):
            where = self.files.get((key, "exp")) or f"annotations/{key.rpartition('/')[2]}_exp.npy"
            return replace(record, wrong=f"no readable annotation {where}")
        return _with_expression(record, str(int(number)), self.labels)

    def _number(self, tree: Tree, key: str, kind: str) -> float | None:
        """The number that a file holds, as number or text; None where there is none."""
        name = self.files.get((key, kind))
        if name is None:
            return None
        try:
            with tree.open(name) as file:
                number = float(np.load(io.BytesIO(file.read(_MAX_ANNOTATION)), allow_pickle=False).item())
        except (ValueError, TypeError, AttributeError, EOFError, OSError, SyntaxError, MemoryError, DataError):
            return None
        return number if math.isfinite(number) else None


def _with_expression(record: Record, number: str, labels: Labels) -> Record:
    if plain(number) in _NO_EXPRESSION and labels.index(number) is None:
        return replace(record, wrong=f"no expression: its label is {plain(number)} ({_NO_EXPRESSION[plain(number)]})")
    return replace(record, label=number)


def _key(image: str) -> str:
    """`train_set/1` for train_set/images/1.jpg."""
    folder, _, file = image.lower().rpartition("/")
    return f"{folder.removesuffix('images')}{file.rpartition('.')[0]}"


def find_affectnet(scan: Scan) -> Found | None:
    """`train_set/images/1.jpg` with `train_set/annotations/1_exp.npy`, and `_val`, `_aro` where they are there."""
    files: dict[tuple[str, str], str] = {}
    for name in scan.with_suffix(".npy"):
        match = _ANNOTATION.fullmatch(name)
        if match:
            files[(match["set"] or "").lower() + match["stem"].lower(), match["kind"].lower()] = name
    kinds = {kind for _, kind in files}
    if "exp" not in kinds:
        return None
    sets = {folder_of(key) for key, _ in files}
    splits: dict[str, str] = {}
    records = []
    moods = bool(kinds & {"val", "aro"})
    for name in scan.images:
        folder = folder_of(name)
        above = folder[: -len("images/")]
        if folder.lower().endswith("images/") and above.lower() in sets:
            word = above.rstrip("/").rpartition("/")[2]
            split = split_of(scan, word) or "" if word else ""
            if split:
                splits[word] = split
            records.append(Record(name, split, "", (math.nan,) * 2 if moods else ()))
    if not records:
        return None
    records.sort(key=lambda r: split_rank(r.split))
    labels = scan.labels([str(i) for i in range(8)], str(scan.root), order="affectnet")
    keys = {_key(r.name) for r in records}
    used = {name for (key, _), name in files.items() if key in keys}
    return found_files(scan, records, labels, "AffectNet", "annotations/*_exp.npy", splits=splits, notes=_notes(moods),
                       used=used, extra=_MOODS if moods else {},
                       complete=_Annotations(files, labels, moods))  # fmt: skip


def _notes(moods: bool) -> list[str]:
    notes = ["images of AffectNet's 8 and above (none, uncertain, no face) show no expression; they are left out"]
    return [*notes, "valence and arousal are kept as columns"] if moods else notes


# Lists


def find_affectnet_lists(scan: Scan, only: str = "") -> Found | None:
    """training.csv and validation.csv with subDirectory_filePath and expression. only: the one that is looked at."""
    tables = []
    for name in [only] if only else scan.with_suffix(".csv"):
        table = open_text_table(scan.tree, name)
        table = table.with_header() if table and table.delimiter else None
        if table and all(column in table.columns for column in _COLUMNS):
            tables.append(table)
    if not tables:
        return None
    named = [t for t in tables if split_named(_stem(t.name))] or tables
    lists = [(t, paths_of(scan, t.name)) for t in named]
    columns: dict[str, Any] = {k: v for k, v in _MOODS.items() if all(k in t.columns for t in named)}
    read = [one_record_each(_records(t, p, tuple(columns))) for t, p in lists]
    written = {plain(r.label) for rows, _ in read for r in rows if not r.wrong}
    where = scan.tree.where(named[0].name)
    if scan.choices.labels is None:
        written -= _NO_EXPRESSION.keys()
    labels = scan.labels(written, where, order="affectnet")
    records: list[Record] = []
    splits: dict[str, str] = {}
    for table, (rows, _) in zip(named, read, strict=True):
        word = _stem(table.name)
        split = scan.choices.split(word) or "" if split_named(word) or word in scan.choices.split_map else ""
        if split:
            splits[word] = split
        for record in rows:
            seen = record if record.wrong else _with_expression(record, record.label, labels)
            records.append(replace(seen, split=split))
    if all(r.wrong for r in records):
        reason = records[0].wrong if records else "it is empty"
        raise DataError(f"{where}: none of its images can be used ({reason})")
    used = {t.name for t in named}
    names = ", ".join(sorted(used))
    notes = [*_notes(bool(columns)), *(note for _, again in read for note in again)]
    if not splits:
        notes.append(f"{where} names no split: its labels may be a machine's (automatically annotated)")
    return found_files(scan, records, labels, "AffectNet with lists", f"column 'expression' of {names}", splits=splits,
                       notes=notes, used=used, stray=f"is not named in {names}", tree=lists[0][1].tree,
                       extra=columns)  # fmt: skip


def _stem(name: str) -> str:
    return base_name(name).rpartition(".")[0]


def _records(table: TextTable, paths: ImagePaths, moods: tuple[str, ...]) -> Iterator[Record]:
    places = {title: i for i, title in enumerate(table.columns)}
    for number, cells in table.rows():
        row = {title: cells[i] if i < len(cells) else "" for title, i in places.items()}
        path = row[_COLUMNS[0]]
        name = paths.find(path)
        extra = tuple(_mood(row[title]) for title in moods)
        if name is None:
            reason = f"'{path[-80:]}': no such file; name the folder of the images with --root" if path else "no path"
            yield Record(f"{table.name}:{number}", extra=extra, wrong=reason)
        else:
            yield Record(name, "", row[_COLUMNS[1]], extra, box=_box(row))


def _mood(text: str) -> float:
    """Valence or arousal, NaN for AffectNet's -2, which stands for none."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if -1 <= value <= 1 else math.nan


def _box(row: Mapping[str, str]) -> Box | None:
    try:
        x, y, width, height = (float(row.get(f"face_{k}", "")) for k in ("x", "y", "width", "height"))
    except ValueError:
        return None
    box = (x, y, x + width, y + height)
    return box if width > 0 and height > 0 and all(math.isfinite(v) and abs(v) < 1e6 for v in box) else None
