"""The results of tuning as data, as a table and as a page."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mien.config import to_toml
from mien.evaluation.paired import McNemar
from mien.files import csv_text, write_text
from mien.pages import Bars, Column, Lines, Page, Series, Tile
from mien.pages.charts import ACCENT, GREY, series_color
from mien.pages.text import percent, percent_span
from mien.training.recipe import Recipe

BEST_FILE, TRIALS_FILE, PAGE_FILE = "best.toml", "trials.csv", "tune.html"


@dataclass(frozen=True, slots=True)
class Tried:
    """One trial. score: the highest mean validation accuracy over the heads; None where there is none (yet).

    state: `complete`; `pruned`, given up early, as it did worse than most by then; `failed`, as `problem` says; or
    `running`, in this moment by another process. changes: its settings, as `key=value`.
    """

    number: int
    state: Literal["complete", "pruned", "failed", "running"]
    score: float | None
    epochs: int
    changes: tuple[tuple[str, str], ...]
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """The results of tuning. best: the best trial's recipe, its score and number.

    score_95: the score's 95 % interval. second: the number and score of the next best, and the test between the two on
    their validation faces. Both are None for trials of two heads, whose score is a mean, and where files are missing.
    importances: each key's share of the variation between trials, the largest first; empty if there
    are too few trials.
    """

    best: Recipe
    score: float
    number: int
    trials: tuple[Tried, ...]
    importances: tuple[tuple[str, float], ...]
    score_95: tuple[float, float] | None = None
    second: tuple[int, float, McNemar] | None = None


def write_tuned(tuned: Tuned, out: Path) -> None:
    """Writes best.toml, trials.csv, tune.html, and its charts into figures/. Raises MissingExtraError, OutputError."""
    page = Page(f"{tuned.best.name}: {len(tuned.trials)} trials", _verdict(tuned), kind="Tuning")
    page.tiles(_tiles(tuned))
    if tuned.importances:
        page.section(
            "What matters", "Each key's share of what decides between good and bad trials (PED-ANOVA, Watanabe 2023)."
        )
        page.chart(importance_chart(tuned.importances), "importance")
        page.section(
            "Settings and scores", "A line is a trial: the stronger, the better its score. The best one is orange."
        )
        page.chart(parallel_chart(tuned), "parallel")
        page.chart(key_charts(tuned), "keys")
    page.section("Course", "The best of many is flattered by the faces that it was chosen on: measure it on test.")
    page.chart(history_chart(tuned.trials), "history")
    page.section("Trials", "The best first.")
    keys = _keys(tuned.trials)
    rows = [
        (t.number, t.state, percent(t.score), t.epochs, *(dict(t.changes).get(k, "") for k in keys), t.problem)
        for t in sorted(tuned.trials, key=lambda t: (-(t.score or 0.0), t.number))
    ]
    if not any(t.problem for t in tuned.trials):
        rows = [row[:-1] for row in rows]
    page.table(("trial", "state", "validation", "epochs", *keys, "problem")[: len(rows[0])], rows)
    page.write_figures(out / "figures")
    write_text(out / BEST_FILE, to_toml(tuned.best))
    write_text(out / TRIALS_FILE, _csv(tuned.trials))
    page.write(out / PAGE_FILE)


def history_chart(trials: Sequence[Tried]) -> Lines:
    """Every trial's score by its number, and the best so far as a line."""
    ordered = sorted(trials, key=lambda t: t.number)
    colors = {"complete": ACCENT, "pruned": GREY, "failed": series_color(6), "running": series_color(2)}
    lines = [
        Series(state, [t.score if t.state == state else None for t in ordered], color, "points")
        for state, color in colors.items()
        if any(t.state == state and t.score is not None for t in ordered)
    ]
    best, tops = -math.inf, []
    for t in ordered:
        best = max(best, t.score if t.state == "complete" and t.score is not None else -math.inf)
        tops.append(best)
    lines.append(Series("best so far", tops, series_color(1)))
    return Lines("Score of every trial", [t.number for t in ordered], lines, "trial", "validation accuracy, 0 to 1")


def importance_chart(importances: Sequence[tuple[str, float]]) -> Bars:
    """Each key's importance, the largest first."""
    values = [value for _, value in importances]
    column = Column("importance", values, [percent(v) for v in values], range=(0, max(*values, 1e-9)), bar=True)
    return Bars("Importance of each key, in percent of all", "key", [key for key, _ in importances], [column])


def parallel_chart(tuned: Tuned) -> Lines:
    """A line for each complete trial across the keys to its score, all from the lowest to the highest value."""
    done = sorted(_done(tuned), key=lambda t: t.score or 0.0)
    keys = [key for key, _ in tuned.importances]
    placed = [_placed([dict(t.changes)[key] for t in done]) for key in keys]
    scores = _placed([f"{100 * (t.score or 0.0):.1f}" for t in done])
    axes = [*zip(keys, placed, strict=True), ("score, %", scores)]
    short = {key: key.rpartition(".")[2] for key in keys}
    twice = {name for name in short.values() if list(short.values()).count(name) > 1}
    called = {key: key if name in twice else name for key, name in short.items()}
    names = [f"{called.get(key, key)} {low} – {high}" for key, (_, low, high) in axes]
    lines = []
    for i, trial in enumerate(done):
        best = trial.number == tuned.number
        values = [at[i] for _, (at, _, _) in axes]
        name, opacity = f"trial {trial.number}: {percent(trial.score)}", 1.0 if best else 0.2 + 0.7 * scores[0][i]
        lines.append(Series(name, values, series_color(1 if best else 0), opacity=opacity))
    return Lines(
        "Parallel coordinates", names, lines, "", "from the lowest to the highest", y_range=(-0.03, 1.03), legend=False
    )


def key_charts(tuned: Tuned) -> list[Lines]:
    """A chart for each key: the scores of complete trials over its values."""
    done, charts = _done(tuned), []
    for key, _ in tuned.importances:
        texts = [dict(t.changes)[key] for t in done]
        numbers = [_as_number(text) for text in texts]
        known = [v for v in numbers if v is not None]
        order = sorted(range(len(done)), key=lambda i: (numbers[i] or 0.0, texts[i]))
        scores = [done[i].score for i in order]
        if len(known) == len(texts):
            x, log = sorted(known), min(known) > 0 and max(known) >= 20 * min(known)
            lines = [Series("score", scores, ACCENT, "points")]
            charts.append(Lines(key, x, lines, key, "validation accuracy, 0 to 1", x_log=log))
            continue
        names = sorted(set(texts), key=_order)
        most = max(texts.count(name) for name in names)
        own = [[t.score for t, text in zip(done, texts, strict=True) if text == name] for name in names]
        lines = [Series("score", [v[i] if i < len(v) else None for v in own], ACCENT, "points") for i in range(most)]
        shown = [name.strip('"') for name in names]
        charts.append(Lines(key, shown, lines, key, "validation accuracy, 0 to 1"))
    return charts


def _done(tuned: Tuned) -> list[Tried]:
    return [t for t in tuned.trials if t.state == "complete" and t.score is not None]


def _placed(texts: Sequence[str]) -> tuple[list[float], str, str]:
    """Where values are between the lowest and the highest, from 0 to 1, and the texts of these two.

    Numbers that span a lot are placed by their logarithms; texts by the numbers in them.
    """
    numbers = [v for v in map(_as_number, texts) if v is not None]
    names = sorted(set(texts), key=_order)
    if len(numbers) < len(texts):
        return [names.index(text) / max(1, len(names) - 1) for text in texts], names[0], names[-1]
    low, high = min(numbers), max(numbers)
    if low > 0 and high >= 20 * low:
        at = [math.log(v / low) / math.log(high / low) for v in numbers]
    else:
        at = [(v - low) / (high - low) if high > low else 0.5 for v in numbers]
    return at, f"{low:.3g}", f"{high:.3g}"


def _order(text: str) -> tuple[list[float], str]:
    return [float(found) for found in re.findall(r"\d+\.?\d*", text)], text


def _tiles(tuned: Tuned) -> list[Tile]:
    states = [t.state for t in tuned.trials]
    counts = ", ".join(f"{states.count(s)} {s}" for s in ("pruned", "failed", "running") if s in states)
    span = "" if tuned.score_95 is None else f"95 %: {percent_span(tuned.score_95)}; "
    tiles = [
        Tile("best score", percent(tuned.score), f"{span}trial {tuned.number}, on validation"),
        Tile("complete trials", str(states.count("complete")), counts),
    ]
    if tuned.importances:
        key, share = tuned.importances[0]
        tiles.append(Tile("what matters most", key, f"{percent(share, digits=0)} of what decides"))
    return tiles


def _verdict(tuned: Tuned) -> str:
    changes = next(t.changes for t in tuned.trials if t.number == tuned.number)
    settings = ", ".join(f"{k} = {_short(v)}" for k, v in changes)
    text = f"Trial {tuned.number} is the best: {percent(tuned.score, tuned.score_95)} on validation, with {settings}."
    if tuned.second:
        number, score, test = tuned.second
        text += f" Trial {number} comes next with {percent(score)}, a difference that {test.said}."
    if tuned.importances:
        key, share = tuned.importances[0]
        text += f" {key} matters most: {percent(share, digits=0)} of what decides between good and bad trials."
    return text


def _short(value: str) -> str:
    number = _as_number(value)
    return value if number is None else f"{number:.3g}"


def _csv(trials: Sequence[Tried]) -> str:
    keys = _keys(trials)
    rows = [
        (t.number, t.state, t.score, t.epochs, *(dict(t.changes).get(k, "") for k in keys), t.problem) for t in trials
    ]
    return csv_text([("trial", "state", "score", "epochs", *keys, "problem"), *rows])


def _keys(trials: Sequence[Tried]) -> list[str]:
    return list(dict.fromkeys(key for t in trials for key, _ in t.changes))


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
