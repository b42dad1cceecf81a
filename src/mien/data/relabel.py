"""Applies decisions on labels: a CSV, or what Label Studio or FiftyOne export, as `mien data relabel` takes them.

A decision names its sample by `source`, as the manifest and an audit's files do, or by the file name that
`mien data export` gave it.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.arrays import write_arrays
from mien.data.dataset import Dataset, Selection
from mien.data.flags import source_text
from mien.data.readers import as_dataset
from mien.data.reading.label_reading import DROPPED, class_order
from mien.data.reading.label_studio import choices_of
from mien.data.source import text_column
from mien.data.writing.files import file_names
from mien.errors import DataError
from mien.files import literal
from mien.labels import canonical
from mien.reporting import Progress

BEFORE, REASON = "label_before", "label_reason"
"""Columns of the manifest: the label before it was changed, and why; '' where it was not."""

_NEW = ("new_label", "new label", "newlabel", "label")


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of a file of decisions.

    where: for messages. source, name, row: how it names its sample; '' and None where it does not. new: the label, or
    `-` to drop the sample. old, split: what the sample had, to be checked; '' where it is not given.
    """

    where: str
    new: str
    source: str = ""
    name: str = ""
    row: int | None = None
    old: str = ""
    split: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Relabelled:
    """What relabelling changed.

    changes: (old label, new label) -> samples. confirmed: decisions for the label that the sample had.
    """

    dataset: Dataset
    samples: int
    changes: Mapping[tuple[str, str], int]
    dropped: int
    confirmed: int


def relabel_dataset(
    data: Dataset | str | Path,
    fixes: str | Path,
    out: str | Path,
    *,
    new_classes: bool = False,
    dry_run: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Relabelled:
    """Writes a data set with corrected labels; the manifest keeps each old label, the reason and the step.

    Args:
        data: Any data set that mien reads, or an opened one.
        fixes: A CSV with the columns source, new_label and, if wanted, label (the old one, which is checked), reason,
            row; an edited manifest.csv; Label Studio's JSON, JSON-MIN or CSV; FiftyOne's labels.json or samples.json,
            or a folder with them. The new label `-` drops the sample.
        out: The new folder.
        new_classes: Whether a new label may be a class that the data set does not have.
        dry_run: Check and count; write nothing.
        resume: Resume a killed run.
        progress: Receives the number of samples that are done, and the total.

    Returns:
        Relabelled: the new data set, and what was changed.

    Raises:
        DataError: A decision fits no sample, several, or another label; two decisions contradict each other.
        OutputError: `out` exists already, or touches the data.

    Examples:
        >>> import tempfile, mien
        >>> from pathlib import Path
        >>> from mien.data.toy import write_toy_folders
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_toy_folders(folder / "toy", train=14, validation=7, test=0)
        >>> data = mien.load_dataset(folder / "toy")
        >>> _ = (folder / "fixes.csv").write_text(f"source,new_label,reason\\n{data.sources[0]},happy,seen by me\\n")
        >>> mien.relabel_dataset(data, folder / "fixes.csv", folder / "fixed").dataset.label_name(0)
        'happy'
    """
    fixes, out = Path(fixes), Path(out)
    dataset = as_dataset(data, out=out)
    decisions = [one for place in _files(fixes) for one in _read(place)]
    if not decisions:
        raise DataError(f"{fixes}: holds no decision; expected a CSV with the columns source, new_label, reason")
    chosen = _matched(dataset, decisions)
    changed = {row: one for row, one in chosen.items() if _class(one.new, dataset) != dataset.label_name(row)}
    changes = Counter((dataset.label_name(row), _class(one.new, dataset)) for row, one in changed.items())
    fixed, staying = _corrected(dataset, changed, new_classes=new_classes)
    if not dry_run:
        settings = {
            "fixes": fixes.name,
            "sha256": hashlib.sha256(b"".join(place.read_bytes() for place in _files(fixes))).hexdigest(),
            "changes": {f"{a or 'no label'} -> {b}": n for (a, b), n in sorted(changes.items())},
        }
        selection = Selection(fixed, staying)
        fixed = write_arrays(selection, out, command="relabel", settings=settings, resume=resume, progress=progress)
    dropped = int((~staying).sum())
    return Relabelled(fixed, len(dataset), changes, dropped, len(chosen) - len(changed))


def _corrected(
    dataset: Dataset, changed: Mapping[int, Decision], *, new_classes: bool
) -> tuple[Dataset, NDArray[np.bool_]]:
    """The data set with the new labels, and which samples stay, bool (N,)."""
    old = [dataset.label_name(row) for row in range(len(dataset))]
    names = _label_names(dataset, changed, new_classes=new_classes)
    label, staying = np.array([names.index(n) if n else -1 for n in old], np.int64), np.ones(len(dataset), bool)
    columns = {key: dataset.columns.get(key, text_column([""] * len(dataset))).copy() for key in (BEFORE, REASON)}
    for row, one in changed.items():
        staying[row] = one.new != DROPPED
        label[row] = names.index(_class(one.new, dataset)) if staying[row] else label[row]
        columns[BEFORE][row], columns[REASON][row] = old[row], one.reason
    return replace(dataset.with_columns(label=label, **columns), label_names=names), staying


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted((*path.rglob("labels.json"), *path.rglob("samples.json")))
    if not found:
        raise DataError(f"{path}: has neither labels.json nor samples.json of FiftyOne; give the file of decisions")
    return found


def _read(path: Path) -> Iterator[Decision]:
    try:
        text = path.read_text("utf-8-sig")
        data = json.loads(text) if text.lstrip()[:1] in ("[", "{") else None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read ({error}); expected CSV or JSON in UTF-8") from error
    if data is None:
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        return _of_table(csv.DictReader(text.splitlines(), delimiter=delimiter), path)
    if isinstance(data, dict):
        return _of_fiftyone(data, path)
    tasks = [one for one in data if isinstance(one, dict)]
    if tasks and all("data" in one and "annotations" in one for one in tasks):
        return _of_tasks(tasks, path)
    return _of_rows(((f"{path}, row {i}", one) for i, one in enumerate(tasks, start=1)), path)


def _of_table(table: csv.DictReader[str], path: Path) -> Iterator[Decision]:
    return _of_rows(((f"{path}:{table.line_num}", {k: literal(v) for k, v in row.items()}) for row in table), path)


def _of_rows(rows: Iterator[tuple[str, Mapping[str, Any]]], path: Path) -> Iterator[Decision]:
    """Rows with a source and a new label: our CSV, a manifest, Label Studio's CSV and JSON-MIN."""
    for where, row in rows:
        cells = {str(key).strip().lower(): value for key, value in row.items() if key is not None}
        column = next((name for name in _NEW if name in cells), "")
        if "source" not in cells or not column:
            raise DataError(
                f"{path}: has the columns {', '.join(cells)[:200]}; expected source and new_label (or label), and, if "
                "wanted, reason"
            )
        new = cells[column]
        new = new.get("choices", "") if isinstance(new, dict) else new
        new = new[0] if isinstance(new, list) and len(new) == 1 else new
        if not isinstance(new, str) or not new.strip():
            continue  # no decision yet
        row_text = str(cells.get("row") or "")
        yield Decision(
            where, new.strip(), str(cells["source"]), row=int(row_text) if row_text.isdecimal() else None,
            old=str(cells.get("label") or "") if column != "label" else "", split=str(cells.get("split") or ""),
            reason=str(cells.get("reason") or ""),
        )  # fmt: skip


def _of_tasks(tasks: list[dict[str, Any]], path: Path) -> Iterator[Decision]:
    """Label Studio's JSON: the choice of the annotators, who have to agree."""
    for number, task in enumerate(tasks, start=1):
        where = f"{path}, task {task.get('id', number)}"
        source = task["data"].get("source") if isinstance(task["data"], dict) else None
        if not isinstance(source, str):
            raise DataError(
                f"{where}: has no data.source; expected tasks that  mien data export --as label-studio  wrote"
            )
        said = choices_of(task, where)
        if len(said) > 1:
            raise DataError(f"{where}: its annotators disagree: {', '.join(sorted(said))}; let them agree on one")
        for new in said:
            yield Decision(where, new, source, reason=str(task["data"].get("reason") or "Label Studio"))


def _of_fiftyone(data: Mapping[str, Any], path: Path) -> Iterator[Decision]:
    if isinstance(data.get("labels"), dict):
        named = [(f"{path}, {name}", name, label) for name, label in data["labels"].items()]
    elif isinstance(data.get("samples"), list):
        paths = [str(one.get("filepath")).replace("\\", "/") for one in data["samples"]]
        named = [
            (f"{path}, sample {i}", PurePosixPath(place).stem, one.get("ground_truth"))
            for i, (place, one) in enumerate(zip(paths, data["samples"], strict=True), start=1)
        ]
    else:
        raise DataError(f"{path}: is JSON of no known kind; expected Label Studio's, or FiftyOne's labels or samples")
    classes = data.get("classes") or []
    for where, name, target in named:
        label = target.get("label") if isinstance(target, dict) else target
        new = classes[label] if isinstance(label, int) and 0 <= label < len(classes) else label
        if isinstance(new, str) and new:
            yield Decision(where, new, name=name, reason="FiftyOne")


def _matched(dataset: Dataset, decisions: list[Decision]) -> dict[int, Decision]:
    """Row -> its decision. Raises DataError for one that fits no sample, or not one alone."""
    by_source: dict[str, list[int]] = {}
    for row in range(len(dataset)):
        by_source.setdefault(source_text(dataset, row), []).append(row)
    by_name = {name: row for row, name in enumerate(file_names(dataset))} if any(d.name for d in decisions) else {}
    found: dict[int, Decision] = {}
    for one in decisions:
        rows = by_source.get(one.source, []) if one.source else [by_name[one.name]] if one.name in by_name else []
        rows = rows if one.row is None else [row for row in rows if row == one.row]
        if len(rows) != 1:
            why = f"{len(rows)} samples have this source; name one with a column row" if rows else "is no sample of it"
            raise DataError(f"{one.where}: '{one.source or one.name}': {why}; are the decisions for {dataset.name}?")
        row = rows[0]
        for what, given, own in (
            ("label", _class(one.old, dataset) if one.old else "", dataset.label_name(row)),
            ("split", one.split, str(dataset.splits[row])),
        ):
            if given and given != own:
                raise DataError(
                    f"{one.where}: '{one.source}' has the {what} '{own or 'none'}' in {dataset.name}, here '{given}'; "
                    "only labels are changed, and only those that were looked at"
                )
        before = found.get(row)
        if before and _class(before.new, dataset) != _class(one.new, dataset):
            raise DataError(f"{one.where}: '{one.new}' contradicts '{before.new}' of {before.where}; keep one of them")
        found[row] = one
    return found


def _class(written: str, dataset: Dataset) -> str:
    return written if written == DROPPED or written in dataset.label_names else canonical(written)


def _label_names(dataset: Dataset, changed: Mapping[int, Decision], *, new_classes: bool) -> tuple[str, ...]:
    new = {_class(one.new, dataset): one.where for one in changed.values() if one.new != DROPPED}
    unknown = sorted(set(new) - set(dataset.label_names))
    if unknown and not new_classes:
        raise DataError(
            f"{new[unknown[0]]}: the new label '{unknown[0]}' is no class of {dataset.name}; it has "
            f"{', '.join(dataset.label_names)}; add classes with --new-classes"
        )
    return class_order({*dataset.label_names, *unknown}) if unknown else dataset.label_names
