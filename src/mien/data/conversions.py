"""Data sets as the objects of pandas, PyTorch and Hugging Face `datasets`, each imported when it is asked for."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.data.writing.files import NO_SPLIT, folder_names, row_blocks, size_text, split_rows
from mien.data.writing.shards import image_table
from mien.errors import DataError, MissingExtraError
from mien.labels import EIGHT

if TYPE_CHECKING:
    import datasets  # type: ignore[import-untyped]
    import pandas as pd
    import torch.utils.data

    from mien.data.dataset import Dataset

_PARTS = {"votes": EIGHT, "ferplus_other": ("unknown", "not_a_face"), "box": ("x1", "y1", "x2", "y2")}
"""The names of the numbers in a column with several per sample."""


def to_pandas(dataset: Dataset) -> pd.DataFrame:
    """As `Dataset.to_pandas`."""
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


def to_torch(
    dataset: Dataset, *, size: int | None = None, channels: int | None = None
) -> torch.utils.data.TensorDataset:
    """As `Dataset.to_torch`."""
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


def to_huggingface(dataset: Dataset) -> datasets.DatasetDict:
    """As `Dataset.to_huggingface`."""
    hugging = _module("datasets", "huggingface")
    pa = import_module("pyarrow")  # comes with `datasets`
    made = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, rows in split_rows(dataset).items():
            blocks = [image_table(dataset, block, None, pool) for block in row_blocks(dataset, rows)]
            made[folder_names([split or NO_SPLIT])[0]] = hugging.Dataset(pa.concat_tables(blocks))
    found: datasets.DatasetDict = hugging.DatasetDict(made)
    return found


def _module(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        method = {"datasets": "to_huggingface"}.get(name, f"to_{name}")
        raise MissingExtraError(extra, f"{method}()") from error
