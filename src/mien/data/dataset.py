"""`Dataset`: the samples of a data set, made from and into objects of NumPy, pandas, PyTorch and Hugging Face.

Each library is imported when it is asked for. What comes in is read as files of its kind are, by the same rules.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.data.reading.opening import open_place
from mien.data.reading.reading import make_choices
from mien.data.samples import SampleTable
from mien.data.source import (
    CHUNK,
    Chunk,
    Columns,
    Problem,
    Source,
    SourceOver,
    append_pixels,
    log_problem,
    offsets_of,
    split_rank,
    text_column,
)
from mien.data.writing.files import NO_SPLIT, folder_names, row_blocks, size_text, split_rows
from mien.data.writing.shards import image_table
from mien.errors import DataError, import_extra
from mien.labels import EIGHT
from mien.reporting import Progress

if TYPE_CHECKING:
    import datasets  # type: ignore[import-untyped]
    import pandas as pd
    import torch.utils.data

_PARTS = {"votes": EIGHT, "ferplus_other": ("unknown", "not_a_face"), "box": ("x1", "y1", "x2", "y2")}
"""The names of the numbers in a column with several per sample."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset(SampleTable):
    """The samples of a data set: a manifest with a row per sample, and their pixels, memory-mapped where they are many.

    `load_dataset`, `from_arrays`, `from_pandas` and `from_huggingface` make one. Its splits and slices are data sets
    too: `data["train"][:100]`; `data[3]` is one sample. Iterating gives the names of the splits. It is a `Source`.

    Attributes:
        label_names: The names of the classes; labels are indices into them.
        columns: Name -> array of length N: `source`, `split`, `label`, and others as in `Chunk`.
        pixels: uint8, flat: the pixels of all images, in rows, RGB or grey, 0 to 255.
        offsets: int64 (N,), where in `pixels` each image begins.
        shapes: int32 (N, 3): height, width, channels of each image, in pixels.
        steps: What was done to the samples, in order.
        name: The name in messages, the path where there is one.
        fingerprint: A text that changes with the content.

    Examples:
        >>> import tempfile, mien
        >>> from mien.data.toy import write_toy_folders
        >>> folder = tempfile.mkdtemp() + "/toy"
        >>> write_toy_folders(folder, train=14, validation=7, test=0)
        >>> data = mien.load_dataset(folder)
        >>> data["train"].to_pandas()["label"].nunique(), data["train"].image(0).shape
        (7, (48, 48, 1))
        >>> image, label = data["train"].to_torch()[0]
        >>> data.to_huggingface()["validation"].num_rows
        7
    """

    def __repr__(self) -> str:
        counts = Counter(self.splits.tolist())
        splits = ", ".join(f"{split or 'no split'} {counts[split]:,}" for split in self)
        return f"Dataset({self.name!r}, {len(self):,} images: {splits}; labels {', '.join(self.label_names) or 'none'})"

    @staticmethod
    def from_arrays(
        images: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        label_names: Sequence[str] | str = (),
        split: str | Sequence[str] = "",
    ) -> Dataset:
        """Makes a data set of arrays.

        Args:
            images: (N, H, W), (N, H, W, C) or (N, C, H, W), grey or RGB; uint8, or floats in 0 to 1 or 0 to 255.
            labels: (N,) or (N, 1) numbers or names, or one-hot (N, K); None for no labels.
            label_names: The names of the numbers 0, 1, 2, ...; or what `mien data import --labels` takes, such as
                "raf-db". Without it, the numbers have to be exactly FER2013's, 0 to 6.
            split: "train", "validation", "test" or "", for all samples or one for each.

        Returns:
            The data set; its images are uint8.

        Raises:
            DataError: The arrays do not fit each other, or nothing says what the numbers mean.

        Examples:
            >>> import numpy as np
            >>> import mien
            >>> images = np.random.default_rng(0).integers(0, 256, (20, 48, 48), np.uint8)
            >>> data = mien.Dataset.from_arrays(images, np.arange(20) % 2, label_names=["bored", "engaged"])
            >>> len(data), data[3]["label"], data[:5].label_names
            (20, 'engaged', ('bored', 'engaged'))
        """
        pixels, truth = np.asarray(images), None if labels is None else np.asarray(labels)
        if truth is not None and (not truth.ndim or len(truth) != len(pixels)):
            raise DataError(
                f"labels have the shape {truth.shape}, images {pixels.shape}; expected a label for each image"
            )
        arrays: dict[str, NDArray[Any]] = {"images": pixels}
        if truth is not None:
            arrays["labels"] = truth.astype(str) if truth.dtype == object else truth
        meaning = label_names if isinstance(label_names, str) else ""
        if label_names and not meaning:
            arrays["label_names"] = np.array(label_names, str)
        with tempfile.TemporaryDirectory(prefix="mien-") as folder:
            place = Path(folder, "arrays.npz")
            np.savez(place, **cast(Any, arrays))
            data = _loaded(place, "the arrays", labels=meaning)
        if len(data) != len(pixels):
            raise DataError(f"the arrays: {len(pixels) - len(data)} labels or images can't be used; see the log")
        splits = [split] * len(data) if isinstance(split, str) else list(split)
        return data.with_columns(
            split=text_column(splits), source=text_column([f"row {row}" for row in range(len(data))])
        )

    @staticmethod
    def from_pandas(
        frame: pd.DataFrame,
        images: ArrayLike | None = None,
        *,
        image: str = "image",
        label: str = "label",
        split: str = "split",
        root: str | Path = ".",
        labels: str = "",
    ) -> Dataset:
        """Makes a data set of a table with a row per sample; its other columns are kept.

        Args:
            frame: The table. Its column `split` may be missing.
            images: The images as arrays, as for `from_arrays`; None to read the files that the column `image` names.
            image: The column with the paths of the images.
            label: The column of the labels.
            split: The column of the splits.
            root: The folder that paths are relative to.
            labels: What the labels mean, as in `mien data import --labels`.

        Returns:
            The data set.

        Raises:
            DataError: A column is missing, or the images or labels can't be used.
        """
        missing = [name for name in (label, *(() if images is not None else (image,))) if name not in frame.columns]
        if missing:
            raise DataError(f"the table: no column '{missing[0]}'; it has {', '.join(map(str, frame.columns))}")
        if images is None:
            paths = [Path(root, str(path)).absolute() for path in frame[image]]
            base = os.path.commonpath([path.parent for path in paths]) if paths else "."
            table = frame.rename(columns={split: "split"}).assign(**{image: [os.path.relpath(p, base) for p in paths]})
            with tempfile.TemporaryDirectory(prefix="mien-") as folder:
                place = Path(folder, "table.csv")
                table.to_csv(place, index=False)
                return _loaded(place, "the table", labels=labels, root=base, image_column=image, label_column=label)
        splits = frame[split].fillna("").astype(str).tolist() if split in frame.columns else ""
        data = Dataset.from_arrays(images, frame[label].to_numpy(), label_names=labels, split=splits)
        others = {
            str(name): values.to_numpy() if values.dtype.kind in "iuf" else text_column(values.astype(str).tolist())
            for name, values in frame.items()
            if name not in (image, label, split, "height", "width", "channels")
        }
        return data.with_columns(**others)

    @staticmethod
    def from_huggingface(data: datasets.DatasetDict | datasets.Dataset, *, labels: str = "") -> Dataset:
        """Makes a data set of one of Hugging Face: a column of images, one of labels, and others, which are kept.

        Args:
            data: The splits, or one of them; FER+'s ten columns, `ferplus_votes`, become votes.
            labels: What the labels mean, as in `mien data import --labels`, if they are numbers without names.

        Returns:
            The data set.

        Raises:
            DataError: It has no images, or nothing says what the numbers mean.
        """
        hugging = _module("datasets", "huggingface")
        splits = data if isinstance(data, dict) else {str(getattr(data, "split", None) or "data"): data}
        loud = not hugging.are_progress_bars_disabled()
        hugging.disable_progress_bars()
        try:
            with tempfile.TemporaryDirectory(prefix="mien-") as folder:
                for name, part in splits.items():
                    part.to_parquet(Path(folder, f"{name}-00000-of-00001.parquet"))
                made = _loaded(Path(folder), "the data set", labels=labels)
        finally:
            if loud:
                hugging.enable_progress_bars()
        made = made.take(np.array(sorted(range(len(made)), key=lambda row: split_rank(str(made.splits[row])))))
        columns = {name: values for name, values in made.columns.items() if name != "given_source"}
        return replace(made, columns={**columns, "source": made.columns.get("given_source", made.sources)})

    def to_pandas(self) -> pd.DataFrame:
        """Returns the manifest as a pandas DataFrame, a row per sample, without the pixels.

        Columns: source, split, label (the class's name, None for no label), height, width, channels, and any others
        of the data set. Several numbers per sample are columns of their own: votes_angry, ..., box_x1, ...
        Raises MissingExtraError without pandas.
        """
        pandas = _module("pandas", "pandas")
        names = np.array([*self.label_names, None], object)  # the last is that of -1
        columns = {"source": self.sources, "split": self.splits, "label": names[self.labels]}
        columns |= zip(("height", "width", "channels"), self.shapes.T, strict=True)
        for name, values in self.columns.items():
            if values.ndim == 1:
                columns.setdefault(name, values)
            else:
                parts = _PARTS.get(name) or map(str, range(values.shape[1]))
                columns |= {f"{name}_{part}": values[:, i] for i, part in enumerate(parts)}
        frame: pd.DataFrame = pandas.DataFrame(columns)
        return frame

    def to_torch(self, *, size: int | None = None, channels: int | None = None) -> torch.utils.data.TensorDataset:
        """Returns pairs of image and label for PyTorch's `DataLoader`, in memory.

        Images are uint8 (C, H, W), 0 to 255, grey or RGB; labels are int64, indices into `label_names`, -1 for none.

        Args:
            size: The side to which images are resized, in pixels; None keeps the size, where all have one.
            channels: 1 for grey, 3 for RGB; None for RGB where an image has colour.

        Raises:
            DataError: The images have several sizes, or are no squares, and `size` is None.
            MissingExtraError: PyTorch is not installed.
        """
        library = _module("torch", "train")
        shapes = np.unique(self.shapes, axis=0)
        if size is None and (len(shapes) != 1 or shapes[0, 0] != shapes[0, 1]):
            first, last = size_text(self, 0), size_text(self, len(self) - 1)
            raise DataError(f"{self.name}: images of {first} to {last}; expected squares of one size; give size=48")
        side, depth = size or int(shapes[0, 0]), channels or int(shapes[:, 2].max())
        faces = self.faces(size=side, channels=depth).transpose(0, 3, 1, 2)
        # A copy: the faces may be a view of a file, which must not be written to.
        tensors = (library.from_numpy(np.array(faces, order="C")), library.from_numpy(self.labels.astype(np.int64)))
        made: torch.utils.data.TensorDataset = library.utils.data.TensorDataset(*tensors)
        return made

    def to_huggingface(self) -> datasets.DatasetDict:
        """Returns a Hugging Face `DatasetDict`: a split each, with image, label (`ClassLabel`) and the other columns.

        Samples of no split are in "data". Images are PNGs in memory; votes are FER+'s ten columns, `ferplus_votes`.
        Raises MissingExtraError without `datasets`.
        """
        hugging = _module("datasets", "huggingface")
        pa = import_module("pyarrow")  # comes with `datasets`
        made = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for split, rows in split_rows(self).items():
                blocks = [image_table(self, block, None, pool) for block in row_blocks(self, rows)]
                made[folder_names([split or NO_SPLIT])[0]] = hugging.Dataset(pa.concat_tables(blocks))
        found: datasets.DatasetDict = hugging.DatasetDict(made)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Selection(SourceOver):
    """A source of some of a data set's samples, which counts the others as read: what cleaning leaves.

    staying: bool (N,). problems: of the records that were not read in the first place; they come with the first chunk.
    """

    source: Dataset
    staying: NDArray[np.bool_]
    problems: tuple[Problem, ...] = ()

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The samples that stay, from row `start` of all on; images are views."""
        for first in range(start, len(self.source), CHUNK):
            staying = self.staying[first : first + CHUNK]
            rows = first + np.flatnonzero(staying)
            yield self.source.chunk(rows, len(staying), self.problems if first == 0 else ())


def collect(
    source: Source, *, name: str, problem: Callable[[Problem], None] = log_problem, progress: Progress | None = None
) -> Dataset:
    """All of a source as a `Dataset`. The pixels are in an unnamed temporary file, not in memory.

    problem: called with each record that cannot be used. Raises DataError where all records are problems.
    """
    parts: list[Columns] = []
    shapes: list[NDArray[np.int32]] = []
    done = 0
    with tempfile.TemporaryFile(prefix="mien-") as file:
        for chunk in source.chunks():
            for one in chunk.problems:
                problem(one)
            shapes.append(append_pixels(file, chunk.images))
            parts.append(chunk.columns)
            done += chunk.consumed
            if progress:
                progress(done, source.total)
        file.flush()
        joined = np.concatenate(shapes) if shapes else np.zeros((0, 3), np.int32)
        if not len(joined):
            raise DataError(f"{name}: not one sample could be read")
        pixels = np.memmap(file, np.uint8, "r")
    columns = {key: np.concatenate([p[key] for p in parts if len(p["source"])]) for key in parts[0]}
    return Dataset(
        source.label_names, columns, pixels, offsets_of(joined), joined, source.steps, name, source.fingerprint
    )


def _loaded(place: Path, name: str, **choices: Any) -> Dataset:
    try:
        return collect(open_place(place, make_choices(**choices)), name=name)
    except DataError as error:
        message = str(error).replace(str(place), name).replace(str(place.parent), name)
        raise DataError(message) from error


def _module(name: str, extra: str) -> Any:
    return import_extra(name, extra, "to_huggingface()" if name == "datasets" else f"to_{name}()")
