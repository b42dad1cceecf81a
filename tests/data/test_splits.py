"""Splits: shares of each class, nothing that belongs together on two sides, and what is there stays."""

import sys

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from made_data import make, tree
from mien.cli import main
from mien.data.arrays import open_arrays, write_arrays
from mien.data.source import text_column
from mien.data.splits import SplitSettings, assign, divide, groups_of, split_dataset, subset_rows
from mien.errors import DataError, OutputError
from mien.files import require_apart


def data(count=400, *, classes=4, splits=("",), seed=0, **columns):
    """Images that are all different, with uneven classes."""
    rng = np.random.default_rng(seed)
    images = [np.array([[[i % 256], [i // 256]]], np.uint8) for i in range(count)]
    labels = rng.choice(classes, count, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    names = ("angry", "disgust", "fear", "happy", "sad", "surprise")[:classes]
    return make(images, labels, [splits[i % len(splits)] for i in range(count)], names=names, **columns)


def divided(dataset, **settings):
    return divide(dataset, SplitSettings(**settings)).dataset


def counts(dataset, split):
    return np.bincount(dataset.labels[dataset.splits == split] + 1, minlength=len(dataset.label_names) + 1)


def sides(dataset, column):
    """The most splits that one value of a column is in."""
    pairs = set(zip(dataset.columns[column].tolist(), dataset.splits.tolist(), strict=True))
    return max(np.unique([value for value, _ in pairs], return_counts=True)[1])


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.1), (0.25, 0.0), (0.33, 0.33)])
def test_each_class_has_its_share_everywhere(validation, test):
    dataset = data(403)
    dataset = dataset.with_columns(label=np.where(np.arange(403) < 20, -1, dataset.labels))
    found = divided(dataset, validation=validation, test=test)
    everywhere = np.bincount(dataset.labels + 1)
    for split, share in (("train", 1 - validation - test), ("validation", validation), ("test", test)):
        assert (np.abs(counts(found, split) - everywhere * share) < 1).all()
        assert abs((found.splits == split).sum() - 403 * share) < 2


def test_the_same_seed_gives_the_same_splits_and_another_does_not():
    dataset = data()
    first = divided(dataset, validation=0.2, test=0.2, seed=1).splits.tolist()
    assert divided(dataset, validation=0.2, test=0.2, seed=1).splits.tolist() == first
    assert divided(dataset, validation=0.2, test=0.2, seed=2).splits.tolist() != first


@pytest.mark.parametrize("seed", range(5))
def test_what_belongs_together_is_never_on_two_sides(seed):
    rng = np.random.default_rng(seed)
    identity = text_column([f"S{i}" if i < 60 else "" for i in rng.integers(0, 80, 1000)])
    dataset = data(1000, seed=seed, identity=identity, session=rng.integers(-1, 150, 1000))
    chosen = rng.choice(1000, (100, 2))
    offsets = dataset.offsets.copy()
    offsets[chosen[:, 0]] = offsets[chosen[:, 1]]  # exact copies
    dataset = make(
        [dataset.pixels[o : o + 2].reshape(1, 2, 1) for o in offsets],
        dataset.labels,
        dataset.splits,
        names=dataset.label_names,
        identity=identity,
        photograph=text_column([dataset.pixels[o : o + 2].tobytes().hex() for o in offsets]),
    )
    found = divided(dataset, validation=0.15, test=0.15, seed=seed)
    known = np.flatnonzero(identity != "")
    assert sides(found.take(known), "identity") == 1
    assert sides(found, "photograph") == 1
    for split, share in (("validation", 0.15), ("test", 0.15)):
        assert (np.abs(counts(found, split) - np.bincount(dataset.labels + 1) * share) < 20).all()


def test_group_by_a_column_binds_over_other_rows():
    dataset = data(6, person=text_column(["a", "a", "b", None, "", "b"]), shot=np.array([1, 2, 2, -1, -1, 3]))
    assert groups_of(dataset, ["person"]).tolist() == [0, 0, 2, 3, 4, 2]
    assert groups_of(dataset, ["person", "shot"]).tolist() == [0, 0, 0, 3, 4, 0]
    assert groups_of(dataset.with_columns(identity=np.array([1.0, np.nan, np.nan, 7, 7, 8]))).tolist() == [
        0,
        1,
        2,
        3,
        3,
        5,
    ]
    with pytest.raises(DataError, match=r"no column 'who'.*person, shot"):
        groups_of(dataset, ["who"])
    with pytest.raises(DataError, match="holds lists"):
        groups_of(dataset.with_columns(box=np.zeros((6, 4))), ["box"])


def test_groups_are_placed_no_worse_than_scikit_learn_does():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 120, 2000)
    labels = np.where(rng.random(2000) < 0.7, groups % 5, rng.integers(0, 5, 2000))  # a person shows some more often
    ours = assign(labels, groups, [0.2] * 5, np.random.default_rng(0))
    theirs = np.empty(2000, int)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)
    for fold, (_, rows) in enumerate(folds):
        theirs[rows] = fold

    def worst(parts):
        wanted = np.bincount(labels) / 5
        return max(np.abs(np.bincount(labels[parts == part], minlength=5) - wanted).max() for part in range(5))

    assert worst(ours) <= worst(theirs)


def test_folds():
    dataset = data(403, splits=("train", "train", "validation", "test"))
    found = divided(dataset, folds=5)
    assert found.splits.tolist() == dataset.splits.tolist()
    fold = found.columns["fold"]
    assert ((fold == -1) == (dataset.splits == "test")).all()
    sizes = np.bincount(fold[fold >= 0])
    assert sizes.max() - sizes.min() <= 1
    assert divide(dataset, SplitSettings(folds=5)).fold_counts() == sizes.tolist()
    whole = divided(data(100), folds=3, test=0.1)
    assert (whole.columns["fold"][whole.splits == "test"] == -1).all()


def test_a_subset_keeps_the_shares_of_splits_and_classes():
    dataset = data(400, splits=("train", "train", "train", "test"))
    rows = subset_rows(dataset, 80, seed=0)
    assert (np.diff(rows) > 0).all()
    for split in ("train", "test"):
        assert (np.abs(counts(dataset.take(rows), split) - counts(dataset, split) / 5) < 1).all()
    assert len(divided(dataset, subset=80)) == 80
    fold = divided(dataset, folds=3, subset=90).columns["fold"]
    assert np.abs(np.bincount(fold + 1) - [22.5, 22.5, 22.5, 22.5]).max() < 3
    assert len(subset_rows(dataset, 400, seed=0)) == 400
    with pytest.raises(DataError, match="400 samples"):
        subset_rows(dataset, 401, seed=0)


def test_a_subset_of_a_division():
    found = divided(data(400), validation=0.25, test=0.25, subset=100)
    assert {name: sum(of.values()) for name, of in found.counts().items()} == {
        "train": 50,
        "validation": 25,
        "test": 25,
    }


# Splits that are there


def test_splits_that_are_missing_are_cut_from_train():
    dataset = data(splits=("train", "train", "test"))
    found = divided(dataset)
    assert ((found.splits == "test") == (dataset.splits == "test")).all()
    assert abs((found.splits == "validation").sum() - (dataset.splits == "train").sum() * 0.1) < 2
    assert divided(dataset, validation=0.1).splits.tolist() == found.splits.tolist()
    assert sorted(divided(data()).counts()) == ["test", "train", "validation"]


def test_a_split_that_is_there_is_divided_anew_only_when_named_and_asked_for():
    dataset = data(splits=("train", "validation", "test"))
    with pytest.raises(DataError, match="--again"):
        divided(dataset)
    with pytest.raises(DataError, match=r"134 samples.*test already"):
        divided(data(402, splits=("train", "validation", "test")), test=0.1)
    named = divided(dataset, validation=0.5, again=True)
    assert ((named.splits == "test") == (dataset.splits == "test")).all()
    assert abs((named.splits == "validation").sum() - 133) < 3
    kept = divided(dataset, again=True, keep_test=True)
    assert ((kept.splits == "test") == (dataset.splits == "test")).all()
    assert abs((kept.splits == "validation").sum() - 27) < 3
    anew = divided(dataset, again=True)
    assert abs((anew.splits == "test").sum() - 40) < 3
    assert "test" not in divided(dataset, validation=0.1, test=0, again=True).counts()


def test_copies_in_a_split_that_is_kept_are_told():
    dataset = data(10, splits=("train", "test"), identity=text_column(["a", "a", *"bcdefghi"]))
    assert divide(dataset, SplitSettings(validation=0.2)).crossing == 1
    assert divide(dataset, SplitSettings(again=True, validation=0.2, test=0.2)).crossing == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 1.0}, "--validation is 1.0"),
        ({"validation": 0.5, "test": 0.5}, "nothing for train"),
        ({"folds": 1}, "2 or more"),
        ({"folds": 3, "validation": 0.1}, "takes the place"),
        ({"keep_test": True, "test": 0.1}, "leave --test out"),
        ({"keep_test": True}, "no test split to keep"),
        ({"folds": 500}, "too few"),
        ({"subset": 0}, "--subset is 0"),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(DataError, match=message):
        divided(data(), **settings)


# On disk


def test_a_division_on_disk_tells_how_it_was_made(tmp_path):
    write_arrays(data(), tmp_path / "in", command="import", settings={})
    before = tree(tmp_path / "in")
    settings = SplitSettings(validation=0.1, seed=3)
    split_dataset(tmp_path / "in", tmp_path / "out", settings, dry_run=True)
    assert not (tmp_path / "out").exists()
    was, division = split_dataset(tmp_path / "in", tmp_path / "out", settings)
    found = open_arrays(tmp_path / "out")
    assert found.splits.tolist() == division.dataset.splits.tolist()
    assert set(was.splits.tolist()) == {""}
    assert found.steps[-1].command == "split"
    assert (found.steps[-1].settings["validation"], found.steps[-1].settings["seed"]) == (0.1, 3)
    split_dataset(tmp_path / "in", tmp_path / "out", settings, resume=True)  # finished: nothing to do
    with pytest.raises(OutputError, match="exists already"):
        split_dataset(tmp_path / "in", tmp_path / "out", settings)
    assert tree(tmp_path / "in") == before


def test_split_and_export_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mien", "data", *map(str, arguments), "-q"])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return stopped.value.code, out, err

    given = tmp_path / "in"
    write_arrays(data(40, classes=2), given, command="import", settings={})
    code, out, _ = run("split", given, "--out", tmp_path / "out", "--dry-run", "--validation", "0.25", "--test", "0.25")
    assert (code, sorted(f.name for f in tmp_path.iterdir())) == (0, ["in"])
    assert "nothing was written" in out
    code, out, err = run("split", given, "--out", tmp_path / "out", "--validation", "0.25", "--test", "0.25")
    assert (code, err) == (0, "")
    assert all(word in out for word in ("before: 40", "(no split)", "validation", "disgust", "20"))
    code, _, err = run("split", tmp_path / "out", "--out", tmp_path / "again")
    assert code == 2
    assert "--again" in err
    code, out, _ = run("export", tmp_path / "out", "--out", tmp_path / "npy", "--as", "npy", "--dry-run")
    assert code == 0
    assert not (tmp_path / "npy").exists()
    assert run("export", tmp_path / "out", "--out", tmp_path / "npy", "--as", "npy")[0] == 0
    assert np.load(tmp_path / "npy" / "train_images.npy").shape == (20, 1, 2, 1)
    code, _, err = run("export", given, "--out", given / "deep", "--as", "folders")
    assert code == 2
    assert "inside the input" in err
    code, _, err = run("export", tmp_path / "out", "--out", tmp_path / "a.csv", "--as", "csv")
    assert code == 2
    assert err.count("\n") == 1
    assert "1 x 2 grey" in err


def test_apart(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    require_apart(tmp_path / "in", tmp_path / "out")
    require_apart(tmp_path / "in", tmp_path / "in2")
    require_apart(tmp_path / "in" / "a.csv", tmp_path / "in" / "out")  # beside a file that is read
    for out in ("in", "in/out", "in/../in", "link/out", ".", "in/deep/../x"):
        with pytest.raises(OutputError, match="input"):
            require_apart(tmp_path / "in", tmp_path / out)
