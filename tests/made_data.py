"""Data sets made in memory, for tests."""

import hashlib

import numpy as np

from mien.data.dataset import Dataset
from mien.data.source import offsets_of, text_column
from mien.labels import FER2013


def make(images, labels, splits, *, names=FER2013, sources=None, **columns):
    """A data set in memory."""
    shapes = np.array([p.shape for p in images], np.int32)
    base = {
        "source": text_column(sources or [f"faces.csv:{i + 2}" for i in range(len(images))]),
        "split": text_column(splits),
        "label": np.array(labels, np.int64),
    }
    pixels = np.concatenate([p.reshape(-1) for p in images])
    return Dataset(tuple(names), base | columns, pixels, offsets_of(shapes), shapes, name="faces", fingerprint="f")


def tree(folder):
    """Every file's name and content."""
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
