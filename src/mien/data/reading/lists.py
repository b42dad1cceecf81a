"""Lists that say what images show: CSV, TSV, JSON lines and their kind, each line a path, a label and maybe a split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mien.data.reading.annotations import floats
from mien.data.reading.class_names import CLASS_FILES, MOST_BYTES, names_in
from mien.data.reading.label_reading import is_no_label, is_number, plain
from mien.data.reading.list_columns import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    PIXEL_COLUMNS,
    ListColumns,
    columns_of,
    first_rows,
    image_and_split,
    vote_counts,
    vote_titles,
)
from mien.data.reading.reading import Found, ImagePaths, Scan, paths_of
from mien.data.reading.sources import Box, Record, column_name, found_files, number_faces
from mien.data.reading.text_tables import LIST_SUFFIXES, TextTable, column_names, one_value, open_text_table
from mien.data.reading.trees import base_name, first_of, leads_out, split_named, suffix_of
from mien.data.reading.unread import holds_predictions, no_labels
from mien.errors import DataError
from mien.images import IMAGE_SUFFIXES
from mien.labels import EIGHT, canonical
from mien.signatures import describe_file

_LONGEST_PATH = 1000
_BOX_WORDS = {"box", "bbox", "boxes", "bboxes", "bounding", "roi", "rect"}


def find_lists(scan: Scan) -> Found | None:
    """One or more lists of images in a tree; those of other columns are left alone."""
    readable = []
    faults: list[DataError] = []
    for name in scan.others:
        if suffix_of(name) in LIST_SUFFIXES and scan.tree.size(name) and not holds_predictions(name):
            table = open_text_table(scan.tree, name)
            try:
                opened = table and columns_of(scan, table)
            except DataError as error:  # it lacks the column that the user names; another list may have it
                faults.append(error)
                continue
            if opened:
                readable.append(opened)
    if not readable and faults:
        raise faults[0]
    # `1 happy` names a number rather than the image 1.png where there are more images, or another list.
    called = [t.name for t, _ in readable if base_name(t.name).lower() in CLASS_FILES]
    named = {name: names_in(scan.text(name)) for name in called if scan.tree.size(name) <= MOST_BYTES}
    classes = {name for name, names in named.items() if 0 < len(names) < len(scan.images) / 2}
    classes |= {name for name, names in named.items() if names and len(readable) > len(called)}
    readable = [(t, c) for t, c in readable if t.name not in classes]
    if not readable:
        return None
    alike = [(t, c) for t, c in readable if _labels_of(c) == _labels_of(readable[0][1])]
    # A list with splits is read before one of everything: what both name has the split then.
    return read_lists(scan, sorted(alike, key=lambda pair: not (pair[1].split >= 0 or _split_of_file(pair[0].name))))


def find_manifest(scan: Scan) -> Found | None:
    """The list that `mien data export --as folders` writes beside its images: edits in it count."""
    for name in scan.named("manifest.csv"):
        table = open_text_table(scan.tree, name)
        if table and column_names(table.first)[:4] == ("file", "source", "split", "label"):
            file = replace(scan.choices, image_column=scan.choices.image_column or "file")
            opened = columns_of(replace(scan, choices=file), table)
            return read_lists(scan, [opened]) if opened else None
    return None


def find_one_list(scan: Scan, name: str) -> Found:
    """The list that a user named. Raises DataError where it is none."""
    table = open_text_table(scan.tree, name)
    where = scan.tree.where(name)
    what = describe_file(scan.head(name))
    if what == "a ZIP":
        raise DataError(
            f"{where}: is a spreadsheet, or a ZIP that is cut short; save the list as CSV, or get a whole ZIP"
        )
    if table is None or what != "text":
        what = "of an unknown kind" if what == "unknown" else what
        raise DataError(f"{where}: is {what}, not a data set that mien reads; expected a list of images, or a folder")
    opened = columns_of(scan, table)
    if opened is None:
        raise DataError(_no_list(where, table))
    return read_lists(scan, [opened])


def _no_list(where: str, table: TextTable) -> str:
    cells = ", ".join(table.columns or table.first) or "none"
    if not table.delimiter and set(PIXEL_COLUMNS) & set(table.columns):
        return f"{where}: holds pixels in JSON; they are read from CSV and Parquet alone: save it as one of these"
    if vote_titles(table.with_header().columns):
        return f"{where}: {no_labels(table.with_header())}"
    return (
        f"{where}: no list of images with labels that mien can read; its columns are {cells[:200]}; expected those of "
        f"fer2013.csv (emotion, pixels, Usage), or one of {', '.join(IMAGE_COLUMNS[:4])} and one of "
        f"{', '.join(LABEL_COLUMNS[:4])}; name others with --image-column and --label-column, and the folder of the "
        "images with --root"
    )


def read_lists(scan: Scan, tables: Sequence[tuple[TextTable, ListColumns]]) -> Found:
    """The records of lists, as one source. Columns that only some of the lists have are empty for the others."""
    records: list[Record] = []
    splits: dict[str, str] = {}
    first, columns = tables[0]
    titles = tuple(dict.fromkeys(title for _, c in tables for title, _ in c.others))
    voted = all(c.votes for _, c in tables)
    for table, c in tables:
        places = dict(c.others)
        same = replace(c, others=tuple((t, places.get(t, -1)) for t in titles), votes=c.votes if voted else ())
        records += _contradictions(list(_records(scan, table, same, paths_of(scan, table.name), splits)))
    columns = replace(columns, others=tuple((t, 0) for t in titles), votes=columns.votes if voted else ())
    records, notes = _without_repeats(records)
    records = number_faces(records)
    fractions = all(0 <= v <= 1 for r in records for v in r.box or ())
    order = known_order(records)
    if order and columns.split < 0:
        first_words = [base_name(r.name).partition("_")[0] for r in records]
        records = [replace(r, split=r.split or split_named(w) or "") for r, w in zip(records, first_words, strict=True)]
        splits |= {f"{r.split}_*": r.split for r in records if r.split}
        notes.append("RAF-DB: the images' names tell the splits and the order of the numbers")
    declared = tuple(name for name, _ in columns.one_hot)
    several = len({r.name for r in records if r.face})
    notes += [f"images that show several faces, each cut out at its box: {several:,}"] if several else []
    notes += [] if columns.box else _unread_boxes(*tables[0])
    names = first_of([table.name for table, _ in tables])
    usable = {r.label for r in records if not r.wrong}
    numbers = all(is_number(label) or is_no_label(label) for label in usable)
    # A line below the table, such as a total, names no class.
    written = usable | {r.label for r in records if is_number(r.label) == numbers}
    written |= {name for name in declared if canonical(name) in EIGHT}
    moods = {"valence", "arousal"} <= set(titles)  # kept by data sets whose numbers are none of FER2013's
    labels = scan.labels(written, scan.tree.where(first.name), assume=not moods, **order)
    column = f"the columns {', '.join(declared)}"
    if columns.label >= 0:
        column = f"column '{first.columns[columns.label] if first.columns else columns.label + 1}'"
    extra: dict[str, Any] = {column_name(name): object for name, _ in columns.others}
    if columns.votes:
        extra["votes"] = np.dtype((np.float32, (len(EIGHT),)))
    title = "CSV of image files" if first.delimiter else "JSON list of image files"
    notes += [f"{t.name}: the first {t.skipped} lines are no rows" for t, _ in tables if t.skipped]
    if not first.columns:
        notes.append(f"{first.name} has no header: images are column {columns.image + 1}")
    return found_files(scan, records, labels, title, f"{column} of {names}", splits=splits, notes=notes,
                       used={table.name for table, _ in tables}, stray=f"is not named in {names}",
                       tree=scan.image_tree, extra=extra, fractions=fractions)  # fmt: skip


def _unread_boxes(table: TextTable, columns: ListColumns) -> list[str]:
    """A note on columns that may hold boxes: of such a name, or four of numbers where nothing names them."""
    rows = [cells for _, cells in first_rows(table)]
    titles = [title for title, _ in columns.others if set(re.split(r"[\W_]+", title)) & _BOX_WORDS]
    if not table.columns:
        numbers = [t for t, i in columns.others if rows and all(floats(row[i : i + 1]) for row in rows)]
        titles = numbers if len(numbers) == 4 else []
    how = "boxes are read from columns that are called xmin, ymin, xmax, ymax"
    return [f"{', '.join(titles)}: boxes? They are kept as they are; {how}"] if titles else []


def known_order(records: Sequence[Record]) -> dict[str, str]:
    """The order of numbers that the images' names tell: RAF-DB's are called train_00001_aligned.jpg."""
    named = [base_name(r.name) for r in records if not r.wrong]
    raf = sum(bool(RAF_NAME.fullmatch(name)) for name in named)
    return {"order": "raf-db"} if named and raf * 10 >= 9 * len(named) else {}


RAF_NAME = re.compile(r"(train|test)_\d{3,}(_aligned)?\.\w+")


def _labels_of(columns: ListColumns) -> tuple[object, ...]:
    """What lists must have in common to be read as one: a column of labels, or one for each of the same classes."""
    return (columns.label >= 0, tuple(name for name, _ in columns.one_hot))


def splits_beside(scan: Scan) -> tuple[dict[str, str], dict[str, str], dict[str, int]]:
    """Image -> split, split as written -> split, and list -> its lines that name no image.

    Of lists of images without labels: a list is named after its split (train.txt), or has a column of splits.
    """
    found: dict[str, str] = {}
    words: dict[str, str] = {}
    used: dict[str, int] = {}
    for name in scan.others:
        if suffix_of(name) not in LIST_SUFFIXES or holds_predictions(name):
            continue
        table = open_text_table(scan.tree, name)
        places = table and image_and_split(table, paths_of(scan, name))
        of_file = _split_of_file(name)
        if not table or not places or (places[2] < 0 and not of_file):
            continue
        named, image, column = places
        paths = paths_of(scan, name)
        for _, cells in named.rows():
            written = cells[column] if 0 <= column < len(cells) else of_file
            file = paths.find(cells[image]) if image < len(cells) else None
            split = scan.choices.split(written)
            if file and split and found.setdefault(file, split) == split:
                words[written] = split
                used.setdefault(name, 0)
            elif not file:
                used[name] = used.get(name, 0) + 1
            else:
                return {}, {}, {}  # contradictions, or no words of splits: the lists say something else
    return found, words, used


def _split_of_file(name: str) -> str:
    """The split that a list's name means, '' for none."""
    return split_named(base_name(name).partition(".")[0]) or ""


def _records(
    scan: Scan, table: TextTable, columns: ListColumns, paths: ImagePaths, splits: dict[str, str]
) -> Iterator[Record]:
    file = base_name(table.name)
    of_list = _split_word(scan, table.name) if columns.split < 0 else ""
    meant: dict[str, str] = {}
    for number, given in table.rows():
        cells = [*given, *[""] * (1 + max(columns.image, columns.label, columns.split) - len(given))]
        path = cells[columns.image]
        said = cells[columns.split] if columns.split >= 0 else of_list
        name = _of_split(scan, paths.fitting(path), said) if path else None
        written = said if columns.split >= 0 else said or _split_word(scan, name or "", file=False)
        split = scan.choices.split(written)
        if split is not None and written:
            splits[written] = split
        label, wrong = _label(cells, columns)
        if name is None and suffix_of(path) not in IMAGE_SUFFIXES:
            label = ""  # a second header, or a comment, names no class
        code = plain(cells[columns.numbers]) if 0 <= columns.numbers < len(cells) else ""
        if code and canonical(label) != meant.setdefault(code, canonical(label)):
            wrong = f"'{label[:40]}' here, and '{meant[code][:40]}' where the number is {code} too"
        if not path:
            wrong = "no path of an image"
        elif name is None:
            wrong = _not_found(path, file, paths)
        elif split is None:
            wrong = f"'{written}' is no split; expected train, validation or test (--split-map names others)"
        box, wrong = _box(cells, columns, wrong)
        extra: tuple[Any, ...] = tuple(cells[i] if 0 <= i < len(cells) else "" for _, i in columns.others)
        if columns.votes:
            counts = vote_counts([(cells[i] if i < len(cells) else "") or "0" for i in columns.votes])
            wrong = wrong if counts else wrong or "its votes are no counts of 0 or more"
            extra = (*extra, counts or [0.0] * len(EIGHT))
        yield Record(f"{file}:{number}" if wrong else name or "", split or "", label, extra, wrong, box)


def _of_split(scan: Scan, fitting: Sequence[str], word: str) -> str | None:
    """The one of the files that a path may mean; of several the one in the folder of the list's split."""
    if len(fitting) > 1 and word:
        fitting = [
            n for n in fitting if scan.choices.split(_split_word(scan, n, file=False)) == scan.choices.split(word)
        ]
    return fitting[0] if len(fitting) == 1 else None


def one_record_each(records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """The records of one list, one for each image; those whose lines differ are wrong. And a note on further lines."""
    return _without_repeats(_contradictions(list(records)))


def _without_repeats(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Records of which each image has one, and a note on the lines that were left out.

    Lines that contradict each other are wrong; but a list of a split counts against one of everything.
    """
    places: dict[tuple[str, Box | None], int] = {}
    kept: list[Record] = []
    for r in records:
        key = (r.name, r.box)
        if r.wrong or key not in places:
            if not r.wrong:
                places[key] = len(kept)
            kept.append(r)
            continue
        first = kept[places[key]]
        if plain(r.label) == plain(first.label):
            continue
        kept.append(replace(r, wrong=f"'{r.label}' here and '{first.label}' in another line"))
        if not first.split or r.split:
            kept[places[key]] = replace(first, wrong=f"'{first.label}' here and '{r.label}' in another line")
    again = len(records) - len(kept)
    return kept, [f"{again:,} lines name an image again, with the same label"] if again else []


def _contradictions(records: Sequence[Record]) -> list[Record]:
    """The records of one list; those of an image, or of a box in it, that its lines label differently are wrong."""
    labels: dict[tuple[str, Box | None], dict[str, str]] = {}
    for r in records:
        if not r.wrong:
            labels.setdefault((r.name, r.box), {}).setdefault(plain(r.label), r.label)
    return [
        r
        if r.wrong or len(said := labels[r.name, r.box]) == 1
        else replace(r, wrong=f"has the labels {' and '.join(map(repr, said.values()))}")
        for r in records
    ]


def _split_word(scan: Scan, name: str, *, file: bool = True) -> str:
    """The word that names a file's split: its own stem, or else the nearest folder above it; '' where none does."""
    *folders, last = name.split("/")
    return scan.choices.split_word([*folders, last.partition(".")[0]] if file else folders)


def _not_found(path: str, file: str, paths: ImagePaths) -> str:
    shown = path if len(path) <= 120 else f"{path[:60]}...{path[-40:]}"
    if len(path) > _LONGEST_PATH:
        return f"'{shown}': is no path but an image, as base64? Save the images as files, or the table as Parquet"
    several = paths.fitting(path)
    if several:
        return f"'{shown}': may be {' or '.join(several[:3])}; write the path from the folder of {file}"
    if leads_out(path.replace("\\", "/")):
        return f"the path '{shown}' leaves the folder of {file}; name the folder of the images with --root"
    return f"'{shown}': no such file beside {file}; check the path, or name the folder of the images with --root"


def _label(cells: Sequence[str], columns: ListColumns) -> tuple[str, str]:
    """A line's label as written, and why it can't be used."""
    if columns.label >= 0:
        written = cells[columns.label]
        label = one_value(written)
        if label is None or _are_several(label):
            return "", f"'{written[:60]}' are several labels; expected one"
        return ("" if is_no_label(label) else label), ""
    hot = columns.hot(cells)
    if len(hot) > 1:
        return "", f"has {len(hot)} classes ({', '.join(hot)}); expected one"
    return (hot[0], "") if hot else ("", "has no label")


def _box(cells: Sequence[str], columns: ListColumns, wrong: str) -> tuple[Box | None, str]:
    """A line's box, None for none, and why the line can't be used."""
    written = [cells[i] if i < len(cells) else "" for i in columns.box]
    if wrong or all(is_no_label(cell) for cell in written):
        return None, wrong
    numbers = floats([cell.replace(",", ".") for cell in written])
    if numbers is None:
        return None, f"its box is {', '.join(written)[:60]}; expected four numbers"
    x, y, right, bottom = numbers
    return ((x, y, x + right, y + bottom) if columns.sized else (x, y, right, bottom)), ""


def _are_several(label: str) -> bool:
    """Whether a label is a row of expressions: happy, sad."""
    parts = re.split(r"[,;|/+&]", label)
    return len(parts) > 1 and all(canonical(part) in EIGHT for part in parts)
