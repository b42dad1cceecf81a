"""Describes a whole data set: the number of faces of each class, samples, mean faces, light and sizes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.crop import fit_face
from mien.data.dataset import CHUNK, Dataset, split_rank
from mien.data.readers import as_dataset
from mien.errors import DataError
from mien.files import atomic_folder, write_bytes
from mien.labels import color_rgb
from mien.pages import Page, contact_sheet, figure_png, figure_text, letterbox, new_figure, png
from mien.reporting import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CLASSES = 40
"""The most classes that are shown, the largest first."""

_SPLIT_COLORS = {"train": "#3b6fb6", "validation": "#e0a030", "test": "#4f9d69", "": "#8a919c"}
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


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
    color: tuple[float, float, float]


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
        page = Page(Path(dataset.name).name or dataset.name, _intro(dataset, splits))
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
            red, green, blue = (n / 255 for n in color_rgb(names[label]))
            found.append(_Class(names[label], label, counts[label], (red, green, blue)))
    return found, len(counts) - len(found)


def _intro(dataset: Dataset, splits: Sequence[str]) -> str:
    found = dataset.counts()
    parts = [f"{sum(found[s].values()):,} of {s or 'no split'}" for s in splits]
    voted = ""
    if dataset.votes is not None:
        voted = f" Raters' votes: {int((dataset.votes.sum(1) > 0).sum()):,} samples."
    steps = " > ".join(step.command for step in dataset.steps)
    return f"{len(dataset):,} samples: {', '.join(parts)}.{voted}" + (f"\n\nMade by: {steps}." if steps else "")


# The sections


def _counts(page: Page, folder: Path, dataset: Dataset, classes: list[_Class], splits: Sequence[str]) -> None:
    page.section("Classes", "How many samples of each class there are, and what share of each split they are.")
    found = dataset.counts()
    counts = np.array([[found[s].get("" if c.index < 0 else c.name, 0) for s in splits] for c in classes])
    totals = np.array([sum(found[s].values()) for s in splits])
    names = [s or "no split" for s in splits]
    header = ["class", *(heading for name in names for heading in (name, "share")), "all", "share"]
    rows = [
        [c.name, *_with_shares(counts[i], totals), c.count, _percent(c.count / len(dataset))]
        for i, c in enumerate(classes)
    ]
    rows.append(["all", *_with_shares(totals, totals), len(dataset), _percent(1)])
    figure = new_figure(9, 1.2 + 0.36 * len(classes))
    left, right = figure.subplots(1, 2, sharey=True)
    places, begin, height = np.arange(len(classes)), np.zeros(len(classes)), 0.8 / len(splits)
    for j, (split, name) in enumerate(zip(splits, names, strict=True)):
        color = _SPLIT_COLORS.get(split, "#8a6bb0")
        left.barh(places, counts[:, j], left=begin, color=color, label=figure_text(name))
        right.barh(places - 0.4 + height * (j + 0.5), 100 * counts[:, j] / totals[j], height, color=color)
        begin = begin + counts[:, j]
    left.set_yticks(places, [figure_text(c.name) for c in classes])
    left.invert_yaxis()
    left.set_xlabel("samples")
    right.set_xlabel("share of the split in percent")
    _tidy(left, right)
    figure.legend(loc="outside upper center", ncols=len(splits), frameon=False)
    _show(
        page, folder, figure, "counts", "Bars: samples of each class, stacked by split, and their share of each split"
    )
    page.table(header, rows)


def _with_shares(counts: NDArray[Any], totals: NDArray[Any]) -> list[object]:
    return [cell for n, total in zip(counts, totals, strict=True) for cell in (n, _percent(n / total))]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


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
    figure = new_figure(9, 1.2 + 0.5 * len(classes))
    kinds = (("brightness", light.brightness, 255.0), ("contrast", light.contrast, 127.5))
    rows: list[list[object]] = [[c.name] for c in classes]
    for axes, (kind, values, top) in zip(figure.subplots(1, 2, sharey=True), kinds, strict=True):
        edges = np.linspace(0, top, 65)
        middles = (edges[:-1] + edges[1:]) / 2
        for i, c in enumerate(classes):
            of_class = values[dataset.labels == c.index]
            low, *box, high = np.quantile(of_class, _QUANTILES)
            rows[i] += [f"{box[1]:.0f}", f"{low:.0f} – {high:.0f}"]
            counts = np.histogram(of_class, edges)[0]
            axes.fill_between(middles, i, i - 0.85 * counts / counts.max(), color=c.color, alpha=0.75, lw=0, step="mid")
            axes.plot([low, high], [i, i], color="#444", lw=1)
            axes.plot([box[1]], [i], "|", color="#000", ms=9, mew=2)
        axes.set_xlabel(f"{kind}; bar: median, line: middle 90 %")
        axes.set_yticks(range(len(classes)), [figure_text(c.name) for c in classes])
        axes.set_ylim(len(classes) - 0.7, -1)
        axes.set_xlim(0, top)
        _tidy(axes)
    _show(page, folder, figure, "brightness-contrast", "Distributions of brightness and contrast for each class")
    page.table(["class", "brightness, median", "5 % – 95 %", "contrast, median", "5 % – 95 %"], rows)


def _sizes(page: Page, folder: Path, dataset: Dataset) -> None:
    page.section("Sizes", "Height, width and channels of the images, in pixels.")
    shapes, counts = np.unique(dataset.shapes, axis=0, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:12]
    if len(shapes) > 1:
        figure = new_figure(9, 3)
        axes = figure.subplots()
        edges = np.geomspace(max(1, dataset.shapes[:, :2].min() * 0.9), dataset.shapes[:, :2].max() * 1.1, 60)
        for column, name, color in ((1, "width", "#3b6fb6"), (0, "height", "#e0a030")):
            axes.hist(dataset.shapes[:, column], edges.tolist(), histtype="step", lw=1.5, color=color, label=name)
        axes.set_xscale("log")
        ticks = np.unique(np.geomspace(edges[0], edges[-1], 7).round()).tolist()
        axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("pixels")
        axes.set_ylabel("samples")
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
        _tidy(axes)
        _show(page, folder, figure, "sizes", "How many samples have which width and height")
    rows: list[list[object]] = [
        [f"{h} x {w}", "RGB" if c == 3 else "grey", n, _percent(n / len(dataset))]
        for (h, w, c), n in zip(shapes[most].tolist(), counts[most].tolist(), strict=True)
    ]
    rest = int(counts.sum() - counts[most].sum())
    if rest:
        rows.append([f"{len(shapes) - len(most):,} other sizes", "", rest, _percent(rest / len(dataset))])
    page.table(["height x width", "colour", "samples", "share"], rows)


def _slug(c: _Class) -> str:
    """A file name's part for a class, whatever its name is."""
    if c.index < 0:
        return "no-label"
    return f"{c.index}-{re.sub('[^a-z0-9]+', '-', c.name.lower()).strip('-')[:40]}".rstrip("-")


def _show(page: Page, folder: Path, figure: Figure, name: str, alt: str) -> None:
    data = figure_png(figure)
    write_bytes(folder / f"{name}.png", data)
    page.figure(data, alt)


def _tidy(*several: Any) -> None:
    for axes in several:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
