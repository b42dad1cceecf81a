"""Measures how well the audit's judge finds wrong labels, on faces with raters' votes.

    python benchmarks/label_judge.py data/fer2013 --split validation > table.md

DATA has FER2013's labels and FER+'s votes, in a split that the judges were not trained on. Each figure is the mean of
ten draws, with the lowest in brackets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mien.data.dataset import Dataset
from mien.data.duplicates import find_duplicates
from mien.data.findings import Suspects, comparable, find_suspects
from mien.data.judge import Judge, judge_labels, model_answers
from mien.data.readers import open_dataset
from mien.data.splits import subset_rows
from mien.labels import EIGHT
from mien.model_file import ModelFile, load_model

JUDGES = ("mien-small", "mien-nano", "mien-base", "mien-small-fer2013")
DRAWS, FACES, PLANTED_IN, PLANTED = 10, 700, 2000, 50


def judged(data: Dataset, rows: np.ndarray, labels: np.ndarray, model: ModelFile, answers: np.ndarray):
    """The judge and the suspects among these rows with these labels."""
    some = data.take(rows).with_columns(label=labels)
    found = judge_labels(some, answers[rows], model, find_duplicates(some).group, folds=4)
    return found.judge, find_suspects(labels, found.probabilities, found.own)


def by_votes(data: Dataset, rows: np.ndarray, found: tuple[Judge, Suspects]) -> tuple[float, ...]:
    """Labels predicted; suspects; how much oftener raters contradict these; how often the suggestion is right."""
    judge, suspects = found
    some = data.take(rows)
    column = np.array([EIGHT.index(name) for name in data.label_names])
    known, most = comparable(some), some.votes.max(1)
    wrong = some.votes[np.arange(len(some)), column[some.labels]] < most
    kept = known[suspects.rows]
    places, suggested = suspects.rows[kept], column[suspects.suggested[kept]]
    right = some.votes[places, suggested] == most[places]
    return judge.agreement, len(suspects.rows), wrong[places].mean() / wrong[known].mean(), right.mean()


def planted(data: Dataset, pool: np.ndarray, model: ModelFile, answers: np.ndarray, seed: int) -> float:
    """The share of planted labels among the first hundred suspects."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(pool)[:PLANTED_IN])
    labels, classes = data.labels[rows].copy(), len(data.label_names)
    chosen = rng.permutation(len(rows))[:PLANTED]
    labels[chosen] = (labels[chosen] + rng.integers(1, classes, PLANTED)) % classes
    suspects = judged(data, rows, labels, model, answers)[1]
    return float(np.isin(suspects.rows[:100], chosen).sum()) / PLANTED


def main() -> None:
    """Prints a line of the table for each judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="validation")
    options = parser.parse_args()
    data = open_dataset(options.data, splits=(options.split,))
    column = np.array([EIGHT.index(name) for name in data.label_names])
    most = data.votes.max(1)
    sole = (data.votes == most[:, None]).sum(1) == 1
    pools = (
        np.arange(len(data)),
        np.flatnonzero(sole & (data.votes[np.arange(len(data)), column[data.labels]] == most)),
    )
    print("| judge | predicted | suspects | times | suggestion right | planted in all | planted in confirmed |")
    print("|---|---|---|---|---|---|---|")
    for name in JUDGES:
        model = load_model(name)
        answers = model_answers(data, model)
        draws = [subset_rows(data, FACES, seed=seed) for seed in range(DRAWS)]
        rows = [by_votes(data, r, judged(data, r, data.labels[r], model, answers)) for r in draws]
        cells = [*zip(*rows, strict=True)]
        cells += [[planted(data, pool, model, answers, seed) for seed in range(DRAWS)] for pool in pools]
        print(f"| {name} | " + " | ".join(f"{np.mean(cell):.2f} ({np.min(cell):.2f})" for cell in cells) + " |")


if __name__ == "__main__":
    main()
