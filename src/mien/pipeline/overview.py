"""The page of a pipeline: the result of each stage, with links to its reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mien.pages import Page
from mien.pipeline.state import StageResult

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
