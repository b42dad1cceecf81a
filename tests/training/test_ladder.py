"""The ladder: what is planned, what is skipped, what wins; and the page that every run leaves."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from made_runs import LABELS, made_run
from mien.cli import app
from mien.errors import DataError, RecipeError
from mien.evaluation.validation import HeadAnswers, read_answers, write_answers
from mien.pages import figure_png, new_figure
from mien.training.ladder import climb_ladder, is_finished, plan_ladder
from mien.training.ladder_steps import LADDER
from mien.training.recipe import load_recipe
from mien.training.run_page import write_run_page


@pytest.fixture
def scripted(monkeypatch):
    """Runs that do not train: ladder-04 is best, longer as good as wanted. Returns what was trained and compared."""
    trained, compared = [], []

    def install(longer):
        def fake(recipe, _data, folder, **_):
            trained.append(recipe)
            right = longer if recipe.name.endswith("longer") else 0.7 - 0.01 * abs(4 - int(recipe.name[-2:]))
            made_run(folder, right, recipe=recipe)
            (folder / "best.safetensors").write_text(recipe.name)

        monkeypatch.setattr("mien.training.ladder.train_run", fake)
        monkeypatch.setattr("mien.training.ladder.write_comparison", lambda _, out: compared.append(out.name))
        return trained, compared

    return install


def test_the_plan_is_for_any_backbone():
    plan = plan_ladder("resnet10", weights="", labels=("happy", "sad"), subset=150, overrides=["optimizer.epochs=3"])
    assert [step for step, _ in plan] == list(LADDER)
    for _, recipe in plan:
        assert (recipe.network.kind, recipe.network.weights) == ("resnet10", "")
        assert (recipe.data.labels, recipe.data.subset, recipe.optimizer.epochs) == (("happy", "sad"), 150, 3)
    with pytest.raises(RecipeError, match="'resnet11', no network that is known"):
        plan_ladder("resnet11")
    with pytest.raises(RecipeError, match=r"data\.subset is 50: optimizer\.batch_size is 64.*--set optimizer"):
        plan_ladder("resnet10", subset=50, overrides=["optimizer.batch_size=64"])


def test_the_best_step_is_trained_longer_and_the_better_one_is_kept(scripted, tmp_path):
    plan, (trained, compared) = plan_ladder("resnet10", weights=""), scripted(0.75)
    found = climb_ladder(plan, tmp_path, tmp_path / "out", longer=1.5)
    assert [r.name for r in trained] == [*(step.name for step in LADDER), "ladder-04-longer"]
    assert trained[-1].optimizer.epochs == 12
    assert trained[-1].network == trained[4].network
    assert found.steps.runs[0].name == "ladder-04"
    assert found.best == "longer"
    assert found.weights.read_text() == "ladder-04-longer"
    assert found.model.exists()
    assert compared == ["compare", "compare"]  # the twelve, then the best and its longer run

    trained.clear()
    (tmp_path / "out" / "ladder-07" / "validation.npz").unlink()  # as if killed before its end
    seen = []
    climb_ladder(plan, tmp_path, tmp_path / "out", longer=1.5, progress=lambda _r, _name, done: seen.append(done))
    assert [r.name for r in trained] == ["ladder-07"]
    assert seen.count(True) == 12


def test_a_longer_run_that_is_worse_is_not_kept(scripted, tmp_path):
    scripted(0.5)
    found = climb_ladder(plan_ladder("resnet10", weights=""), tmp_path, tmp_path / "out")
    assert found.best == "ladder-04"
    assert found.weights.read_text() == "ladder-04"
    other = plan_ladder("resnet10", weights="", overrides=["seed=2"])[0][1]
    assert not is_finished(other, tmp_path / "out" / "ladder-00")


def test_the_dry_run_shows_the_plan(tmp_path):
    arguments = ["ladder", "--backbone", "resnet10", "--weights", "", "--data", "none", "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert all(step.name in done.stdout for step in LADDER)
    assert not (tmp_path / "o").exists()


def finished_run(folder: Path):
    made_run(folder, 0.8, n=60)
    figure = new_figure(3, 2)
    figure.subplots()
    (folder / "curves.png").write_bytes(figure_png(figure))
    counts = [[10, 2, 0], [1, 9, 0], [0, 0, 0]]
    course = [{"epoch": e, "head": "label", "labels": LABELS, "counts": counts} for e in (1, 2)]
    (folder / "confusions.json").write_text(json.dumps(course))
    return folder


def test_the_run_page_shows_figures_faces_and_recipe(tmp_path):
    run = finished_run(tmp_path / "run")
    faces = np.random.default_rng(0).integers(0, 255, (60, 48, 48, 1), np.uint8)
    page = write_run_page(load_recipe("toy"), run, faces).read_text()
    assert "is right on 80.0\xa0% of 60 faces" in page
    assert "10.0 points above validation" in page and "12 of 60 answers are wrong" in page
    assert "Recall of each class after every epoch" in page
    assert "optimizer.learning_rate" in page
    written = page.partition('<script type="module">')[0]
    assert "<script" not in written
    assert "http" not in written.replace("http-equiv", "")


def test_the_run_page_with_two_heads_and_with_a_head_that_nothing_is_known_of(tmp_path):
    run = finished_run(tmp_path / "run")
    (label,) = read_answers(run / "validation.npz")
    votes = HeadAnswers("votes", LABELS, label.truth, label.probabilities, label.sources)
    empty = HeadAnswers("other", LABELS, np.full(60, -1), label.probabilities, label.sources)
    write_answers(run / "validation.npz", [label, votes, empty])
    faces = np.zeros((60, 48, 48, 3), np.uint8)
    page = write_run_page(load_recipe("toy"), run, faces).read_text()
    assert "Answers for the labels of the data" in page
    assert "Answers for the votes of raters" in page
    assert "Head: other" not in page
    (run / "confusions.json").write_text("{")
    with pytest.raises(DataError, match=r"confusions\.json: can't be read"):
        write_run_page(load_recipe("toy"), run, faces)
