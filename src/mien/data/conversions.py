"""Data sets from and to the objects of NumPy, pandas, PyTorch and Hugging Face `datasets`.

Each library is imported when it is asked for. What comes in is read as files of its kind are, by the same rules.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.errors import DataError, import_extra
from mien.labels import EIGHT

if TYPE_CHECKING:
    import datasets  # type: ignore[import-untyped]
    import pandas as pd
    import torch.utils.data

    from mien.data.dataset import Dataset

_PARTS = {"votes": EIGHT, "ferplus_other": ("unknown", "not_a_face"), "box": ("x1", "y1", "x2", "y2")}
"""The names of the numbers in a column with several per sample."""


class Conversions:
    """The methods of `Dataset` that make it from, or into, objects of other libraries."""

    __slots__ = ()

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
        from mien.data.dataset import text_column

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
        from mien.data.dataset import text_column

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
        data = Conversions.from_arrays(images, frame[label].to_numpy(), label_names=labels, split=splits)
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
        from mien.data.dataset import split_rank

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
        dataset = cast("Dataset", self)
        pandas = _module("pandas", "pandas")
        names = np.array([*dataset.label_names, None], object)  # the last is that of -1
        columns = {"source": dataset.sources, "split": dataset.splits, "label": names[dataset.labels]}
        columns |= zip(("height", "width", "channels"), dataset.shapes.T, strict=True)
        for name, values in dataset.columns.items():
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
        from mien.data.writing.files import size_text

        dataset = cast("Dataset", self)
        library = _module("torch", "train")
        shapes = np.unique(dataset.shapes, axis=0)
        if size is None and (len(shapes) != 1 or shapes[0, 0] != shapes[0, 1]):
            first, last = size_text(dataset, 0), size_text(dataset, len(dataset) - 1)
            raise DataError(f"{dataset.name}: images of {first} to {last}; expected squares of one size; give size=48")
        side, depth = size or int(shapes[0, 0]), channels or int(shapes[:, 2].max())
        faces = dataset.faces(size=side, channels=depth).transpose(0, 3, 1, 2)
        # A copy: the faces may be a view of a file, which must not be written to.
        tensors = (library.from_numpy(np.array(faces, order="C")), library.from_numpy(dataset.labels.astype(np.int64)))
        made: torch.utils.data.TensorDataset = library.utils.data.TensorDataset(*tensors)
        return made

    def to_huggingface(self) -> datasets.DatasetDict:
        """Returns a Hugging Face `DatasetDict`: a split each, with image, label (`ClassLabel`) and the other columns.

        Samples of no split are in "data". Images are PNGs in memory; votes are FER+'s ten columns, `ferplus_votes`.
        Raises MissingExtraError without `datasets`.
        """
        from mien.data.writing.files import NO_SPLIT, folder_names, row_blocks, split_rows
        from mien.data.writing.shards import image_table

        dataset = cast("Dataset", self)
        hugging = _module("datasets", "huggingface")
        pa = import_module("pyarrow")  # comes with `datasets`
        made = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for split, rows in split_rows(dataset).items():
                blocks = [image_table(dataset, block, None, pool) for block in row_blocks(dataset, rows)]
                made[folder_names([split or NO_SPLIT])[0]] = hugging.Dataset(pa.concat_tables(blocks))
        found: datasets.DatasetDict = hugging.DatasetDict(made)
        return found


def _loaded(place: Path, name: str, **choices: Any) -> Dataset:
    from mien.data.readers import load_dataset

    try:
        return replace(load_dataset(place, **choices), name=name)
    except DataError as error:
        message = str(error).replace(str(place), name).replace(str(place.parent), name)
        raise DataError(message) from error


def _module(name: str, extra: str) -> Any:
    return import_extra(name, extra, f"{ {'datasets': 'to_huggingface'}.get(name, f'to_{name}') }()")
