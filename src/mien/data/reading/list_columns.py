"""Which columns of a list hold images, or their grey values, labels, splits and votes: by their names and contents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from mien.data.reading.label_reading import is_number, plain
from mien.data.reading.reading import ImagePaths, Scan, paths_of
from mien.data.reading.text_tables import TextTable, one_value, open_text_table
from mien.data.reading.trees import base_name, is_split_word, suffix_of
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

_LABEL_WORDS = {"label", "labels", "lbl", "emotion", "emotions", "expression", "class", "category", "sentiment", "emo"}
PREDICTION_WORDS = {
    "submission", "submissions", "prediction", "predictions", "pred", "preds", "predicted", "dominant",
}  # fmt: skip
"""Words in the name of a list, or of its column, that holds what a program said."""

_BOXES = (
    ("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"), ("left", "top", "width", "height"), ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
)  # fmt: skip
_YES = {"1", "1.0", "true", "yes", "t", "y", "x"}
_NO = {"0", "0.0", "false", "no", "f", "n", "-", ""}
LOOKED_AT = 40
"""Lines that are read to recognise the columns."""
_LONG_PATH = 30  # words; more are the grey values of an image
_SURE_IMAGES = 15  # the first of IMAGE_COLUMNS, which mean images also where none is there

PIXEL_COLUMNS = ("pixels", "pixel", "pixel_values", "image_pixels")
_LEAST_PIXELS = 64  # of an image that no column's name tells
_DELIMITERS = (",", ";", "\t")
_PIXEL_TITLE = re.compile(r"(?:pixel|pix|px|p)?_?(?:(?P<row>\d+)x)?(?P<number>\d+)")
BLANKS = bytes.maketrans(b',;[]()"\r\n\t', b" " * 10)
"""Turns what stands between values into blanks."""


@dataclass(frozen=True, slots=True)
class ListColumns:
    """Which cells of a list's lines hold what; -1 where none does. one_hot: a column for each class, by its name.
    votes: of the eight expressions in the order of `labels.EIGHT`, () where there are none.
    numbers: the column of numbers that the labels explain. box: of the face's left, top, right and bottom, or with
    `sized` of its left, top, width and height; () where there are none.
    """

    image: int
    label: int = -1
    split: int = -1
    others: tuple[tuple[str, int], ...] = ()
    one_hot: tuple[tuple[str, int], ...] = ()
    votes: tuple[int, ...] = ()
    numbers: int = -1
    box: tuple[int, ...] = ()
    sized: bool = False

    def hot(self, cells: Sequence[str]) -> list[str]:
        """The classes that a line of a one-hot list has."""
        return [name for name, i in self.one_hot if i < len(cells) and cells[i].lower() in _YES]


def columns_of(scan: Scan, table: TextTable) -> tuple[TextTable, ListColumns] | None:
    """The list, with a header where it has one, and its columns; None where it is no list of images and labels."""
    paths = paths_of(scan, table.name)
    header = has_header(table) or _is_header(table, paths)
    named = table if table.columns else table.with_header()
    rows = [cells for _, cells in first_rows(named if header else table)]
    if not rows and not header:
        return None
    width = max(map(len, rows), default=len(table.first))
    wanted_image = _wanted(scan.choices.image_column, named, width, table)
    wanted_label = _wanted(scan.choices.label_column, named, width, table)
    if not header:
        return _without_header(table, rows, width, paths, wanted_image, wanted_label)
    titles = named.columns
    image = wanted_image if wanted_image is not None else _image_column(titles, rows, paths)
    label = wanted_label if wanted_label is not None else label_column(titles, rows, image)
    split = split_column(titles, rows, (image, label))
    sure = base_name(table.name).lower() == "_classes.csv"  # of Roboflow
    hot = _one_hot(titles, rows, image, sure=sure) if label < 0 else ()
    if image < 0 or (label < 0 and not hot):
        return None
    box, sized = box_columns(titles)
    taken = {image, label, split, *(i for _, i in hot), *box}
    votes = tuple(titles.index(f"votes_{name}") for name in EIGHT if f"votes_{name}" in titles)
    votes = votes if len(votes) == len(EIGHT) else ()
    others = tuple((t, i) for i, t in enumerate(titles) if i not in taken | {*votes} and t)
    called = next((titles.index(k) for k in LABEL_COLUMNS if k in titles and titles.index(k) != image), -1)
    meant = called not in (-1, label) and explains((r[called], r[label]) for r in rows if max(called, label) < len(r))
    return named, ListColumns(image, label, split, others, hot, votes, called if label >= 0 and meant else -1,
                              box, sized)  # fmt: skip


def has_header(table: TextTable) -> bool:
    """Whether a list's first line names its columns."""
    if table.columns:
        return True
    if any(suffix_of(cell) in IMAGE_SUFFIXES for cell in table.first):
        return False
    titles = set(table.with_header().columns)
    return bool(titles & (set(IMAGE_COLUMNS) | set(LABEL_COLUMNS) | set(SPLIT_COLUMNS)))


def first_rows(table: TextTable) -> Iterator[tuple[int, list[str]]]:
    """The first rows of a table, as far as they can be read."""
    try:
        for count, row in enumerate(table.rows()):
            if count == LOOKED_AT:
                return
            yield row
    except DataError:
        return


def label_column(titles: Sequence[str], rows: Sequence[Sequence[str]], taken: int) -> int:
    """The column that is called labels, else the only one whose name has such a word, or that names expressions; -1.

    A column that names expressions goes before numbers whose meaning it tells.
    """
    known = [titles.index(k) for k in LABEL_COLUMNS if k in titles and titles.index(k) != taken]
    known = [i for i in known if not rows or any(one_value(row[i]) is not None for row in rows if i < len(row))]
    if not known:
        known = [i for i, t in enumerate(titles) if i != taken and _LABEL_WORDS & set(re.split(r"[\W_]+", t))]
        known = known if len(known) == 1 else []
    named = [i for i in range(len(titles)) if i != taken and _are_expressions([r[i] for r in rows if i < len(r)])]
    both = [i for i in known if i in named]
    if both or not known:
        return both[0] if both else named[0] if len(named) == 1 else -1
    meant = [i for i in named if not PREDICTION_WORDS & set(re.split(r"[\W_]+", titles[i]))]
    explained = [i for i in meant if explains((r[known[0]], r[i]) for r in rows if max(known[0], i) < len(r))]
    return explained[0] if len(explained) == 1 else known[0]


def vote_titles(titles: Sequence[str]) -> list[str]:
    """The columns that are called expressions, where there are several: they hold votes or scores."""
    found = [title for title in titles if canonical(title) in EIGHT]
    return found if len(found) > 2 else []


def vote_counts(cells: Sequence[str]) -> list[float] | None:
    """Raters' votes as numbers, or as percents of them; None where a cell is no count of 0 or more."""
    try:
        counts = [float(cell.removesuffix("%")) for cell in cells]
    except ValueError:
        return None
    return counts if all(0 <= count < 1e6 for count in counts) else None  # NaN is neither


def split_column(titles: Sequence[str], rows: Sequence[Sequence[str]], taken: Sequence[int]) -> int:
    """The column that is called splits, or else the only one that holds nothing but words of splits; -1."""
    named = [titles.index(k) for k in SPLIT_COLUMNS if k in titles and titles.index(k) not in taken]
    if named:
        return named[0]
    found = [i for i in range(len(titles)) if i not in taken and _are_splits([r[i] for r in rows if i < len(r)])]
    return found[0] if len(found) == 1 else -1


def image_and_split(table: TextTable, paths: ImagePaths) -> tuple[TextTable, int, int] | None:
    """A list of nothing but images, and maybe of splits: the list, and the places of both; -1 for no split."""
    named = table if table.columns else table.with_header() if has_header(table) or _is_header(table, paths) else table
    rows = [cells for _, cells in first_rows(named)]
    columns = [[row[i] for row in rows if i < len(row)] for i in range(len(table.first))]
    images = [
        i for i, cells in enumerate(columns) if cells and 2 * sum(map(bool, map(paths.find, cells))) >= len(cells)
    ]
    splits = [i for i, cells in enumerate(columns) if _are_splits(cells)]
    if len(images) != 1 or len(splits) > 1 or len(columns) > 2 + len(images):
        return None
    return named, images[0], splits[0] if splits else -1


def box_columns(titles: Sequence[str]) -> tuple[tuple[int, ...], bool]:
    """The columns of a face's box, whatever their names begin with, and whether they are its size: bbox_x, ..., bbox_h.

    () where there are none, or where they are the first of many points.
    """
    for names in _BOXES:
        for first in (title for title in titles if title.endswith(names[0])):
            before = first.removesuffix(names[0])
            points = names[0] == "x1" and f"{before}x3" in titles
            if not points and all(before + name in titles for name in names):
                return tuple(titles.index(before + name) for name in names), names[2][0] == "w"
    return (), False


def explains(pairs: Iterable[tuple[str, str]]) -> bool:
    """Whether pairs of a label and a text are each a number and the expression that it stands for, one to one."""
    meant = {(plain(number), canonical(name)) for number, name in pairs if number.strip()}
    names = {name for _, name in meant}
    return (
        all(is_number(number) for number, _ in meant)
        and len({number for number, _ in meant}) == len(meant) == len(names)
        and len(names & set(EIGHT)) > 1
    )


def _is_header(table: TextTable, paths: ImagePaths) -> bool:
    """Whether a first line of unknown words names columns: images are below one of them, and it names no image."""
    rows = [cells for _, cells in first_rows(table)]
    if not rows or any(suffix_of(cell) in IMAGE_SUFFIXES or paths.find(cell) for cell in rows[0]):
        return False
    columns = [[row[i] for row in rows[1:] if i < len(row)] for i in range(len(rows[0]))]
    if any(canonical(cell) in EIGHT and _are_expressions(below) for cell, below in zip(rows[0], columns, strict=True)):
        return False
    return any(below and sum(paths.find(c) is not None for c in below) * 2 > len(below) for below in columns)


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


def _image_column(titles: Sequence[str], rows: Sequence[Sequence[str]], paths: ImagePaths) -> int:
    """The column whose cells are images; where no image is there, one that is called so."""
    candidates = [titles.index(k) for k in IMAGE_COLUMNS if k in titles]
    for column in candidates + [i for i in range(len(titles)) if i not in candidates]:
        cells = [row[column] for row in rows if column < len(row) and row[column]]
        fits = paths.fitting if column in candidates else paths.find  # several may: the list's split tells which
        if any(fits(cell) for cell in cells[:10]):
            return column
    sure = [titles.index(k) for k in IMAGE_COLUMNS[:_SURE_IMAGES] if k in titles]
    paths_only = [i for i in sure if not any(len(row[i].split()) > _LONG_PATH for row in rows if i < len(row))]
    return paths_only[0] if paths_only else -1


def _are_expressions(cells: Sequence[str]) -> bool:
    """Whether most cells name expressions, at least two different ones."""
    names = [canonical(one_value(cell) or "") for cell in cells if cell]
    return len(set(names) & set(EIGHT)) > 1 and 10 * sum(name in EIGHT for name in names) >= 9 * len(names)


def _one_hot(
    titles: Sequence[str], rows: Sequence[Sequence[str]], image: int, *, sure: bool
) -> tuple[tuple[str, int], ...]:
    """Columns of yes and no, one for each class: those of expressions, else all where each line has one yes.

    sure: all of them are classes.
    """
    found = []
    for i, title in enumerate(titles):
        cells = {row[i].lower() for row in rows if i < len(row)}
        if i != image and title and cells and cells <= _YES | _NO and cells - {""}:
            found.append((title, i))
    if sure:
        return tuple(found)
    expressions = [(title, i) for title, i in found if canonical(title) in EIGHT]
    if len(found) > 1 and expressions:
        extra_fits = max(_yes_counts(rows, found), default=0) <= 1
        return tuple(found if extra_fits or len(expressions) < 2 else expressions)
    return tuple(found) if len(found) > 1 and len(rows) > 1 and set(_yes_counts(rows, found)) == {1} else ()


def _yes_counts(rows: Sequence[Sequence[str]], columns: Sequence[tuple[str, int]]) -> list[int]:
    return [sum(row[i].lower() in _YES for _, i in columns if i < len(row)) for row in rows]


def _without_header(
    table: TextTable, rows: Sequence[Sequence[str]], width: int, paths: ImagePaths, image: int | None, label: int | None
) -> tuple[TextTable, ListColumns] | None:
    """Columns by what is in them: images that are there, the words of splits, expressions or what is left, labels."""
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
        named = [i for i in rest if _are_expressions(columns[i])]
        fitting = rest if len(rest) == 1 else named
        label = fitting[0] if len(fitting) == 1 else -1
    if label < 0:
        return None
    others = tuple((f"column_{i + 1}", i) for i in range(width) if i not in (image, split, label))
    return table, ListColumns(image, label, split, others)


def _are_splits(cells: Sequence[str]) -> bool:
    return bool(cells) and all(is_split_word(cell) for cell in cells)


# CSV of images: grey values in one column, or in a column each


@dataclass(frozen=True, slots=True)
class PixelColumns:
    """Where in a row what is. pixels: of the first value. each: how many columns hold a value each; 0: one holds all.

    count: how many columns there are. usage, label: -1 where there is none. delimiter: between columns. skipped: lines
    before the first row.
    """

    label: int
    pixels: int
    usage: int
    count: int
    each: int = 0
    delimiter: bytes = b","
    skipped: int = 1


def pixel_columns(scan: Scan, name: str) -> tuple[TextTable, PixelColumns] | None:
    """Where in a CSV what is; None where it holds no pixels. Raises DataError where columns of pixels are shuffled."""
    table = open_text_table(scan.tree, name)
    if table is None or table.delimiter not in _DELIMITERS:
        return None
    named = table.with_header()
    titles = named.columns
    where = scan.tree.where(name)
    pixels = next((titles.index(c) for c in PIXEL_COLUMNS if c in titles), -1)
    each, header = 0, True
    if pixels < 0:
        pixels, each = _columns_of_pixels(titles, where)
    if pixels < 0:
        rows = [cells for _, cells in islice(first_rows(table), 3)]
        pixels = next((i for i in range(len(titles)) if _are_pixels([row[i] for row in rows[1:] if i < len(row)])), -1)
        header = pixels < 0 or not _are_pixels(table.first[pixels : pixels + 1])
    if pixels < 0:
        return None
    rest = [i for i in range(len(titles)) if not pixels <= i < pixels + max(1, each)]
    rows = [[row[i] if i < len(row) else "" for i in rest] for _, row in first_rows(named if header else table)]
    places = _places([titles[i] for i in rest] if header else [""] * len(rest), rows, scan, where)
    label, usage = (rest[i] if i >= 0 else -1 for i in places)
    skipped = table.skipped + header
    delimiter = table.delimiter.encode()
    return named if header else table, PixelColumns(label, pixels, usage, len(titles), each, delimiter, skipped)


def _places(titles: Sequence[str], rows: Sequence[Sequence[str]], scan: Scan, where: str) -> tuple[int, int]:
    """Which of the columns beside the pixels hold the label and the split; -1 where none does."""
    choice = "_".join(scan.choices.label_column.lower().split())
    if choice and choice not in titles:
        raise DataError(f"{where}: no column '{scan.choices.label_column}'; it has {', '.join(titles)[:200]}")
    usage = split_column(titles, rows, ())
    label = titles.index(choice) if choice else label_column(titles, rows, usage)
    left = [i for i in range(len(titles)) if i != usage]
    if label < 0 and len(left) == 1 and not any(titles):
        label = left[0]
    return label, usage


def _columns_of_pixels(titles: Sequence[str], where: str) -> tuple[int, int]:
    """The first of the columns that hold a pixel each (pixel0, p_1, 2, 28x28), and how many there are; -1 and 0.

    Raises DataError where they are in another order than their names.
    """
    matches = [(i, m) for i, title in enumerate(titles) if (m := _PIXEL_TITLE.fullmatch(title))]
    if len(matches) < _LEAST_PIXELS:
        return -1, 0
    numbers = [(int(m["row"] or 0), int(m["number"])) for _, m in matches]
    places = [i for i, _ in matches]
    if numbers != sorted(numbers) and len(set(numbers)) == len(numbers) and {r for r, _ in numbers} != {0}:
        numbers = [(c, r) for r, c in numbers]
    steps = {b[1] - a[1] for a, b in pairwise(numbers) if a[0] == b[0]}
    if len(set(numbers)) < len(numbers) or places != list(range(places[0], places[0] + len(places))):
        return -1, 0
    if numbers != sorted(numbers) or steps - {1}:
        first = titles[places[0]]
        raise DataError(
            f"{where}: its {len(places)} columns of pixels ({first}, ...) are not in their order; sort them"
        )
    return places[0], len(places)


def _are_pixels(cells: Sequence[str]) -> bool:
    """Whether cells are the grey values of an image each."""
    texts = [cell.encode("utf-8", "replace").translate(BLANKS).split() for cell in cells]
    return bool(texts) and all(
        len(text) >= _LEAST_PIXELS and all(value.replace(b".", b"", 1).isdigit() for value in text) for text in texts
    )
