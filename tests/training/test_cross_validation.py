"""`--folds` and `--seeds`: folds that are read or made, one table, and work that resumes."""

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

import mien
from mien.cli import app
from mien.data.toy import write_toy_folders
from mien.training import cross_validation


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    write_toy_folders(folder, train=70, validation=28, test=14, seed=3)
    return mien.load_dataset(folder)


def test_every_fold_is_held_out_once_and_test_never_read(data, tmp_path, monkeypatch):
    held = []

    def fake(recipe, data, *_, **__):
        rows = {split: set(data.sources[data.splits == split].tolist()) for split in ("train", "validation")}
        held.append((recipe.seed, rows["validation"]))
        assert not rows["train"] & rows["validation"]
        assert len(rows["train"] | rows["validation"]) == 98

    def figures(folder, fold, seed):
        return [cross_validation.RepeatedRun(fold, seed, "label", 20, 0.5 + fold / 10, 0.4, 0.4, 0.6, 0.1, folder)]

    monkeypatch.setattr("mien.training.ladder.run_unless_finished", fake)
    monkeypatch.setattr(cross_validation, "_figures", figures)

    found = mien.cross_validate("toy", data, tmp_path / "out", folds=4, seeds=2)
    assert [seed for seed, _ in held] == [1, 2] * 4
    folds = [sources for seed, sources in held if seed == 1]
    assert len(set.union(*folds)) == sum(map(len, folds)) == 98
    assert found.mean() == pytest.approx(0.65)
    assert found.sd() == pytest.approx(np.std([0.5, 0.5, 0.6, 0.6, 0.7, 0.7, 0.8, 0.8], ddof=1))
    assert len(found.to_pandas()) == 8
    assert r"0.6500 $\pm$ 0.1195" in (tmp_path / "out" / "table.tex").read_text()
    with pytest.raises(mien.TrainingError, match="other data or folds"):
        mien.cross_validate("toy", data, tmp_path / "out", folds=3)


def test_the_folds_of_data_split_are_those_that_training_reads(data):
    divided = mien.split_dataset(data, "", mien.SplitSettings(folds=3, seed=5), dry_run=True)[1].dataset
    fold = cross_validation._folds(divided, 3, ())
    assert np.array_equal(fold, divided.columns["fold"]) and set(fold) == {-1, 0, 1, 2}
    with pytest.raises(mien.DataError, match="its column 'fold' has 3 folds; expected 5"):
        cross_validation._folds(divided, 5, ())
    people = data.with_columns(person=np.arange(len(data)) // 7)
    fold = cross_validation._folds(people, 3, ("person",))
    assert all(len(set(fold[(people.columns["person"] == p) & (fold >= 0)])) <= 1 for p in range(16))


def test_one_command_one_table_and_it_resumes(tmp_path, unexported):
    write_toy_folders(tmp_path / "faces", train=56, validation=14, test=0, seed=3)
    arguments = ["train", "toy", "--data", str(tmp_path / "faces"), "--out", str(tmp_path / "out"), "--seeds", "2",
                 "--folds", "2", "--set", "optimizer.epochs=1", "--set", "optimizer.batch_size=8",
                 "--set", "network.widths=[4]"]  # fmt: skip
    first = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert first.exit_code == 0 and "mean ± sd  4 runs  label" in first.stdout
    table = (tmp_path / "out" / "table.csv").read_bytes()
    rows = list(csv.DictReader(table.decode().splitlines()))
    assert [(row["fold"], row["seed"], row["n"]) for row in rows] == [(f, s, "35") for f in "01" for s in "12"]
    for name in ("validation.npz", "last.safetensors", "checkpoint.safetensors"):
        (tmp_path / "out" / "fold-1-seed-2" / name).unlink()
    again = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert again.stderr.count("finished") == 3
    assert (tmp_path / "out" / "table.csv").read_bytes() == table


def test_impossible_numbers_are_refused(data, tmp_path):
    for numbers in ({"folds": 1}, {"seeds": 0}, {"folds": -2}):
        with pytest.raises(mien.RecipeError, match="expected 2 folds or more"):
            mien.cross_validate("toy", data, tmp_path / "out", **numbers)
