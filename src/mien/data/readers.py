"""Opens a data set of any layout in `mien.data.reading.layouts`, by its content.

`open_source` reads it in chunks, `load_dataset` and `open_dataset` as a whole, `read_dataset` for training and
evaluation.
Splits are called train, validation and test, whatever the source calls them; '' where it has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mien.data.arrays import MANIFEST, is_arrays, open_arrays
from mien.data.dataset import Dataset, collect
from mien.data.reading.label_reading import Labels
from mien.data.reading.layouts import KNOWN
from mien.data.reading.opening import Opened, open_place
from mien.data.reading.reading import Choices, Reading, make_choices
from mien.data.source import Source
from mien.errors import DataError
from mien.files import require_apart


def open_source(
    path: Path, *, splits: Sequence[str] | None = None, ferplus: Path | None = None, choices: Choices | None = None
) -> Opened:
    """A data set of any layout, to be read chunk by chunk. Its content decides its layout.

    splits: those that are read, others cost nothing; None for all. ferplus: fer2013new.csv, whose votes belong to the
    rows of a fer2013.csv; one beside a fer2013.csv in a folder or ZIP is found by itself. choices: the user's options
    of it; splits and ferplus go before those in it. Raises DataError where there is no data set, or one that can't be
    used; MissingExtraError for what needs an extra that is missing.
    """
    path = Path(path)
    said = choices or Choices()
    said = replace(said, splits=tuple(splits) if splits is not None else said.splits, ferplus=ferplus or said.ferplus)
    if said.ferplus and not Path(said.ferplus).is_file():
        raise DataError(f"{said.ferplus}: no such file; expected fer2013new.csv of FER+")
    if said.root and not said.root.is_dir():
        raise DataError(f"--root {said.root}: no such folder; expected the one that paths in the list are relative to")
    if not path.exists():
        if re.match(r"\w\w+:/", str(path)):
            raise DataError(f"{path.name}: is at an address; download it first, and give the file")
        raise DataError(f"{path}: no such data set; expected {KNOWN}")
    found = _arrays(path, said) if path.is_dir() and is_arrays(path) else open_place(path, said)
    if said.ferplus and "votes" not in found.kind:
        raise DataError(f"{path}: is {found.kind}; --ferplus goes with fer2013.csv alone")
    return found


def load_dataset(
    path: str | Path,
    *,
    splits: Sequence[str] | None = None,
    labels: str = "",
    split_map: str = "",
    label_column: str = "",
    image_column: str = "",
    root: str | Path | None = None,
    ferplus: str | Path | None = None,
) -> Dataset:
    """Loads a data set of any layout that mien reads; docs/data.md lists them.

    Arrays of mien are memory-mapped in place. Other layouts are read once; their pixels are in a temporary file.

    Args:
        path: A folder, archive or file.
        splits: The splits to read, of "train", "validation", "test" and "" (none); None reads all.
        labels: The meaning of the labels, as in `mien data import --labels`: an order such as "raf-db", names for the
            numbers 0, 1, 2, ... such as "angry,happy", or pairs such as "joy=happy,old=-".
        split_map: The meaning of the splits, such as "holdout=test,extra=".
        label_column: The column of labels of a list or table, by name or number from 1.
        image_column: The column of images of a list or table, by name or number from 1.
        root: The folder that paths in a list are relative to.
        ferplus: fer2013new.csv, whose votes belong to the rows of fer2013.csv.

    Returns:
        The data set: `data["train"]` is one split, `data.labels`, `data.votes` and `data.image(row)` are its content.

    Raises:
        DataError: There is no data set, it cannot be read, or a choice does not fit it.
        MissingExtraError: The layout needs an extra that is not installed.

    Examples:
        >>> import tempfile
        >>> import mien
        >>> from mien.data.toy import write_toy_folders
        >>> folder = tempfile.mkdtemp() + "/toy"
        >>> write_toy_folders(folder, train=14, validation=7, test=0)
        >>> data = mien.load_dataset(folder)
        >>> len(data), list(data), data.label_names[:2]
        (21, ['train', 'validation'], ('angry', 'disgust'))
    """
    choices = make_choices(
        labels=labels, split_map=split_map, label_column=label_column, image_column=image_column, root=root,
        ferplus=ferplus,
    )  # fmt: skip
    return open_dataset(Path(path), splits=splits, choices=choices)


def open_dataset(
    path: Path,
    *,
    splits: Sequence[str] | None = None,
    choices: Choices | None = None,
) -> Dataset:
    """`load_dataset` with parsed choices, as the commands call it."""
    opened = open_source(path, splits=splits, choices=choices)
    if isinstance(opened.source, Dataset):
        return opened.source
    return collect(opened, name=str(path))


def as_dataset(data: Dataset | str | Path, *, out: Path | None = None) -> Dataset:
    """A data set, opened where a path is given. Raises OutputError where `out`, which will be written, touches it."""
    if out is not None:
        keep_apart(data, out)
    return data if isinstance(data, Dataset) else open_dataset(Path(data))


def as_source(data: Dataset | str | Path) -> Source:
    """A data set as a source: as it is, or opened where a path is given."""
    return data if isinstance(data, Dataset) else open_source(Path(data))


def keep_apart(data: Dataset | str | Path, *places: Path) -> None:
    """Raises OutputError where one of the places, which will be written, touches the data set."""
    here = Path(data.name if isinstance(data, Dataset) else data)
    for place in places:
        if not isinstance(data, Dataset) or here.exists():
            require_apart(here, place)


def _arrays(path: Path, said: Choices) -> Opened:
    if said.labels or said.split_map:
        raise DataError(
            f"{path}: is a data set of mien already; its labels and splits are settled; import its source anew"
        )
    if (path / "manifest.csv").exists():
        raise DataError(
            f"{path / 'manifest.csv'}: is not read; the manifest of this data set is {MANIFEST}; apply it with  "
            f"mien data relabel,  to the data set that was exported, or move it away"
        )
    dataset = open_arrays(path)
    if said.splits is not None:
        dataset = dataset.take(np.flatnonzero(np.isin(dataset.splits.astype(str), said.splits)))
        dataset = replace(dataset, fingerprint=f"{dataset.fingerprint} {list(said.splits)}")
    return Opened(dataset, Reading("arrays of mien", "the manifest", Labels(dataset.label_names)))
