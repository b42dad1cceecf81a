"""Paths of a model file from `train_if_missing`: its run, and the faces that it can be measured on."""

from __future__ import annotations

from pathlib import Path

from mien.data.arrays import is_arrays

DATA = "data"
"""The folder in the run that has the faces as they were trained on."""


def run_folder(model: Path) -> Path:
    """The run folder of a model file that `train_if_missing` trained."""
    return model.with_name(f"{model.stem}-run")


def data_to_measure(model: Path, data: Path | None, trained_on: Path) -> Path:
    """The data set on which a model that was trained on `trained_on` can be measured: `data`, if that differs.

    Otherwise the one in its run folder, which has the faces that were held out as its split `validation`.
    """
    divided = run_folder(Path(model)) / DATA
    if data is not None and data.resolve() != trained_on.resolve():
        return data
    return divided if is_arrays(divided) else trained_on
