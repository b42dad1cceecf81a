"""Runs a mien.toml: each stage whose job changed, in order. A killed run is resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from mien.errors import OutputError, RecipeError, require_extra
from mien.files import write_text
from mien.pages import Page
from mien.pipeline.plan import Stage, chosen_stages, make_plan
from mien.pipeline.settings import read_settings
from mien.pipeline.state import INDEX, Context, Job, StageRecord, StageResult, Store, file_checksum
from mien.reporting import Progress, warnings_to


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """The result of a pipeline, stage by stage. page: OUT/index.html; None after a dry run."""

    stages: tuple[StageResult, ...]
    out: Path
    page: Path | None

    @property
    def problems(self) -> int:
        """The number of records that could not be used, in all stages."""
        return sum(stage.record.outcome.problems for stage in self.stages if stage.record)


@dataclass(frozen=True, slots=True)
class Listener:
    """Callbacks of a pipeline.

    on_begin: called before a stage runs, with its name and why it runs. on_end: called with the result of each stage,
    in order. progress: called with the progress of the current stage. log: called with lines worth reading.
    """

    on_begin: Callable[[str, str], None] = lambda *_: None
    on_end: Callable[[StageResult], None] = lambda _: None
    progress: Progress = lambda *_: None
    log: Callable[[str], None] = lambda _: None


def run_pipeline(
    path: Path,
    *,
    only: str | None = None,
    start: str | None = None,
    dry_run: bool = False,
    force: bool = False,
    listener: Listener | None = None,
) -> PipelineResult:
    """Runs the stages of a mien.toml whose settings, inputs or mien changed since they were last finished.

    only: run this stage only. start: run this stage and those after it. The others are left as they are, even if out of
    date. `train` selects all runs, `train/NAME` one. force: run the chosen stages even if nothing changed. dry_run:
    report what would run, and write nothing. Every stage has a folder in OUT, which is replaced when its new content
    is complete; a killed run resumes inside the stage. Only one run at a time may use an OUT.

    Raises RecipeError for a wrong file or name, or for a missing output of a stage that was not chosen;
    MissingExtraError before any stage runs; otherwise what the stages raise.
    """
    if only is not None and start is not None:
        raise RecipeError("--only and --from exclude each other; give one of them")
    listener = listener or Listener()
    settings = read_settings(path)
    plan = make_plan(settings)
    chosen = {stage.name for stage in chosen_stages(plan, only=only, start=start, file=settings.file)}
    store = Store(settings.out)
    context = Context(listener.progress, listener.log, settings.general.device, settings.general.threads)
    if not dry_run:
        if chosen:  # said now, not after hours of work
            require_extra("data", "running a pipeline", "pyarrow", "matplotlib")
        if any(stage.needs_training for stage in plan if stage.name in chosen):
            require_extra("train", "training", "torch", "safetensors", "onnx", "onnxscript")
        store.begin()
    results: list[StageResult] = []
    stale: set[str] = set()
    for stage in plan:
        reason = _reason(stage, store, stale)
        if stage.name not in chosen:
            result = StageResult(stage.name, "left", reason, store.record(stage.name))
        elif not reason and not force:
            result = StageResult(stage.name, "done", "", store.record(stage.name))
        elif dry_run:
            _require_inputs(stage, store, stale, settings.file)
            stale.add(stage.name)
            result = StageResult(stage.name, "would run", reason or "forced", store.record(stage.name), stage.inputs)
        else:
            _require_inputs(stage, store, stale, settings.file)
            listener.on_begin(stage.name, reason or "forced")
            record = _run(stage, store, context)
            for other in _after(stage.name, plan):
                store.discard(other)  # built from what is now replaced
            result = StageResult(stage.name, "ran", reason or "forced", record)
        results.append(result)
        listener.on_end(result)
    if dry_run:
        return PipelineResult(tuple(results), settings.out, None)
    store.tidy()
    page = settings.out / INDEX
    write_overview(page, settings.general.name, results)
    return PipelineResult(tuple(results), settings.out, page)


def _run(stage: Stage, store: Store, context: Context) -> StageRecord:
    job = _job(stage, store)
    folder = store.workplace(stage.name, job.key)
    started = time.monotonic()
    with warnings_to(context.log):
        outcome = stage.run(folder, context)
    return store.finish(stage.name, job, outcome, round(time.monotonic() - started, 2))


def _job(stage: Stage, store: Store) -> Job:
    files = {f"file {path.name}": file_checksum(path) for path in stage.files}
    return Job(stage.settings, {**{name: store.checksum(name) for name in stage.inputs}, **files})


def _reason(stage: Stage, store: Store, stale: set[str]) -> str:
    """Why a stage must run; '' if it is up to date."""
    record = store.record(stage.name)
    if record is None:
        return "its output is gone" if store.remembers(stage.name) else "never ran"
    before = [name for name in stage.inputs if name in stale]
    if before:
        return f"after {', '.join(before)}"
    missing = [name for name in stage.inputs if store.record(name) is None]
    if missing:
        return f"the output of {', '.join(missing)} is gone"
    return _difference(_job(stage, store), record.job)


def _difference(now: Job, before: Job) -> str:
    """What changed between two jobs; '' if nothing did."""
    if now.key == before.key:
        return ""
    if now.version != before.version:
        return f"made by mien {before.version}, this is {now.version}"
    settings = _differing(now.settings, before.settings)
    if settings:
        return f"settings changed: {', '.join(settings)}"
    return f"input changed: {', '.join(_differing(now.inputs, before.inputs))}"


def _differing(now: Mapping[str, Any], before: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys whose values differ."""
    found = []
    for key in dict.fromkeys((*now, *before)):
        one, other = now.get(key), before.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _differing(one, other, f"{prefix}{key}.")
        elif one != other:
            found.append(f"{prefix}{key}")
    return found


def _after(name: str, plan: Sequence[Stage]) -> list[str]:
    found = {name}
    for stage in plan:
        if found & set(stage.inputs):
            found.add(stage.name)
    return sorted(found - {name})


def _require_inputs(stage: Stage, store: Store, stale: set[str], file: Path) -> None:
    for name in stage.inputs:
        if name not in stale and store.record(name) is None:
            raise RecipeError(
                f"'{stage.name}' needs the output of '{name}', which is missing; run it first:  "
                f"mien run {file} --from {name}"
            )


_STATES = {"done": "done before", "ran": "done", "would run": "to be done", "left": "not run"}


def write_overview(path: Path, title: str, results: Sequence[StageResult]) -> None:
    """Writes OUT/index.html. Raises OutputError."""
    page = Page(title, _verdict(results), kind="Pipeline")
    page.section("Stages", "Samples before and after, records that could not be used, and seconds of the last session.")
    page.table(("stage", "in", "out", "problems", "seconds", "state", "outcome"), [_row(one) for one in results])
    page.section("Reports")
    for one in results:
        reports = one.record.outcome.reports if one.record else ()
        if reports:
            page.heading(one.name)
            page.links([(report.title, f"{one.name}/{report.path}") for report in reports])
    page.write(path)


def _verdict(results: Sequence[StageResult]) -> str:
    done = [one for one in results if one.record is not None]
    notes = [one.record.outcome.note for one in done if one.record and one.record.outcome.note]
    text = f"{len(done)} of {len(results)} stages are done."
    return f"{text} The last one: {notes[-1]}." if notes else text


def _row(one: StageResult) -> tuple[object, ...]:
    state = _STATES[one.state] + (f" ({one.reason})" if one.state == "left" and one.reason else "")
    if one.record is None:
        return (one.name, None, None, None, None, state, "")
    outcome = one.record.outcome
    seconds = f"{one.record.seconds:,.1f}"
    return (one.name, outcome.samples_in, outcome.samples_out, outcome.problems or None, seconds, state, outcome.note)


KINDS = ("fer2013", "folders", "toy")


def starter(kind: str) -> str:
    """The commented mien.toml for a kind of data, one of `KINDS`."""
    return (resources.files("mien.pipeline.templates") / f"{kind}.toml").read_text("utf-8")


def write_starter(path: Path, *, kind: str) -> None:
    """Writes a commented mien.toml. Raises OutputError if the file exists or can't be written."""
    path = Path(path)
    if path.exists() or path.is_symlink():
        raise OutputError(f"{path}: exists already; give another name")
    write_text(path, starter(kind))
