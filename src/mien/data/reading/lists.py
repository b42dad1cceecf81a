"""Lists that say what images show: CSV, TSV, JSON lines and their kind, each line a path, a label and maybe a split."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mien.data.reading.image_files import ImageFiles, Record, column_name
from mien.data.reading.label_reading import is_no_label
from mien.data.reading.reading import Found, Reading, Scan, split_words
from mien.data.reading.text_tables import TextTable, column_names, open_text_table
from mien.data.reading.trees import Folder, Tree, leads_out, split_named, suffix_of
from mien.errors import DataError
from mien.images import IMAGE_SUFFIXES
from mien.labels import EIGHT, canonical

IMAGE_COLUMNS = (
    "image", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "img", "img_path",
    "image_name", "img_name", "images", "image_file", "pth", "name", "id", "image_id", "number", "url", "source",
)  # fmt: skip
"""Names of the column of images in lists, the most reliable first; a column counts only where its cells are images."""

LABEL_COLUMNS = (
    "label", "labels", "emotion", "expression", "class", "category", "target", "exp", "cls", "choice", "sentiment",
    "emotion_label", "label_name", "class_name", "facial_expression", "y", "annotation", "ground_truth", "class_id",
)  # fmt: skip
"""Names of the column of labels in lists, the most reliable first."""

SPLIT_COLUMNS = ("split", "usage", "set", "subset", "partition", "fold_name", "phase", "data_type")

_SUFFIXES = (".csv", ".tsv", ".txt", ".lst", ".list", ".json", ".jsonl", ".ndjson", ".tab")
_FOLDERS = ("", "images/", "Images/", "image/", "img/", "imgs/", "faces/", "data/")
_LOOKED_AT = 40  # lines that are read to recognise the columns


@dataclass(frozen=True, slots=True)
class ListColumns:
    """Which cells of a list's lines hold what; -1 where none does. one_hot: a column for each class, by its name.
    votes: of the eight expressions in the order of `labels.EIGHT`, () where there are none.
    """

    image: int
    label: int = -1
    split: int = -1
    others: tuple[tuple[str, int], ...] = ()
    one_hot: tuple[tuple[str, int], ...] = ()
    votes: tuple[int, ...] = ()


@dataclass(frozen=True)
class ImagePaths:
    """From paths as lists write them to files of a tree: relative, absolute, of Windows, or without a suffix.

    tree: where the images are. folder: of the list in it, '' or with a slash at its end.
    """

    tree: Tree
    folder: str

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.tree.names:
            found.setdefault(name.rpartition("/")[2].lower(), []).append(name)
        return found

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.tree.names:
            found.setdefault(name.rpartition("/")[2].rpartition(".")[0].lower(), []).append(name)
        return found

    def find(self, written: str) -> str | None:
        """The file that a path means, a name in the tree; None where none, or more than one, does."""
        path = written.strip().strip("\"'").replace("\\", "/").removeprefix("file://")
        while path.startswith("./"):
            path = path[2:]
        if not path or path.endswith("/"):
            return None
        if not leads_out(path):
            for base in _FOLDERS:
                if self.tree.has(self.folder + base + path):
                    return self.folder + base + path
        last = path.rpartition("/")[2].lower()
        for name in (last, *([] if "." in last else [f"{last}."])):
            candidates = self._by_stem.get(name[:-1], []) if name.endswith(".") else self._by_name.get(name, [])
            found = [c for c in candidates if self._fits(c, path, stem=name.endswith("."))]
            if len(found) == 1:
                return found[0]
        return None

    def _fits(self, candidate: str, path: str, *, stem: bool) -> bool:
        """Whether a file of the same last name is the one that a path means: one path must end with the other."""
        inside = candidate.removeprefix(self.folder).lower()
        inside = inside.rpartition(".")[0] if stem else inside
        wanted = path.lower()
        if leads_out(path):
            return wanted.endswith("/" + inside)
        return inside.endswith("/" + wanted) or inside == wanted


def find_lists(scan: Scan) -> Found | None:
    """One or more lists of images in a tree; those of other columns are left alone."""
    readable = []
    for name in scan.others:
        if name.lower().endswith(_SUFFIXES) and scan.tree.size(name):
            table = open_text_table(scan.tree, name)
            opened = table and _columns_of(scan, table)
            if opened:
                readable.append(opened)
    if not readable:
        return None
    alike = [(t, c) for t, c in readable if _labels_of(c) == _labels_of(readable[0][1])]
    # A list with splits is read before one of everything: what both name has the split then.
    return read_lists(scan, sorted(alike, key=lambda pair: not (pair[1].split >= 0 or _split_of_file(pair[0].name))))


def unread_lists(scan: Scan) -> list[str]:
    """A note for each list that names images of a tree, but no labels that are known."""
    notes = []
    for name in scan.others:
        table = open_text_table(scan.tree, name) if name.lower().endswith(_SUFFIXES) else None
        if table is None or _columns_of(scan, table):
            continue
        named = table if table.columns else table.with_header()
        rows = [cells for _, cells in _first_rows(named)]
        paths = ImagePaths(scan.tree, name[: name.rfind("/") + 1])
        if any(
            sum(paths.find(cell) is not None for cell in cells) * 2 > len(rows) for cells in zip(*rows, strict=False)
        ):
            titles = ", ".join(named.columns)[:200]
            notes.append(f"{name} names images, but none of its columns ({titles}) is known as labels: --label-column")
    return notes


def find_manifest(scan: Scan) -> Found | None:
    """The list that `mien data export --as folders` writes beside its images: edits in it count."""
    for name in scan.named("manifest.csv"):
        table = open_text_table(scan.tree, name)
        if table and column_names(table.first)[:4] == ("file", "source", "split", "label"):
            file = replace(scan.choices, image_column=scan.choices.image_column or "file")
            opened = _columns_of(replace(scan, choices=file), table)
            return read_lists(scan, [opened]) if opened else None
    return None


def find_one_list(scan: Scan, name: str) -> Found:
    """The list that a user named. Raises DataError where it is none."""
    table = open_text_table(scan.tree, name)
    where = scan.tree.where(name)
    if table is None:
        raise DataError(f"{where}: not a data set that mien reads: empty, or not text; expected a list of images")
    opened = _columns_of(scan, table)
    if opened is None:
        raise DataError(_no_list(where, table))
    return read_lists(scan, [opened])


def _no_list(where: str, table: TextTable) -> str:
    cells = ", ".join(table.columns or table.first) or "none"
    return (
        f"{where}: no list of images with labels that mien can read; its columns are {cells[:200]}; expected those of "
        f"fer2013.csv (emotion, pixels, Usage), or one of {', '.join(IMAGE_COLUMNS[:4])} and one of "
        f"{', '.join(LABEL_COLUMNS[:4])}; name others with --image-column and --label-column, and the folder of the "
        "images with --root"
    )


def read_lists(scan: Scan, tables: Sequence[tuple[TextTable, ListColumns]]) -> Found:
    """The records of lists, as one source. Columns that only some of the lists have are empty for the others."""
    tree = Folder(scan.choices.root) if scan.choices.root else scan.tree
    records: list[Record] = []
    splits: dict[str, str] = {}
    first, columns = tables[0]
    titles = tuple(dict.fromkeys(title for _, c in tables for title, _ in c.others))
    voted = all(c.votes for _, c in tables)
    for table, c in tables:
        places = dict(c.others)
        same = replace(c, others=tuple((t, places.get(t, -1)) for t in titles), votes=c.votes if voted else ())
        folder = "" if scan.choices.root else table.name[: table.name.rfind("/") + 1]
        records += _records(scan, table, same, ImagePaths(tree, folder), splits)
    columns = replace(columns, others=tuple((t, 0) for t in titles), votes=columns.votes if voted else ())
    records, again = _without_repeats(records)
    order = known_order(records)
    notes = [f"{again:,} lines name an image again, with the same label"] if again else []
    if order and columns.split < 0:
        records = [replace(r, split=r.split or split_in_name(r.name)) for r in records]
        splits |= {f"{r.split}_*": r.split for r in records if r.split}
        notes.append("RAF-DB: the images' names tell the splits and the order of the numbers")
    declared = tuple(name for name, _ in columns.one_hot)
    names = ", ".join(table.name for table, _ in tables[:3]) + (", ..." if len(tables) > 3 else "")
    labels = scan.labels({r.label for r in records}, scan.tree.where(first.name), **order)
    column = f"column '{_title(first, columns.label)}'" if columns.label >= 0 else f"the columns {', '.join(declared)}"
    extra: dict[str, Any] = {column_name(name): object for name, _ in columns.others}
    if columns.votes:
        extra["votes"] = np.dtype((np.float32, (len(EIGHT),)))
    stamp = " ".join(scan.tree.stamp(table.name) for table, _ in tables)
    title = "CSV of image files" if first.delimiter else "JSON list of image files"
    source = ImageFiles(tree, records, labels, title, extra, stamp=stamp)
    if not first.columns:
        notes.append(f"{first.name} has no header: images are column {columns.image + 1}")
    reading = Reading(title, f"{column} of {names}", labels, split_words(splits), tuple(notes))
    return Found(source, reading, {table.name for table, _ in tables}, f"is not named in {names}")


def known_order(records: Sequence[Record]) -> dict[str, str]:
    """The order of numbers that the images' names tell: RAF-DB's are called train_00001_aligned.jpg."""
    named = [r.name.rpartition("/")[2] for r in records if not r.wrong]
    raf = sum(bool(RAF_NAME.fullmatch(name)) for name in named)
    return {"order": "raf-db"} if named and raf * 10 >= 9 * len(named) else {}


RAF_NAME = re.compile(r"(train|test)_\d{3,}(_aligned)?\.\w+")


def _labels_of(columns: ListColumns) -> tuple[object, ...]:
    """What lists must have in common to be read as one: a column of labels, or one for each of the same classes."""
    return (columns.label >= 0, tuple(name for name, _ in columns.one_hot))


def _split_of_file(name: str) -> str:
    """The split that a list's name means, '' for none."""
    return split_named(name.rpartition("/")[2].partition(".")[0]) or ""


def _title(table: TextTable, column: int) -> str:
    return table.columns[column] if table.columns else str(column + 1)


def _columns_of(scan: Scan, table: TextTable) -> tuple[TextTable, ListColumns] | None:
    """The list, with a header where it has one, and its columns; None where it is no list of images and labels."""
    paths = ImagePaths(
        Folder(scan.choices.root) if scan.choices.root else scan.tree,
        "" if scan.choices.root else table.name[: table.name.rfind("/") + 1],
    )
    header = column_names_of(table) or _is_header(table, paths)
    named = table if table.columns else table.with_header()
    rows = [cells for _, cells in _first_rows(named if header else table)]
    if not rows and not header:
        return None
    width = max(map(len, rows), default=len(table.first))
    wanted_image = _wanted(scan.choices.image_column, named, width, table)
    wanted_label = _wanted(scan.choices.label_column, named, width, table)
    if header:
        titles = named.columns
        image = wanted_image if wanted_image is not None else _image_column(titles, rows, paths)
        label = wanted_label if wanted_label is not None else _label_column(titles, rows, image)
        split = _first_of(titles, SPLIT_COLUMNS, image)
        hot = _one_hot(titles, rows, image) if label < 0 else ()
        if image < 0 or (label < 0 and not hot):
            return None
        taken = {image, label, split, *(i for _, i in hot)}
        votes = tuple(titles.index(f"votes_{name}") for name in EIGHT if f"votes_{name}" in titles)
        votes = votes if len(votes) == len(EIGHT) else ()
        others = tuple((t, i) for i, t in enumerate(titles) if i not in taken | {*votes} and t)
        return named, ListColumns(image, label, split, others, hot, votes)
    return _without_header(table, rows, width, paths, wanted_image, wanted_label)


def column_names_of(table: TextTable) -> bool:
    """Whether a list's first line names its columns."""
    if table.columns:
        return True
    titles = set(table.with_header().columns)
    return bool(titles & (set(IMAGE_COLUMNS) | set(LABEL_COLUMNS) | set(SPLIT_COLUMNS)))


def _is_header(table: TextTable, paths: ImagePaths) -> bool:
    """Whether a first line of unknown words names columns: images are below one of them, and it is no image itself."""
    rows = [cells for _, cells in _first_rows(table)]
    for first, *below in zip(*rows, strict=False):
        if below and sum(paths.find(cell) is not None for cell in below) * 2 > len(below):
            return suffix_of(first) not in IMAGE_SUFFIXES and paths.find(first) is None
    return False


def _first_rows(table: TextTable) -> Iterator[tuple[int, list[str]]]:
    try:
        for count, row in enumerate(table.rows()):
            if count == _LOOKED_AT:
                return
            yield row
    except DataError:
        return


def _wanted(column: str, named: TextTable, width: int, table: TextTable) -> int | None:
    """The place of a column that the user names, by its title or its number from 1."""
    if not column:
        return None
    title = "_".join(column.strip().lower().replace("-", " ").split())
    if title in named.columns:
        return named.columns.index(title)
    if column.isdecimal() and 1 <= int(column) <= width:
        return int(column) - 1
    raise DataError(f"{table.tree.where(table.name)}: no column '{column}'; it has {', '.join(named.columns)[:300]}")


def _first_of(titles: Sequence[str], known: Sequence[str], taken: int) -> int:
    return next((titles.index(k) for k in known if k in titles and titles.index(k) != taken), -1)


def _image_column(titles: Sequence[str], rows: Sequence[Sequence[str]], paths: ImagePaths) -> int:
    """The column whose cells are images; where no image is there, one that is called so."""
    candidates = [titles.index(k) for k in IMAGE_COLUMNS if k in titles]
    for column in candidates + [i for i in range(len(titles)) if i not in candidates]:
        cells = [row[column] for row in rows if column < len(row) and row[column]]
        if any(paths.find(cell) for cell in cells[:10]):
            return column
    sure = [titles.index(k) for k in IMAGE_COLUMNS[:15] if k in titles]
    return sure[0] if sure else -1


def _label_column(titles: Sequence[str], rows: Sequence[Sequence[str]], image: int) -> int:
    """The column that is called labels, names of expressions before numbers; else the only one of such names."""
    known = [titles.index(k) for k in LABEL_COLUMNS if k in titles and titles.index(k) != image]
    named = [i for i in range(len(titles)) if i != image and _are_expressions([r[i] for r in rows if i < len(r)])]
    return next((i for i in known if i in named), (known or (named if len(named) == 1 else [-1]))[0])


def _are_expressions(cells: Sequence[str]) -> bool:
    """Whether most cells name expressions, at least two different ones."""
    names = [canonical(cell) for cell in cells if cell]
    return len(set(names) & set(EIGHT)) > 1 and 10 * sum(name in EIGHT for name in names) >= 9 * len(names)


def _one_hot(titles: Sequence[str], rows: Sequence[Sequence[str]], image: int) -> tuple[tuple[str, int], ...]:
    """Columns of 0 and 1, one for each class, where each line has exactly one 1 or none."""
    found = []
    for i, title in enumerate(titles):
        cells = {row[i] for row in rows if i < len(row)}
        if i != image and title and cells and cells <= {"0", "1", "0.0", "1.0"}:
            found.append((title, i))
    return tuple(found) if len(found) > 1 and any(canonical(t) in EIGHT for t, _ in found) else ()


def _without_header(
    table: TextTable, rows: Sequence[Sequence[str]], width: int, paths: ImagePaths, image: int | None, label: int | None
) -> tuple[TextTable, ListColumns] | None:
    """Columns by what is in them: images that are there, the words of splits, and the one that is left, labels."""
    columns = [[row[i] for row in rows if i < len(row)] for i in range(width)]
    if image is None:
        hits = [sum(paths.find(cell) is not None for cell in cells) for cells in columns]
        best = max(hits, default=0)
        image = hits.index(best) if best else -1
    if image < 0:
        return None
    split = next((i for i, cells in enumerate(columns) if i != image and _are_splits(cells)), -1)
    if label is None:
        rest = [i for i in range(width) if i not in (image, split)]
        label = rest[0] if len(rest) == 1 else -1
    if label < 0:
        return None
    others = tuple((f"column_{i + 1}", i) for i in range(width) if i not in (image, split, label))
    return table, ListColumns(image, label, split, others)


def _are_splits(cells: Sequence[str]) -> bool:
    return bool(cells) and all(split_named(cell) for cell in cells)


def _records(
    scan: Scan, table: TextTable, columns: ListColumns, paths: ImagePaths, splits: dict[str, str]
) -> Iterator[Record]:
    file = table.name.rpartition("/")[2]
    of_list = _split_word(scan, table.name) if columns.split < 0 else ""
    for number, given in table.rows():
        cells = [*given, *[""] * (1 + max(columns.image, columns.label, columns.split) - len(given))]
        path = cells[columns.image]
        name = paths.find(path) if path else None
        written = cells[columns.split] if columns.split >= 0 else of_list or _split_word(scan, name or "", file=False)
        split = scan.choices.split(written)
        if split is not None and written:
            splits[written] = split
        label, wrong = _label(cells, columns)
        if not path:
            wrong = "no path of an image"
        elif name is None:
            wrong = _not_found(path, file, paths)
        elif split is None:
            wrong = f"'{written}' is no split; expected train, validation or test (--split-map names others)"
        extra: tuple[Any, ...] = tuple(cells[i] if 0 <= i < len(cells) else "" for _, i in columns.others)
        if columns.votes:
            counts, wrong_votes = _votes([cells[i] if i < len(cells) else "" for i in columns.votes])
            extra, wrong = (*extra, counts), wrong or wrong_votes
        yield Record(f"{file}:{number}" if wrong else name or "", split or "", label, extra, wrong)


def _without_repeats(records: Sequence[Record]) -> tuple[list[Record], int]:
    """Records of which each image has one, and how many lines were left out; other labels for an image are problems."""
    labels: dict[str, str] = {}
    kept: list[Record] = []
    for r in records:
        if r.wrong or r.name not in labels:
            kept.append(r)
            if not r.wrong:
                labels[r.name] = r.label
        elif r.label != labels[r.name]:
            kept.append(replace(r, wrong=f"'{r.label}' here and '{labels[r.name]}' in another line"))
    return kept, len(records) - len(kept)


def _split_word(scan: Scan, name: str, *, file: bool = True) -> str:
    """The word that names a file's split: its own stem, or else the nearest folder above it; '' where none does."""
    *folders, last = name.split("/")
    words = [*folders, *([last.partition(".")[0]] if file else ())]
    return next((word for word in reversed(words) if word and scan.choices.split(word) is not None), "")


def split_in_name(name: str) -> str:
    """The split that RAF-DB's file names begin with."""
    return split_named(name.rpartition("/")[2].partition("_")[0]) or ""


def _not_found(path: str, file: str, paths: ImagePaths) -> str:
    shown = path if len(path) <= 120 else f"{path[:60]}...{path[-40:]}"
    if leads_out(path.replace("\\", "/")):
        return f"the path '{shown}' leaves the folder of {file}; name the folder of the images with --root"
    return f"'{shown}': no such file beside {file}; check the path, or name the folder of the images with --root"


def _label(cells: Sequence[str], columns: ListColumns) -> tuple[str, str]:
    """A line's label as written, and why it can't be used."""
    if columns.label >= 0:
        label = cells[columns.label]
        return ("" if is_no_label(label) else label), ""
    hot = [name for name, i in columns.one_hot if i < len(cells) and cells[i].startswith("1")]
    if len(hot) > 1:
        return "", f"has {len(hot)} classes ({', '.join(hot)}); expected one"
    return (hot[0] if hot else ""), ""


def _votes(cells: Sequence[str]) -> tuple[tuple[float, ...], str]:
    """Votes for the eight expressions, and why they can't be used."""
    try:
        counts = tuple(float(cell or 0) for cell in cells)
    except ValueError:
        counts = (-1.0,)
    if not all(0 <= count < 1e6 for count in counts):  # NaN is neither
        return (0.0,) * len(EIGHT), "its votes are no counts of 0 or more"
    return counts, ""
