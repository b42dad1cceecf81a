"""Opens a data set of any layout in `mien.data.reading.layouts`, by its content.

`open_source` reads it in chunks, `load_dataset` and `open_dataset` as a whole, `read_dataset` for training and
evaluation.
Splits are called train, validation and test, whatever the source calls them; '' where it has none.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mien.data.arrays import MANIFEST, PROBLEMS, is_arrays, open_arrays
from mien.data.dataset import CHUNK, SPLITS, Chunk, Dataset, Fitted, Problem, Source, SourceOver, collect
from mien.data.reading.archives import Archive, TarArchive, is_tar, other_archive
from mien.data.reading.label_reading import Labels
from mien.data.reading.layouts import KNOWN, PACKED, find_layout, why_unused
from mien.data.reading.reading import EXPORTED, Choices, Found, Reading, Scan, make_choices
from mien.data.reading.sources import ImageFiles
from mien.data.reading.trees import Folder, Tree, printable, suffix_of
from mien.data.samples import Samples
from mien.data.settings import SplitSettings
from mien.errors import DataError
from mien.files import require_apart
from mien.reporting import log_warning
from mien.signatures import describe_file


@dataclass(frozen=True, slots=True)
class Opened(SourceOver):
    """A data set as its layout reads it, and behind it a problem for each file that is no part of it.

    reading: what was understood. unused: file name -> why no sample comes from it; looked up when they are reported.
    """

    source: Source
    reading: Reading
    unused: Sequence[str] = ()
    why: Callable[[str], str] = str

    @property
    def kind(self) -> str:
        """What the layout is called."""
        return self.reading.layout

    @property
    def total(self) -> int | None:
        """How many records there are, unused files among them."""
        return None if self.source.total is None else self.source.total + len(self.unused)

    @property
    def fingerprint(self) -> str:
        """The source's, and the names of the unused files."""
        return f"{self.source.fingerprint} {len(self.unused)}" if self.unused else self.source.fingerprint

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The records from `start` on."""
        count = self.source.total or 0
        if start < count or not self.unused:
            yield from self.source.chunks(start)
        empty = {"source": np.zeros(0, object), "split": np.zeros(0, object), "label": np.zeros(0, np.int64)}
        for first in range(max(0, start - count), len(self.unused), CHUNK):
            names = self.unused[first : first + CHUNK]
            yield Chunk([], empty, tuple(Problem(printable(n), self.why(n)) for n in names), len(names))


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
        raise DataError(f"{path}: no such data set; expected {KNOWN}")
    if path.is_dir() and is_arrays(path):
        found = _arrays(path, said)
    elif path.is_dir():
        found = _open_tree(Folder(path), path, said)
    elif not path.is_file():
        raise DataError(f"{path}: is neither a file nor a folder; expected {KNOWN}")
    else:
        found = _open_file(path, said)
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


def read_dataset(path: Path, *, size: int, channels: int, splits: Sequence[str] = SPLITS) -> dict[str, Samples]:
    """The wanted splits of a data set, those that it has, as training and evaluation take them.

    size, channels: what the faces are resized and converted to. The images are in a temporary file or are views of the
    arrays, not to be written to. Otherwise as `open_fitted`; also raises DataError where a sample has no label.
    """
    dataset = open_fitted(path, size=size, channels=channels, splits=splits)
    found = set() if dataset is None else set(dataset.splits.tolist())
    return {s: dataset.samples(s, size=size, channels=channels) for s in splits if dataset and s in found}


def open_fitted(path: Path, *, size: int, channels: int, splits: Sequence[str]) -> Dataset | None:
    """A data set for training: some splits, with images that are not larger than needed. None where it has none.

    Arrays of mien are opened in place; other layouts are read once, resized, into a temporary file. If validation is
    wanted and missing, it is split off as in `with_validation`. How labels were read is logged, where that is not
    obvious. Otherwise as `open_dataset`.
    """
    wanted = tuple(splits)
    while True:
        opened = open_source(path, splits=wanted)
        if isinstance(opened.source, Dataset):
            dataset: Dataset | None = opened.source
        else:
            fitted = Fitted(opened, size, channels)
            empty = opened.source.total == 0
            dataset = None if empty else collect(fitted, name=str(path))
        cut = "validation" in splits and (dataset is None or "validation" not in dataset.splits)
        if not cut or "" in wanted:
            break
        wanted = (*{*splits, "train"}, "")  # what validation can be split off
    labels = opened.reading.labels
    for line in labels.said:
        if labels.assumed:
            log_warning(f"{path}: labels read as {line}")
        elif not labels.numbers:  # names: those that were translated, and those that are no expressions
            log_warning(f"{path}: labels: {line}")
    return with_validation(dataset) if dataset and cut else dataset


def with_validation(dataset: Dataset) -> Dataset:
    """The data set with a validation split: its own, or a tenth of train and of the samples without a split.

    The same faces each time: training, comparison and calibration of one data set agree on them. A line is
    logged where validation was split off.
    """
    from mien.data.splits import DEFAULT_SHARE, divide

    source = np.isin(dataset.splits.astype(str), ("train", ""))
    if "validation" in dataset.splits or not source.any():
        return dataset
    divided = divide(dataset, SplitSettings(validation=DEFAULT_SHARE)).dataset
    count = int((divided.splits == "validation").sum())
    if not count:
        return dataset
    log_warning(
        f"{dataset.name}: has no split 'validation': {count:,} of {int(source.sum()):,} training faces are held out "
        f"for it ({100 * DEFAULT_SHARE:.0f} % of each class, seed 0); choose them yourself with  mien data split"
    )
    return divided


def require_split(dataset: dict[str, Samples], split: str, path: Path) -> Samples:
    """One split of a data set. Raises DataError, which lists the splits that exist."""
    if split not in dataset:
        has = f"it has {', '.join(dataset)}" if dataset else "it has none of train, validation, test"
        raise DataError(f"{path}: no split '{split}'; {has}; make splits with  mien data split")
    return dataset[split]


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


def _open_file(path: Path, said: Choices) -> Opened:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}); check its permissions") from error
    if zipfile.is_zipfile(path) and path.suffix.lower() != ".npz":
        return _open_tree(Archive(path), path, said)
    if is_tar(path):
        return _open_tree(TarArchive(path), path, said)
    other = other_archive(path)
    if other:
        raise DataError(f"{path}: is {other}; unpack it and give the folder, or pack it as a ZIP")
    return _finish(find_layout(Scan(Folder(path.parent), path.parent, said), path.name), None, said, path)


def _open_tree(tree: Tree, root: Path, said: Choices) -> Opened:
    if not tree.names and not tree.folders:
        raise DataError(f"{root}: is empty; expected {KNOWN}")
    scan = Scan(tree, root, said)
    return _finish(find_layout(scan), scan, said, root)


def _nothing(scan: Scan | None, root: Path) -> str:
    """What is in a tree in which there is no data set."""
    kinds = Counter(suffix_of(name) or "without a suffix" for name in scan.tree.names) if scan else Counter()
    holds = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6)) or "only empty folders"
    packed = [(name, describe_file(scan.head(name))) for name in scan.tree.names] if scan else []
    for name, what in packed:
        if what in PACKED:
            return f"{root}: holds {what} ({name}) and no images; {PACKED[what]}"
    return f"{root}: no images, lists or tables that mien reads in it ({holds}); expected {KNOWN}"


def _finish(found: Found | None, scan: Scan | None, said: Choices, root: Path) -> Opened:
    """The source of what was found, with the splits that are wanted, and every file that it leaves over."""
    if found is None:
        raise DataError(_nothing(scan, root))
    source = found.source
    unused: list[str] = []
    if scan is not None:
        used = {r.name for r in source.records} if isinstance(source, ImageFiles) else set()
        used |= {*found.used, *scan.class_files}
        used |= {PROBLEMS} if scan.tree.has(EXPORTED) else set()
        unused = [name for name in scan.tree.names if name not in used]
    if said.splits is not None and isinstance(source, ImageFiles):  # problems of no split are reported with every split
        source = replace(
            source, records=[r for r in source.records if r.split in said.splits or (r.wrong and not r.split)]
        )

    def why(name: str) -> str:
        return why_unused(scan, found, name) if scan else ""

    return Opened(source, found.reading, unused, why)
