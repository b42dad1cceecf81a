"""Describes a whole data set: the number of faces of each class, samples, mean faces, light and sizes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.crop import fit_face
from mien.data.dataset import Dataset
from mien.data.readers import as_dataset
from mien.data.source import CHUNK, split_rank
from mien.errors import DataError
from mien.files import atomic_folder, write_bytes
from mien.pages import Bars, Column, Lines, Page, Series, Tile, contact_sheet, draw, figure_png, letterbox, png
from mien.pages.charts import GREY, class_color
from mien.pages.text import percent
from mien.reporting import Progress

MAX_CLASSES = 40
"""The most classes that are shown, the largest first."""

_SPLIT_COLORS = {"train": "#3c55c8", "validation": "#b45309", "test": "#1b7a43", "": GREY}
_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """Brightness and contrast of every sample: mean and standard deviation of its grey values, float32 (N,), 0-255.

    mean_faces: float64 (K + 1, S, S, C), of each class's training samples (of all, where no split is called train);
    the last of those without a label.
    """

    brightness: NDArray[np.float32]
    contrast: NDArray[np.float32]
    mean_faces: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Class:
    """A class that has samples; index -1: those without a label."""

    name: str
    index: int
    count: int
    color: str


def explore(
    data: Dataset | str | Path, out: str | Path, *, seed: int = 0, per_class: int = 30, progress: Progress | None = None
) -> Path:
    """Writes a page about a data set into the new folder `out`, with its figures as PNGs; returns the page's path.

    Counts per class and split, a seeded choice of `per_class` samples of each class, the mean face of each class, the
    distributions of brightness and contrast, and the sizes. Memory stays flat however many samples there are. The
    folder appears when it is whole.
    Raises DataError for a data set without samples, OutputError where `out` is there and not an empty folder.
    """
    dataset = as_dataset(data, out=Path(out))
    if not len(dataset):
        raise DataError(f"{dataset.name}: has no samples to show")
    classes, left_out = _classes(dataset)
    with atomic_folder(Path(out)) as folder:
        light = measure_light(dataset, progress=progress)
        splits = sorted(set(dataset.splits.tolist()), key=split_rank)
        page = Page(Path(dataset.name).name or dataset.name, _verdict(dataset, classes), kind="Data set")
        found = dataset.counts()
        page.tiles([Tile("samples", f"{len(dataset):,}", _votes(dataset))])
        page.tiles(Tile(s or "no split", f"{sum(found[s].values()):,}", "samples") for s in splits)
        _counts(page, folder, dataset, classes, splits)
        if left_out:
            page.text(f"The {len(classes)} largest classes are shown; {left_out} more are not.")
        _samples(page, folder, dataset, classes, seed=seed, per_class=per_class)
        _mean_faces(page, folder, light, classes, "train" if "train" in splits else "all splits")
        _light(page, folder, dataset, light, classes)
        _sizes(page, folder, dataset)
        page.write(folder / "index.html")
    return Path(out) / "index.html"


def measure_light(dataset: Dataset, *, progress: Progress | None = None) -> Light:
    """Brightness and contrast of each sample and the mean face of each class, in one pass over the pixels.

    Mean faces are of the data set's median size, 32 to 96 pixels, in colour where a sample is.
    """
    brightness, contrast = np.empty((2, len(dataset)), np.float32)
    side = int(np.clip(np.median(dataset.shapes[:, :2]), 32, 96))
    channels = 3 if (dataset.shapes[:, 2] == 3).any() else 1
    sums = np.zeros((len(dataset.label_names) + 1, side, side, channels))
    is_train = dataset.splits == "train"
    counted = is_train if is_train.any() else np.ones(len(dataset), bool)
    for first in range(0, len(dataset), CHUNK):
        rows = range(first, min(first + CHUNK, len(dataset)))
        faces = np.empty((len(rows), side, side, channels), np.uint8)
        for i, row in enumerate(rows):
            image = dataset.image(row)
            grey = image if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            mean, deviation = cv2.meanStdDev(grey)
            brightness[row], contrast[row] = mean[0, 0], deviation[0, 0]
            faces[i] = fit_face(image, side, channels)
        inside, labels = counted[rows.start : rows.stop], dataset.labels[rows.start : rows.stop]
        for label in np.unique(labels[inside]):
            sums[label] += faces[inside & (labels == label)].sum(0, dtype=np.int64)
        if progress:
            progress(rows.stop, len(dataset))
    counts = np.bincount(dataset.labels[counted] % len(sums), minlength=len(sums))  # -1 is the last
    return Light(brightness, contrast, sums / np.maximum(counts, 1)[:, None, None, None])


def choose_samples(dataset: Dataset, label: int, count: int, *, seed: int) -> NDArray[np.intp]:
    """Rows of up to `count` samples of one label (-1: none), drawn with `seed`, in order.

    Each label draws for itself: the same faces come up when other classes change.
    """
    rows = np.flatnonzero(dataset.labels == label)
    random = np.random.default_rng([seed, label + 1])
    return np.sort(random.choice(rows, min(count, len(rows)), replace=False))


def _classes(dataset: Dataset) -> tuple[list[_Class], int]:
    """The classes that have samples, in order, at most MAX_CLASSES; and how many more there are."""
    counts = Counter(dataset.labels.tolist())
    largest = {label for label, _ in counts.most_common(MAX_CLASSES)}
    names = (*dataset.label_names, "(no label)")
    found = []
    for label in (*range(len(dataset.label_names)), -1):
        if label in largest:
            found.append(_Class(names[label], label, counts[label], class_color(names[label])))
    return found, len(counts) - len(found)


def _verdict(dataset: Dataset, classes: Sequence[_Class]) -> str:
    most, least = (choose(classes, key=lambda c: c.count) for choose in (max, min))
    text = f"{len(dataset):,} samples in {len(classes)} classes."
    if len(classes) < 2:
        return text
    shares = [percent(c.count / len(dataset)) for c in (most, least)]
    times = f": {most.count / least.count:.1f} times fewer" if most.count > 1.05 * least.count else ""
    return f"{text} The largest class is {most.name} ({shares[0]}), the smallest {least.name} ({shares[1]}){times}."


def _votes(dataset: Dataset) -> str:
    return "" if dataset.votes is None else f"{int((dataset.votes.sum(1) > 0).sum()):,} with raters' votes"


# The sections


def _counts(page: Page, folder: Path, dataset: Dataset, classes: list[_Class], splits: Sequence[str]) -> None:
    steps = " > ".join(step.command for step in dataset.steps)
    page.section("Classes", "How many samples of each class there are, and what share of each split they are.")
    found = dataset.counts()
    counts = np.array([[found[s].get("" if c.index < 0 else c.name, 0) for s in splits] for c in classes])
    shares = counts / np.array([sum(found[s].values()) for s in splits])
    columns = []
    for j, split in enumerate(splits):
        texts = [f"{n:,} ({percent(share)})" for n, share in zip(counts[:, j], shares[:, j], strict=True)]
        top = (0.0, max(float(shares.max()), 1e-9))
        color = _SPLIT_COLORS.get(split, "#9d2f8f")
        columns.append(Column(split or "no split", shares[:, j].tolist(), texts, range=top, bar=True, color=color))
    notes = [f"{c.count:,} ({percent(c.count / len(dataset))})" for c in classes]
    title = f"Samples of each class, and their share of the split; a full bar is {percent(float(shares.max()))}"
    _show(page, folder, Bars(title, "class", [c.name for c in classes], columns, "all", notes), "counts")
    page.text(f"Made by: {steps}." if steps else "")


def _samples(page: Page, folder: Path, dataset: Dataset, classes: list[_Class], *, seed: int, per_class: int) -> None:
    page.section("Samples", f"Up to {per_class} of each class, drawn at random (seed {seed}).")
    for c in classes:
        chosen = choose_samples(dataset, c.index, per_class, seed=seed).tolist()
        images = [dataset.image(row) for row in chosen]
        page.heading(f"{c.name} ({c.count:,})")
        page.gallery(images, alts=[f"{c.name}: {dataset.sources[row]}" for row in chosen])
        write_bytes(folder / f"samples-{_slug(c)}.png", png(contact_sheet(images)))


def _mean_faces(page: Page, folder: Path, light: Light, classes: list[_Class], of: str) -> None:
    page.section(
        "Mean faces",
        f"The mean of every pixel over each class ({of}). Sharp eyes and mouths mean that faces are well aligned; what "
        "differs from class to class is what a linear model could see.",
    )
    faces = [letterbox(light.mean_faces[c.index].round().astype(np.uint8), 144) for c in classes]
    captions = [c.name for c in classes]
    page.gallery(faces, captions, tile=144)
    write_bytes(folder / "mean-faces.png", png(contact_sheet(faces, captions, tile=144)))


def _light(page: Page, folder: Path, dataset: Dataset, light: Light, classes: list[_Class]) -> None:
    page.section(
        "Brightness and contrast",
        "Mean and standard deviation of each image's grey values, 0 to 255. A class that is darker or flatter than "
        "the others can be recognised by that alone.",
    )
    columns = []
    for kind, values, top in (("brightness", light.brightness, 255.0), ("contrast", light.contrast, 127.5)):
        edges = np.linspace(0, top, 65)
        found = [values[dataset.labels == c.index] for c in classes]
        low, median, high = np.array([np.quantile(own, _QUANTILES) for own in found]).T
        counts = [np.histogram(own, edges)[0] for own in found]
        texts, notes = [f"{m:.0f}" for m in median], [f"{a:.0f} – {b:.0f}" for a, b in zip(low, high, strict=True)]
        shapes = [(n / n.max()).tolist() for n in counts]
        columns.append(Column(kind, median.tolist(), texts, low.tolist(), high.tolist(), shapes, notes, (0.0, top)))
    title = "Median and middle 90 % of each class, above them the distribution from 0 to 255 and 0 to 127"
    names, colors = [c.name for c in classes], [c.color for c in classes]
    _show(page, folder, Bars(title, "class", names, columns, colors=colors), "brightness-contrast")


def _sizes(page: Page, folder: Path, dataset: Dataset) -> None:
    page.section("Sizes", "Height, width and channels of the images, in pixels.")
    shapes, counts = np.unique(dataset.shapes, axis=0, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:12]
    if len(shapes) > 1:
        edges = np.geomspace(max(1, dataset.shapes[:, :2].min() * 0.9), dataset.shapes[:, :2].max() * 1.1, 60)
        middles = np.sqrt(edges[:-1] * edges[1:]).tolist()
        lines = [
            Series(name, np.histogram(dataset.shapes[:, column], edges)[0].tolist(), color)
            for column, name, color in ((1, "width", "#3c55c8"), (0, "height", "#b45309"))
        ]
        _show(page, folder, Lines("Sizes", middles, lines, "pixels", "samples", x_log=True), "sizes")
    rows: list[list[object]] = [
        [f"{h} x {w}", "RGB" if c == 3 else "grey", n, percent(n / len(dataset))]
        for (h, w, c), n in zip(shapes[most].tolist(), counts[most].tolist(), strict=True)
    ]
    rest = int(counts.sum() - counts[most].sum())
    if rest:
        rows.append([f"{len(shapes) - len(most):,} other sizes", "", rest, percent(rest / len(dataset))])
    page.table(["height x width", "colour", "samples", "share"], rows)


def _slug(c: _Class) -> str:
    """A file name's part for a class, whatever its name is."""
    if c.index < 0:
        return "no-label"
    return f"{c.index}-{re.sub('[^a-z0-9]+', '-', c.name.lower()).strip('-')[:40]}".rstrip("-")


def _show(page: Page, folder: Path, chart: Bars | Lines, name: str) -> None:
    write_bytes(folder / f"{name}.png", figure_png(draw(chart)))
    page.chart(chart)
