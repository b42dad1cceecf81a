"""Comparing runs: the kept answers, McNemar's test, the table, the page, and what is refused."""

import csv
import json

import numpy as np
import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

from made_runs import made_run
from mien.cli import app
from mien.data.toy import write_toy_folders
from mien.errors import DataError
from mien.evaluation.compare import compare
from mien.evaluation.compare_page import class_charts, learning_curves, runs_chart
from mien.evaluation.comparison import chosen_epoch
from mien.evaluation.paired import exact_p_value
from mien.evaluation.validation import HeadAnswers, read_answers, write_answers


def test_answers_come_back_as_they_were_written(tmp_path):
    p = np.array([[0.2, 0.8], [0.6, 0.4]], np.float32)
    written = HeadAnswers("votes", ("a", "ü"), np.array([1, -1]), p, ("one", "zwei/ü"), 3, 4)
    write_answers(tmp_path / "v.npz", [written])
    (read,) = read_answers(tmp_path / "v.npz")
    assert (read.head, read.labels, read.sources, read.train_right, read.train_n) == (
        "votes", ("a", "ü"), ("one", "zwei/ü"), 3, 4,
    )  # fmt: skip
    np.testing.assert_array_equal(read.truth, written.truth)
    np.testing.assert_array_equal(read.probabilities, p)
    assert read.evaluation().n == 1  # a face without a truth is not measured


@pytest.mark.parametrize("damage", ["text", "pickle", "short", "infinite"])
def test_damaged_answers_are_refused(damage, tmp_path):
    path = tmp_path / "v.npz"
    answers = HeadAnswers("label", ("a", "b"), np.array([1, 0]), np.full((2, 2), 0.5, np.float32), ("x", "y"))
    if damage == "text":
        path.write_text("no archive")
    elif damage == "pickle":
        np.savez(path, heads=np.array([{"a": 1}], dtype=object))
    else:
        p = np.full((1 if damage == "short" else 2, 2), np.inf if damage == "infinite" else 0.5, np.float32)
        write_answers(path, [HeadAnswers("label", answers.labels, answers.truth, p, answers.sources)])
    with pytest.raises(DataError, match=r"v\.npz: can't be read"):
        read_answers(path)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (6, 5), (2, 11), (40, 71), (700, 590), (0, 3000)])
def test_mcnemar_is_the_two_sided_binomial_test(b, c):
    expected = binomtest(min(b, c), b + c).pvalue if b + c else 1.0
    assert exact_p_value(b, c) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert exact_p_value(c, b) == exact_p_value(b, c)


def test_runs_stand_from_the_best_down_with_their_figures(tmp_path):
    folders = [made_run(tmp_path / name, right) for name, right in (("low", 0.5), ("high", 0.7), ("mid", 0.68))]
    found = compare(folders)
    assert [r.name for r in found.runs] == ["high", "mid", "low"]
    best = found.runs[0]
    assert best.accuracy == pytest.approx(0.7)
    assert best.accuracy_95[0] < 0.7 < best.accuracy_95[1]
    assert best.train_accuracy == 0.9
    assert best.gap == pytest.approx(0.2)
    assert best.seconds == 20.0  # epoch 1 was begun twice: its last time counts
    assert best.epochs == 4
    assert best.macs == 48 * 48 * 3
    assert found.test.only_first == 6
    assert found.test.only_second == 0
    assert found.verdict.count(". ") == 1
    assert "Keep high: it calls 70.0\xa0% of 300 validation faces right" in found.verdict
    assert "is more than chance (McNemar's exact test, p = 0.031)" in found.verdict


def test_a_cheap_run_that_is_as_good_within_chance_is_pointed_at(tmp_path, monkeypatch):
    macs = {"big": 900, "small": 100}
    monkeypatch.setattr("mien.evaluation.compare.graph_macs", lambda path: macs[path.parent.name])
    found = compare([made_run(tmp_path / "big", 0.7), made_run(tmp_path / "small", 0.69)])
    assert "may be chance" in found.verdict
    assert "9.0 times fewer multiply-adds" in found.verdict


def test_one_run_and_runs_on_other_faces(tmp_path):
    alone = compare([made_run(tmp_path / "a", 0.5)])
    assert alone.test is None
    assert "only run" in alone.verdict
    apart = compare([tmp_path / "a", made_run(tmp_path / "b", 0.6, n=200)])
    assert apart.test is None
    assert "can't be tested against each other" in apart.verdict


def test_the_command_writes_table_page_and_figures(tmp_path):
    for name, right in (("x/run", 0.5), ("y/run", 0.6)):
        made_run(tmp_path / name, right)
    runs = [str(tmp_path / n / "run") for n in "xy"]
    done = CliRunner().invoke(app, ["compare", *runs, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "Keep" in done.stdout
    out = tmp_path / "out"
    rows = list(csv.DictReader((out / "compare.csv").read_text().splitlines()))
    assert [r["run"] for r in rows] == runs[::-1]  # folders of one name go by their paths
    assert json.loads((out / "compare.json").read_text())["mcnemar"]["only_first"] == 30
    names = {p.name for p in (out / "figures").iterdir()}
    assert {"runs.svg", "classes.png", "confusion.svg", "learning-curves.png"} <= names
    page = (out / "compare.html").read_text()
    assert "McNemar" in page


def test_other_data_are_measured_with_the_model_files(tmp_path):
    write_toy_folders(tmp_path / "toy", train=7, validation=21, test=7, seed=1)
    found = compare([made_run(tmp_path / "a", 0.5)], data=tmp_path / "toy")
    assert found.runs[0].evaluation.n == 21
    assert set(found.runs[0].evaluation.missing_classes) == {"angry", "disgust", "fear", "surprise"}


def test_refusals(tmp_path):
    with pytest.raises(DataError, match="no folder of a training run"):
        compare([tmp_path])
    run = made_run(tmp_path / "a", 0.5)
    votes = made_run(tmp_path / "v", 0.5, head="votes")
    with pytest.raises(DataError, match="no head in common"):
        compare([run, votes])
    with pytest.raises(DataError, match="no head 'votes' in all runs"):
        compare([run], head="votes")
    (run / "history.csv").write_text("epoch,train_loss\n1,much\n")
    with pytest.raises(DataError, match=r"history\.csv: can't be read"):
        compare([run])
    (run / "history.csv").write_text("epoch,train_loss\n1,2.0\n")
    with pytest.raises(DataError, match="a: its history has no figures of training faces; rank by accuracy"):
        compare([run], by="loss-gap")
    with pytest.raises(DataError, match="by is 'size'; expected accuracy, macro, gap, loss-gap"):
        compare([run], by="size")
    (run / "validation.npz").unlink()
    with pytest.raises(DataError, match="is unfinished"):
        compare([run])


def test_an_unfinished_run_is_a_row_and_figures_have_the_runs_in_their_own_order(tmp_path):
    folders = [made_run(tmp_path / f"step-{i}", right) for i, right in enumerate((0.5, 0.7, 0.6))]
    (made_run(tmp_path / "begun", 0.4) / "validation.npz").unlink()
    (made_run(tmp_path / "new", 0.4) / "validation.npz").unlink()
    (tmp_path / "new" / "history.csv").unlink()
    found = compare([tmp_path / "begun", *folders, tmp_path / "new"], tmp_path / "out")
    assert [r.name for r in found.runs] == ["step-1", "step-2", "step-0"]
    assert [r.name for r in found.in_order] == ["step-0", "step-1", "step-2"]
    assert [(u.name, u.epochs, u.planned, u.accuracy) for u in found.unfinished] == [
        ("begun", 4, 8, pytest.approx(0.35)), ("new", 0, 8, None),
    ]  # fmt: skip
    text = (tmp_path / "out" / "compare.txt").read_text()
    assert "4 of 8  unfinished" in text and " n " in text
    assert r"\begin{tabular}{lrrrrrrrrrrrrr}" in (tmp_path / "out" / "compare.tex").read_text()
    assert (tmp_path / "out" / "compare.md").read_text().startswith("| run | network |")
    accuracy, _ = learning_curves(found)
    names = list(dict.fromkeys(line.name for line in accuracy.series))
    assert names == ["step-0", "step-1", "step-2", "begun (unfinished)"]
    assert runs_chart(found).rows == ["step-0", "step-1", "step-2"]


def test_runs_are_ranked_by_macro_recall_or_by_the_gaps(tmp_path):
    folders = [made_run(tmp_path / "a", 0.5), made_run(tmp_path / "b", 0.7), made_run(tmp_path / "c", 0.6, seed=1)]
    assert [r.name for r in compare(folders, by="macro").runs] == ["b", "c", "a"]
    by_gap = compare(folders, by="gap")
    assert [r.name for r in by_gap.runs] == ["b", "c", "a"] and by_gap.by == "gap"
    by_loss = compare(folders, by="loss-gap")
    assert [round(r.loss_gap, 3) for r in by_loss.runs] == [0.1, 0.1, 0.2]
    assert by_loss.verdict.startswith("Keep b") and "with the smallest gap of the loss of 3 runs" in by_loss.verdict


def test_curves_overlay_all_runs_and_mark_the_chosen_epoch(tmp_path):
    accuracy, loss = learning_curves(compare([made_run(tmp_path / name, 0.5) for name in "ab"]))
    assert (accuracy.title, accuracy.y_label, loss.y_label) == ("Accuracy", "accuracy, 0 to 1", "loss, nats")
    assert accuracy.x == [1, 2, 3, 4] and accuracy.whole
    assert [(line.name, line.style, line.marked) for line in accuracy.series] == [
        ("a", "line", 3), ("a", "dashed", None), ("b", "line", 3), ("b", "dashed", None),
    ]  # fmt: skip
    rows = [(1, 0.5, 0.2), (2, 0.3, 0.4), (3, 0.4, 0.2)]
    history = tuple({"epoch": e, "label_accuracy": a, "votes_accuracy": b} for e, a, b in rows)
    assert chosen_epoch(history) == 1 and chosen_epoch(()) is None  # the first of equals


def test_one_epoch_is_points_over_the_runs(tmp_path):
    folders = [made_run(tmp_path / name, 0.5, epochs=range(1, 2)) for name in "abc"]
    for chart in learning_curves(compare(folders)):
        assert chart.categories == ("a", "b", "c") and chart.x_label == "run"
        assert [(line.name, line.style) for line in chart.series] == [("validation", "points"), ("training", "points")]


def test_charts_of_each_class_are_those_of_every_run(tmp_path):
    found = compare([made_run(tmp_path / name, right) for name, right in (("a", 0.5), ("b", 0.9))])
    recall, precision, f1 = class_charts(found)
    assert [chart.title for chart in (recall, precision, f1)] == ["Recall", "Precision", "F1"]
    assert recall.values == [[s.recall for s in run.evaluation.per_class] for run in found.in_order]


def test_error_bars_are_whole(tmp_path):
    found = compare([made_run(tmp_path / name, right, n=30) for name, right in (("a", 0.1), ("b", 1.0))])
    column = runs_chart(found).columns[0]
    low, high = column.range
    assert low <= min(column.low) and max(column.high) <= high
