"""Imports a data set of any layout: as arrays of mien, or as folders or Parquet for other programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from mien.data.dataset import Dataset
from mien.data.export import write_source
from mien.data.plausibility import MIN_FACES, Plausibility, check_source
from mien.data.readers import open_source
from mien.data.reading.label_reading import Labels
from mien.data.reading.opening import Opened
from mien.data.reading.reading import Choices, make_choices
from mien.data.settings import Kept
from mien.data.source import Problem, split_rank
from mien.errors import DataError
from mien.files import require_apart
from mien.labels import ORDERS
from mien.reporting import Progress

FORMATS = get_args(Kept)


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import would write. reading: how the source is read, in lines. counts: split -> class -> samples.

    problems: what could not be used.
    """

    reading: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    problems: tuple[Problem, ...]

    @property
    def samples(self) -> int:
        """How many samples there would be."""
        return sum(sum(of_split.values()) for of_split in self.counts.values())


def import_dataset(
    source: str | Path,
    out: str | Path,
    *,
    as_: str = "arrays",
    labels: str = "",
    split_map: str = "",
    label_column: str = "",
    image_column: str = "",
    root: str | Path | None = None,
    ferplus: str | Path | None = None,
    choices: Choices | None = None,
    check: bool = True,
    resume: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Writes a data set of any layout to a new folder. Records that cannot be used are in OUT/problems.csv.

    Args:
        source: A folder, archive or file.
        out: The new folder. It appears when it is complete.
        as_: "arrays" of mien, "folders" of images, "npy", or "parquet".
        labels, split_map, label_column, image_column, root, ferplus: As for `load_dataset`.
        choices: These six, parsed, as the commands pass them.
        check: Whether a shipped model judges on a sample of the faces if the labels are plausible.
        resume: Whether a killed import is resumed.
        progress: Called with the number of records done and the total.

    Returns:
        The new data set; its last step has what was chosen and how the source was read.

    Raises:
        DataError: The source cannot be read, or an assumed order of its numbers fits far worse than another.
        OutputError: `out` is there already, or touches the source.
        MissingExtraError: An extra is not installed.

    Examples:
        >>> import tempfile, mien
        >>> from mien.data.toy import write_toy_folders
        >>> folder = tempfile.mkdtemp()
        >>> write_toy_folders(folder + "/toy", train=14, validation=7, test=0)
        >>> len(mien.import_dataset(folder + "/toy", folder + "/faces", check=False))
        21
    """
    source, out = Path(source), Path(out)
    choices = choices or make_choices(
        labels=labels, split_map=split_map, label_column=label_column, image_column=image_column, root=root,
        ferplus=ferplus,
    )  # fmt: skip
    if as_ not in FORMATS:
        raise DataError(f"--as {as_}: unknown; expected {', '.join(FORMATS)}")
    require_apart(source, out)
    opened = open_source(source, choices=choices)
    lines = opened.reading.lines()
    if check:
        lines += _plausible(opened, source)
    settings = {"source": source.resolve().name, **choices.to_dict(), "reading": lines}
    return write_source(opened, out, as_=as_, command="import", settings=settings, resume=resume, progress=progress)


def plan_import(
    source: Path, *, choices: Choices | None = None, check: bool = True, progress: Progress | None = None
) -> ImportPlan:
    """What `import_dataset` would do: all files are opened and read, nothing is written. Raises DataError."""
    opened = open_source(Path(source), choices=choices)
    lines = opened.reading.lines() + (_plausible(opened, Path(source)) if check else [])
    names = (*opened.label_names, "")
    counts: Counter[tuple[str, str]] = Counter()
    problems: list[Problem] = []
    done = 0
    for chunk in opened.chunks():
        counts.update(
            (split, names[label])
            for split, label in zip(chunk.columns["split"].tolist(), chunk.columns["label"].tolist(), strict=True)
        )
        problems += chunk.problems
        done += chunk.consumed
        if progress:
            progress(done, opened.total)
    if not counts:
        first = f"; first: {problems[0].source}: {problems[0].reason}" if problems else ""
        raise DataError(f"{source}: no sample can be read of {done:,}{first}")
    table: dict[str, dict[str, int]] = {}
    for split in sorted({s for s, _ in counts}, key=split_rank):
        table[split] = {name: counts[split, name] for name in names if name or counts[split, ""]}
    return ImportPlan(tuple(lines), table, tuple(problems))


def _plausible(opened: Opened, source: Path) -> list[str]:
    """What a shipped model says of the labels, as lines of the reading."""
    labels = opened.reading.labels
    return [f"check    {line}" for line in judge_import(check_source(opened, labels), labels, str(source))]


def judge_import(found: Plausibility, labels: Labels, where: str = "") -> tuple[str, ...]:
    """What an import says of its labels: lines of warnings, none where all is well.

    where: names the data set in errors. Raises DataError where the order of the numbers was assumed and another agrees
    far better.
    """
    if not found.about or (found.can_judge and found.better is None):
        return ()
    if found.better is None:  # of a few faces in folders with names there is nothing to say
        return (found.sentence(),) if labels.assumed or found.n >= MIN_FACES else ()
    if labels.assumed:
        raise DataError(
            f"{where or 'the data set'}: its numbers are hardly in {ORDERS[labels.assumed][0]}: {found.sentence()}; "
            f"import it with  --labels {found.better.labels},  or, if you know better, with  --labels {labels.assumed}"
        )
    renamed = any("as --labels says" in line for line in labels.said) and not labels.numbers
    advice = "correct --labels" if renamed else f"--labels {found.better.labels} would read them so"
    return (f"are the labels right? {found.sentence()}; {advice}",)
