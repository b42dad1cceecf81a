"""Exports as class folders, NumPy arrays, and fer2013's CSV with FER+'s votes beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.dataset import Dataset
from mien.data.source import CHUNK
from mien.data.writing.files import (
    NO_SPLIT,
    counted,
    ferplus_votes,
    file_names,
    folder_names,
    label_texts,
    row_blocks,
    size_text,
    split_rows,
    write_images,
    write_manifest,
    write_plain,
)
from mien.errors import DataError
from mien.labels import FER2013
from mien.reporting import Progress

_USAGE = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
_FERPLUS_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"

# Folders: split/class/name.png


def write_folders(dataset: Dataset, folder: Path, jpeg: int | None, progress: Progress | None) -> None:
    """split/class/name.png and manifest.csv; class/name.png where there are no splits.

    Unlabelled samples are in a folder `unlabelled`; if no sample has a label, without a class folder.
    """
    splits = list(split_rows(dataset))
    split_folder = dict(zip(splits, folder_names([s or NO_SPLIT for s in splits]), strict=True))
    if splits == [""]:
        split_folder = {"": "."}
    *classes, unlabelled = folder_names([*dataset.label_names, "unlabelled"])
    if (dataset.labels < 0).all():
        unlabelled = "."
    suffix = ".png" if jpeg is None else ".jpg"
    files = [
        Path(split_folder[split], classes[label] if label >= 0 else unlabelled, name + suffix)
        for split, label, name in zip(
            dataset.splits.tolist(), dataset.labels.tolist(), file_names(dataset), strict=True
        )
    ]
    write_images(dataset, [folder / file for file in files], jpeg, progress)
    write_manifest(dataset, [file.as_posix() for file in files], folder / "manifest.csv")


# NumPy: train_images.npy, train_labels.npy


def write_npy(dataset: Dataset, folder: Path, progress: Progress | None) -> None:
    """SPLIT_images.npy, uint8 (n, H, W, C), SPLIT_labels.npy, int64, SPLIT_votes.npy, and what the numbers mean."""
    add = counted(progress, len(dataset))
    for split, rows in split_rows(dataset).items():
        prefix = f"{folder_names([split])[0]}_" if split else ""
        shape = (len(rows), *dataset.shapes[0].tolist())
        images = np.lib.format.open_memmap(folder / f"{prefix}images.npy", "w+", np.uint8, shape)
        done = 0
        for batch in row_blocks(dataset, rows):
            for row in batch.tolist():
                images[done] = dataset.image(row)
                done += 1
            add(len(batch))
        images.flush()
        del images
        np.save(folder / f"{prefix}labels.npy", dataset.labels[rows].astype(np.int64))
        if dataset.votes is not None:
            np.save(folder / f"{prefix}votes.npy", dataset.votes[rows])
    write_plain(folder / "label_names.json", json.dumps(dataset.label_names, ensure_ascii=False))
    write_manifest(dataset, None, folder / "manifest.csv")


# fer2013.csv and fer2013new.csv


def check_csv(dataset: Dataset) -> None:
    """Raises DataError where fer2013's CSV can't hold a sample: no grey square, no split, or another label."""
    odd = np.flatnonzero((dataset.shapes[:, 2] != 1) | (dataset.shapes[:, 0] != dataset.shapes[:, 1]))
    if len(odd):
        raise DataError(
            f"{dataset.name}: {dataset.sources[odd[0]]} is {size_text(dataset, int(odd[0]))}; fer2013's CSV holds grey "
            "squares: make them with  mien data crop IN --out OUT --size 48 --channels 1"
        )
    unknown = np.flatnonzero(~np.isin(dataset.splits, tuple(_USAGE)))
    if len(unknown):
        raise DataError(
            f"{dataset.name}: {len(unknown):,} samples are in none of {', '.join(_USAGE)}, first "
            f"{dataset.sources[unknown[0]]}; divide them with  mien data split"
        )
    numbers = _fer2013_numbers(dataset)
    without = np.flatnonzero(numbers < 0)
    if len(without):
        name = label_texts(dataset)[without[0]] or "no label"
        raise DataError(
            f"{dataset.name}: {dataset.sources[without[0]]} has '{name}', which has no number in fer2013's CSV; "
            f"it knows {', '.join(FER2013)}"
        )


def _fer2013_numbers(dataset: Dataset) -> NDArray[np.int64]:
    known = [FER2013.index(name) if name in FER2013 else -1 for name in dataset.label_names]
    return np.array([*known, -1], np.int64)[dataset.labels]


def write_csv(dataset: Dataset, place: Path, votes_place: Path | None, progress: Progress | None) -> None:
    """emotion,pixels,Usage, a line per sample; and its votes, where there are any, in FER+'s columns."""
    # A number is four bytes here: its digits, a blank, and NULs, which one pass removes.
    cells = np.frombuffer(b"".join(f"{n} ".encode().ljust(4, b"\0") for n in range(256)), np.uint32)
    numbers = _fer2013_numbers(dataset).tolist()
    usage = [_USAGE[split] for split in dataset.splits.tolist()]
    with place.open("wb") as file:
        file.write(b"emotion,pixels,Usage\n")
        for row in range(len(dataset)):
            pixels = cells[dataset.image(row).reshape(-1)].tobytes().translate(None, b"\0")
            file.write(b"%d,%b,%b\n" % (numbers[row], pixels[:-1], usage[row].encode()))
            if progress and (row + 1) % CHUNK == 0:
                progress(row + 1, len(dataset))
    if dataset.votes is not None and votes_place is not None:
        votes = ferplus_votes(dataset, dataset.votes).tolist()
        lines = [f"{usage[i]},fer{i:07d}.png,{','.join(f'{n:g}' for n in counts)}\n" for i, counts in enumerate(votes)]
        write_plain(votes_place, f"{_FERPLUS_HEADER}\n" + "".join(lines))
