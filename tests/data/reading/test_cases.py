"""Inputs from the field that once failed, beside the repository: each is read as the text beside it says."""

import json
import subprocess
import sys
import zipfile
from collections import Counter

import pytest

from mien.data.readers import open_source
from mien.data.reading.reading import make_choices
from mien.errors import DataError
from mien.labels import EIGHT, FER2013
from mien.recognition.recognizer import Recognizer
from places import SHARED

CASES = SHARED / "cases/files"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases beside the repository are not here")


@pytest.fixture
def case(tmp_path):
    def unpack(name):
        if not name.endswith(".zip"):
            return CASES / name
        with zipfile.ZipFile(CASES / name) as file:
            file.extractall(tmp_path / name)
        return tmp_path / name

    return unpack


def counted(path, **options):
    """(split, class) -> how many, the problems and the columns of all samples."""
    source = open_source(path, choices=make_choices(**options))
    names = (*source.label_names, None)
    counts, problems, columns = Counter(), [], {}
    for chunk in source.chunks():
        pairs = zip(chunk.columns["split"].tolist(), chunk.columns["label"].tolist(), strict=True)
        counts.update((split, names[label]) for split, label in pairs)
        problems += [p.source for p in chunk.problems]
        for name, values in chunk.columns.items():
            columns.setdefault(name, []).extend(values.tolist())
    return counts, problems, columns


def each(count, names, *splits):
    return {(split, name): count for split in splits or ("",) for name in names}


def mien(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "mien", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


EXPECTED = {
    "01-rafdb-csv-1-to-7.zip": each(3, FER2013, "train"),
    "04-parquet-digit-strings.parquet": None,
    "06-ckextended-contempt.csv": each(2, EIGHT, "train"),
    "10-custom-classes-no-split.zip": each(6, ("bored", "drowsy", "engaged")),
    "12-numeric-folders-no-split.zip": each(2, [str(i) for i in range(7)]),
    "13-prefixed-folders.zip": each(2, FER2013),
    "15-train_set-val_set.zip": each(3, ("happy", "sad"), "train", "validation"),
    "17-subject-then-class.zip": each(4, ("happy", "sad", "fear")),
    "18-kdef-names.zip": each(2, FER2013),
    "21-expw-label-lst.zip": each(1, ("happy", "angry")),
    "22-yolo-export.zip": each(1, FER2013, "train", "validation"),
    "26-csv-image_name.zip": each(1, FER2013),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_data_sets(case, name):
    counts, problems, columns = counted(case(name))
    if EXPECTED[name] is not None:
        assert counts == EXPECTED[name]
    else:
        assert {label for _, label in counts} <= set(FER2013)
    assert not problems
    if name.startswith("17"):
        assert set(columns["identity"]) == {"S01", "S02"}
    if name.startswith("18"):
        assert set(columns["identity"]) == {"AF01", "AM02"}
    if name.startswith("21"):
        assert columns["box"] == [[10, 10, 80, 80]] * 2


def test_an_order_that_nothing_tells(case):
    with pytest.raises(DataError, match=r"nothing says what they mean; .*--labels affectnet"):
        open_source(case("02-affectnet-order-csv-0-to-7.zip"))
    counts, _, _ = counted(case("02-affectnet-order-csv-0-to-7.zip"), labels="affectnet")
    assert counts == each(3, EIGHT)


def test_votes_of_ferplus(case):
    counts, problems, columns = counted(case("20-ferplus-authors-layout.zip"))
    assert Counter({split: sum(n for (s, _), n in counts.items() if s == split) for split, _ in counts}) == {
        "train": 4, "validation": 4, "test": 4,
    }  # fmt: skip
    assert not problems
    assert [sum(votes) for votes in columns["votes"]] == [9.0] * 12


def test_the_challenges_own_file(case):
    counts, problems, _ = counted(case("24-kaggle-competition-train-csv.zip"))
    assert counts == each(2, FER2013)
    assert problems == ["test.csv"]


def test_files_of_all_suffixes(case):
    counts, problems, _ = counted(case("30-skipped-extensions.zip"))
    assert sum(counts.values()) + len(problems) == 9
    assert sum(counts.values()) >= 6


@pytest.mark.parametrize("name", ["31-photo.avif", "32-no-eoi.jpg"])
def test_images(name):
    result = Recognizer().predict(CASES / name)
    assert [face.expression for face in result.faces] == ["happy"]


def test_videos(tmp_path):
    pytest.importorskip("av")
    code, out, _ = mien("watch", CASES / "36-animated.webp", "--format", "json", "-q")
    assert code == 0, out
    code, out, err = mien("watch", CASES / "37-cut-short.mp4", "--format", "json", "-q")
    assert code == 3
    assert "truncated" in err + json.dumps(out)


def test_training_on_one_class_is_refused(case, tmp_path):
    pytest.importorskip("torch")
    options = ("--set", "targets.votes=0", "--set", "distill.teachers=[]", "--out", tmp_path / "run", "-q")
    code, _, err = mien("train", "mien-nano", "--data", case("40-one-class.zip"), *options)
    assert code == 2
    assert "two or more expressions" in err


def test_predictions_with_a_missing_answer(tmp_path):
    predictions = CASES / "43-predictions-one-empty.csv"
    code, out, err = mien("evaluate", "--predictions", predictions, "--out", tmp_path / "out")
    assert "14" in out + err, code
