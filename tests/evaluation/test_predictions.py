"""Predictions of other tools: what is read, what is refused with its line, and how they are held against data."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, log_loss

from mien.data.samples import Samples
from mien.errors import DataError
from mien.evaluation.evaluate import Extras, evaluate_predictions
from mien.evaluation.folder import PREDICTIONS_FILE, write_evaluation
from mien.evaluation.predictions import read_predictions
from mien.labels import EIGHT, FER2013


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def write_random(path, n=40, labels=FER2013, seed=0):
    """A file with probabilities; returns it with truths and probabilities as they stand in it."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(labels), n)
    p = np.round(rng.dirichlet(np.ones(len(labels)), n) * 0.6 + 0.4 * np.eye(len(labels))[truth], 6)
    rows = [f"f{i}.png,{labels[t]}," + ",".join(map(str, row)) for i, (t, row) in enumerate(zip(truth, p, strict=True))]
    return write(path, "source,label," + ",".join(labels), *rows), truth, p


def make_samples(labels, votes=None, names=FER2013):
    n = len(labels)
    images = np.random.default_rng(0).integers(0, 255, (n, 4, 4, 1)).astype(np.uint8)
    return Samples(images, np.asarray(labels, np.int64), names, tuple(f"f{i}.png" for i in range(n)), votes)


def test_probabilities(tmp_path):
    path, truth, p = write_random(tmp_path / "p.csv")
    result = evaluate_predictions(read_predictions(path))
    p = p / p.sum(1, keepdims=True)
    assert (result.labels, result.n, result.n_left_out, result.predictions) == (FER2013, 40, 0, "p.csv")
    np.testing.assert_allclose(result.probabilities, p)
    assert result.accuracy == accuracy_score(truth, p.argmax(1))
    assert result.nll == pytest.approx(log_loss(truth, p, labels=range(7)))
    assert result.calibration is not None
    assert result.ece_before_temperature is None
    json.dumps(result.to_dict(), allow_nan=False)


def test_spellings_case_order_and_a_mark_of_excel(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(
        "Source,Label,Sadness,HAPPINESS\r\na.png,Sad,1,0\r\nb.png,joy,0.4999,0.5\r\n\r\n", encoding="utf-8-sig"
    )
    found = read_predictions(path)
    assert (found.labels, found.called.tolist(), found.truth.tolist()) == (("sad", "happy"), [0, 1], [0, 1])
    assert evaluate_predictions(found).accuracy == 1


def test_labels_alone(tmp_path):
    path = write(tmp_path / "p.csv", "source,label,expression", "a,happy,joy", "b,sad,happy", "c,sad,sadness")
    result = evaluate_predictions(read_predictions(path))
    assert (result.labels, result.accuracy) == (("happy", "sad"), pytest.approx(2 / 3))
    assert result.confidence is result.calibration is result.curves is result.selective is None
    assert result.ece is result.nll is result.top_2_accuracy is None
    write_evaluation(result, tmp_path / "out")
    assert (tmp_path / "out" / PREDICTIONS_FILE).read_text("utf-8").splitlines()[:2] == [
        "source,label,expression",
        "a,happy,happy",
    ]
    assert evaluate_predictions(read_predictions(tmp_path / "out" / PREDICTIONS_FILE)).accuracy == result.accuracy


def test_a_confidence_gives_abstention_but_no_calibration(tmp_path):
    lines = ["a,happy,happy,0.9", "b,sad,happy,0.5", "c,sad,sad,0.7", "d,sad,happy,0.8"]
    path = write(tmp_path / "p.csv", "source,label,expression,confidence", *lines)
    result = evaluate_predictions(read_predictions(path), extras=Extras(target_accuracy=0.6))
    wanted = result.selective.abstention
    assert (wanted.threshold, wanted.n, wanted.coverage, wanted.accuracy) == (0.7, 3, 0.75, pytest.approx(2 / 3))
    assert wanted.accuracy_at_least < wanted.accuracy
    assert result.calibration is None
    none = evaluate_predictions(read_predictions(path), extras=Extras(target_accuracy=1)).selective.abstention
    assert (none.threshold, none.n) == (0.9, 1)


def test_what_evaluate_wrote_can_be_read_again(tmp_path):
    path, _, _ = write_random(tmp_path / "p.csv")
    result = evaluate_predictions(read_predictions(path))
    write_evaluation(result, tmp_path / "out")
    again = evaluate_predictions(read_predictions(tmp_path / "out" / PREDICTIONS_FILE))
    assert again.confusion == result.confusion
    np.testing.assert_allclose(again.probabilities, result.probabilities, atol=1e-5)


def test_parquet_is_written_and_read_like_csv(tmp_path):
    result = evaluate_predictions(read_predictions(write_random(tmp_path / "p.csv")[0]))
    write_evaluation(result, tmp_path / "out")
    write_evaluation(result, tmp_path / "out", table="parquet")
    place = (tmp_path / "out" / PREDICTIONS_FILE).with_suffix(".parquet")
    assert not (tmp_path / "out" / PREDICTIONS_FILE).exists()
    again = evaluate_predictions(read_predictions(place))
    assert again.sources == result.sources
    assert again.confusion == result.confusion
    np.testing.assert_allclose(again.probabilities, result.probabilities, atol=1e-5)
    table = pq.read_table(place).to_pydict()
    table["label"][3] = "puzzled"
    pq.write_table(pa.table(table), place)
    with pytest.raises(DataError, match=r"line 5.*puzzled"):
        read_predictions(place)
    place.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="can't read it as Parquet"):
        read_predictions(place)


def test_a_class_that_the_tool_lacks_is_wrong_and_said(tmp_path):
    path = write(tmp_path / "p.csv", "source,label,happy,sad", "a,contempt,0.5,0.5", "b,sad,0.1,0.9")
    result = evaluate_predictions(read_predictions(path))
    assert (result.labels, result.missing_classes) == (("happy", "sad", "contempt"), ("contempt",))
    assert (result.accuracy, result.nll_n, result.top_2_accuracy) == (0.5, 1, 0.5)
    assert result.curves.per_class["contempt"].auc is None


HEADER = "source,label,happy,sad"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([HEADER, "a,bored,0.5,0.5"], "line 2: unknown label 'bored'"),
        ([HEADER, "a,happy,0.5,0.5", "b,sad,0.5,0.3"], "line 3: its probabilities add up to 0.8"),
        ([HEADER, "a,happy,0.500,0.500", "b,sad,0.5,0.4"], "line 3: its probabilities add up to 0.9"),
        ([HEADER, "a,happy,7,50"], "scores are 7 to 50, and rows add up to 57 to 57; expected probabilities (sum 1)"),
        ([HEADER, "a,happy,-0.5,1.5"], "give their kind: --scores logits"),
        ([HEADER, "a,happy,much,0.5"], "line 2: 'much' in the column 'happy' is not a number"),
        ([HEADER, "a,happy,nan,0.5"], "line 2: 'nan' in the column 'happy' is not a number"),
        ([HEADER, "a,happy,,1"], "line 2: '' in the column 'happy' is not a number"),
        ([HEADER, "a,happy,1"], "line 2: 3 columns; expected 4"),
        ([HEADER, ",happy,1,0"], "line 2: no source"),
        (
            [HEADER, "a,happy,1,0", "b,sad,0,1", "a,sad,0,1"],
            "line 4: 'a' has the label 'sad' here and 'happy' in line 2",
        ),
        ([HEADER], "has no rows"),
        ([""], "is empty"),
        (
            ["source,happy,sad", "happy,1,0"],
            "no column with the truth (label, truth, y_true ...); it has source, h",
        ),
        (["source,label", "a,happy"], "nothing predicted; it has source, label; expected an answer"),
        (["source,label,label,happy", "a,happy,happy,1"], "line 1: two columns 'label'"),
        (["source,label,happy,joy", "a,happy,1,0"], "'happy' and 'joy' are both 'happy'"),
        (["source,label,happy,", "a,happy,1,0"], "line 1: a column without a name"),
        (["source,label,expression", "a,happy,bored"], "line 2: unknown expression 'bored'"),
        (["source,label,expression,confidence", "a,happy,sad,2"], "line 2: 2 in the column 'confidence'"),
        (["source,label,expression,happy,sad", "a,happy,sad,0.9,0.1"], "line 2: expression 'sad', but 'happy'"),
        (["source,label,happy", '"a,happy,1'], "can't read it as CSV"),
    ],
)
def test_what_is_refused(tmp_path, lines, says):
    with pytest.raises(DataError, match=r"p\.csv") as caught:
        read_predictions(write(tmp_path / "p.csv", *lines))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_bad_rows_are_counted(tmp_path):
    path = write(tmp_path / "p.csv", HEADER, *(f"f{i},happy,much,0.{i}" for i in range(1, 5)), *["x,dull,1,0"] * 6)
    with pytest.raises(DataError, match=r"rows that can't be used \(10\): line 2: .*; and 5 more"):
        read_predictions(path)


def test_files_that_are_no_text(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"source,label,happy\n\xff\xfe,happy,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_predictions(tmp_path / "b.csv")


# Against a data set


def test_rows_are_matched_by_source(tmp_path):
    path, truth, _ = write_random(tmp_path / "p.csv")
    header, *rows = path.read_text("utf-8").splitlines()
    shuffled = write(tmp_path / "s.csv", header, *np.random.default_rng(0).permutation(rows))
    alone = evaluate_predictions(read_predictions(path))
    result = evaluate_predictions(read_predictions(shuffled), make_samples(truth), data="faces", split="test")
    assert (result.data, result.split, result.sources) == ("faces", "test", alone.sources)
    np.testing.assert_allclose(result.probabilities, alone.probabilities)
    assert result.confusion == alone.confusion


def test_votes_groups_and_copies_reach_predictions(tmp_path):
    path, truth, _ = write_random(tmp_path / "p.csv", labels=EIGHT)
    votes = 10 * np.eye(8, dtype=np.float32)[truth]
    votes[0] = 0
    samples = make_samples(np.minimum(truth, 6), votes)
    extras = Extras(columns={"half": np.arange(40) % 2}, train=samples.images[:3])
    result = evaluate_predictions(read_predictions(path), samples, truth="votes", data="faces", extras=extras)
    assert (result.truth, result.n, result.n_left_out) == ("votes", 39, 1)
    assert (result.votes.majority.n, result.votes.agreement_80.n) == (39, 39)
    assert result.kl_n == 39
    assert sum(g.n for g in result.groups[0].groups) == 39
    assert (result.train_copies.n_copies, result.train_copies.without.n) == (2, 37)
    # The face without a majority need not be in the file.
    header, _, *rows = path.read_text("utf-8").splitlines()
    fewer = evaluate_predictions(
        read_predictions(write(tmp_path / "fewer.csv", header, *rows)), samples, truth="votes", extras=extras
    )
    assert (fewer.n, fewer.n_left_out, fewer.accuracy) == (39, 1, result.accuracy)
    assert (len(result.notes), len(fewer.notes)) == (0, 1)


def test_labels_alone_against_data(tmp_path):
    path = write(tmp_path / "p.csv", "source,label,expression", "f0.png,angry,angry", "f1.png,fear,angry")
    result = evaluate_predictions(read_predictions(path), make_samples([0, 2]), data="faces")
    assert (result.labels, result.accuracy, result.missing_classes) == (FER2013, 0.5, ())
    foreign = write(tmp_path / "q.csv", "source,label,expression", "f0.png,angry,contempt", "f1.png,fear,fear")
    wrong = evaluate_predictions(read_predictions(foreign), make_samples([0, 2]), data="faces")
    assert (wrong.n, wrong.accuracy, wrong.n_unanswered) == (2, 0.5, 0)
    assert wrong.notes == ("predictions of classes that the data lack, counted as wrong: contempt 1",)
    own = write(tmp_path / "own.csv", "source,expression", "f0.png,angry", "f1.png,puzzled")
    with pytest.raises(DataError, match=r"line 3: 'puzzled'"):
        evaluate_predictions(read_predictions(own, with_data=True), make_samples([0, 2]), data="faces")


def test_what_does_not_fit_the_data_is_refused(tmp_path):
    path, truth, _ = write_random(tmp_path / "p.csv", n=5)
    found = read_predictions(path)
    more = make_samples([*truth, 0, 0])
    with pytest.raises(DataError, match=r"2 of the 7 faces to measure in faces are missing, first 'f5.png'"):
        evaluate_predictions(found, more, data="faces")
    with pytest.raises(DataError, match=r"line 6: 'f4.png'"):
        evaluate_predictions(found, make_samples(truth[:4]), data="faces")
    other = truth.copy()
    other[1] = (other[1] + 1) % 7
    with pytest.raises(DataError, match=r"rows that contradict the data.*\(1\): line 3: label"):
        evaluate_predictions(found, make_samples(other), data="faces")
    with pytest.raises(DataError, match="needs the data set's votes"):
        evaluate_predictions(found, truth="votes")
    twice = write(
        tmp_path / "twice.csv", *path.read_text("utf-8").splitlines(), path.read_text("utf-8").splitlines()[1]
    )
    with pytest.raises(DataError, match=r"line 7: 'f0.png' is already in line 2"):
        evaluate_predictions(read_predictions(twice), make_samples(truth), data="faces")
    same = Samples(np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int64), FER2013, ("x", "x"))
    with pytest.raises(DataError, match="two faces have the source 'x'"):
        evaluate_predictions(found, same, data="faces")


# The command


def test_command(tmp_path, capsys):
    from mien.cli.evaluate import evaluate as command

    path, truth, p = write_random(tmp_path / "p.csv")
    command(out=tmp_path / "out", predictions=path, target_accuracy=0.5)
    assert "accuracy" in capsys.readouterr().out
    with (tmp_path / "out" / PREDICTIONS_FILE).open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 40
    command(out=tmp_path / "out", predictions=path, format_="json")
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(np.mean(p.argmax(1) == truth))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "either models or --predictions"),
        ({"models": ["mien-nano"], "predictions": True}, "not both"),
        ({"models": ["mien-nano"]}, "--data"),
        ({"predictions": True, "groups": ["age"]}, "--data"),
        ({"predictions": True, "target_accuracy": 90}, "at most 1"),
    ],
)
def test_options_that_exclude_each_other(tmp_path, options, says):
    from mien.cli.evaluate import evaluate as command

    if "predictions" in options:
        options = options | {"predictions": write_random(tmp_path / "p.csv", n=3)[0]}
    with pytest.raises(DataError, match=says):
        command(out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
