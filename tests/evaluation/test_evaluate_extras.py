"""Evaluation's further figures: report, votes, abstention, copies in train, groups, speed, and degenerate splits."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import classification_report as sk_report
from sklearn.metrics import top_k_accuracy_score
from test_evaluate import SIZE, STEP, make_model, make_samples, random_samples, softmax

from mien.data.samples import vote_shares
from mien.errors import DataError
from mien.evaluation.evaluate import Extras, evaluate_samples
from mien.evaluation.inputs import exact_copies
from mien.evaluation.report import classification_report, report_text
from mien.evaluation.result import Share
from mien.evaluation.speed import graph_macs
from mien.labels import EIGHT, FER2013


def test_report_is_scikit_learns(tmp_path):
    samples = random_samples(7)
    result = evaluate_samples([make_model(tmp_path / "m.onnx")], samples)
    called = result.predicted_index
    expected = sk_report(samples.labels, called, target_names=FER2013, digits=4)
    assert [line.split() for line in classification_report(result).splitlines()] == [
        line.split() for line in expected.splitlines()
    ]
    missing = evaluate_samples([make_model(tmp_path / "m.onnx")], make_samples(np.eye(7)[[0, 1]] * 60, [0, 1]))
    text = classification_report(missing)
    assert "nan" not in text
    assert next(line.split() for line in text.splitlines() if "fear" in line) == ["fear", "0.0000", "-", "-", "0"]
    assert next(line.split() for line in text.splitlines() if "macro" in line)[2:] == ["1.0000"] * 3 + ["2"]


def test_further_figures(tmp_path):
    samples = random_samples(8, votes=True)
    model = make_model(tmp_path / "m.onnx", EIGHT, target="votes", temperature=1.5)
    result = evaluate_samples([model], samples)
    share = vote_shares(samples.votes)
    p = softmax(samples.images[:, 0, :8, 0] * STEP / 1.5)
    assert result.top_2_accuracy == pytest.approx(top_k_accuracy_score(result.truth_index, result.probabilities, k=2))
    for name, least in (("majority", 0.5001), ("agreement_60", 0.6), ("agreement_80", 0.8)):
        rows = share.max(1) >= least - 1e-6
        found = getattr(result.votes, name)
        assert found.n == rows.sum()
        assert found.accuracy == pytest.approx(np.mean(p[rows].argmax(1) == share[rows].argmax(1)))
    by_label = evaluate_samples([model], samples, truth="label")
    assert by_label.votes == result.votes
    # The diagram is that of the ECE beside it.
    for bins, ece in (
        (result.calibration.reliability, result.ece),
        (result.calibration.reliability_majority, result.ece_majority),
        (by_label.calibration.reliability, by_label.ece),
    ):
        n = sum(b.n for b in bins)
        assert sum(b.n * abs(b.accuracy - b.confidence) for b in bins if b.n) / n == pytest.approx(ece)
    with pytest.raises(DataError, match="at most 1"):
        evaluate_samples([model], samples, extras=Extras(target_accuracy=90))


def test_the_confidence_for_a_wanted_accuracy(tmp_path):
    samples, model = random_samples(8), make_model(tmp_path / "m.onnx")
    every = evaluate_samples([model], samples)
    assert every.selective.abstention is None
    target = (1 + every.accuracy) / 2
    result = evaluate_samples([model], samples, extras=Extras(target_accuracy=target))
    wanted, hits = result.selective.abstention, result.predicted_index == result.truth_index
    kept = result.confidence >= wanted.threshold
    assert (wanted.n, wanted.coverage, wanted.accuracy) == (kept.sum(), kept.mean(), hits[kept].mean())
    assert wanted.accuracy >= target > wanted.accuracy_at_least
    lower = result.confidence[~kept]
    assert all(hits[result.confidence >= c].mean() < target for c in lower)
    assert result.to_dict()["selective"]["abstention"]["threshold"] == wanted.threshold  # not rounded
    wrong = make_samples(np.eye(7, dtype=int)[[1, 1]] * 60, [0, 2])
    never = evaluate_samples([model], wrong, extras=Extras(target_accuracy=0.5))
    assert (never.selective.abstention.threshold, never.selective.abstention.n) == (None, 0)
    assert "no confidence is high enough" in report_text(never)


@pytest.mark.parametrize("seed", range(4))
def test_degenerate_splits_give_null_and_never_nan(tmp_path, seed):
    one, constant = random_samples(seed, n=1), make_samples(np.zeros((9, 7), int), [3] * 9)
    wrong = make_samples(np.eye(7, dtype=int)[[1] * 8] * 60, [0, 2, 3, 4, 5, 6, 0, 2])
    for samples in (one, constant, wrong, random_samples(seed, n=3, votes=False)):
        result = evaluate_samples([make_model(tmp_path / "m.onnx")], samples, extras=Extras(target_accuracy=0.9))
        text = json.dumps(result.to_dict(), allow_nan=False)
        assert "NaN" not in text
        assert "nan" not in report_text(result)
    assert result.to_dict()["curves"]["per_class"]["disgust"]["roc"] is None or result.n == 3


def test_exact_copies_of_training_faces(tmp_path):
    samples = random_samples(9, n=50)
    train = np.concatenate((samples.images[10:20], random_samples(10, n=30).images))
    result = evaluate_samples([make_model(tmp_path / "m.onnx")], samples, extras=Extras(train=train))
    kept = np.r_[0:10, 20:50]
    copies = result.train_copies
    assert (copies.n_train, copies.n_copies, copies.without.n) == (40, 10, 40)
    assert copies.without.accuracy == pytest.approx(np.mean((result.predicted_index == result.truth_index)[kept]))
    assert result.to_dict()["accuracy_without_train_copies"] == pytest.approx(copies.without.accuracy, abs=1e-6)
    every = evaluate_samples([make_model(tmp_path / "m.onnx")], samples, extras=Extras(train=samples.images))
    assert every.train_copies.without == Share(0, None, None)
    with pytest.raises(ValueError, match="same size"):
        exact_copies(samples.images, train[:, :8])


def test_groups_of_samples(tmp_path):
    samples = random_samples(11, n=90, votes=True)
    columns = {"who": np.repeat(np.array(["a", "b", "c"], object), 30)}
    model = make_model(tmp_path / "m.onnx", EIGHT, target="votes")
    result = evaluate_samples([model], samples, extras=Extras(columns=columns))
    (comparison,) = result.groups
    assert sum(g.n for g in comparison.groups) == result.n < 90
    places = [int(s[1:]) // 30 for s in result.sources]
    for g in comparison.groups:
        rows = np.array(places) == "abc".index(g.value)
        assert g.accuracy == pytest.approx(np.mean((result.predicted_index == result.truth_index)[rows]))
    with pytest.raises(DataError, match="one value per face"):
        evaluate_samples([model], samples, extras=Extras(columns={"who": np.zeros(3)}))


def test_speed_and_size(tmp_path):
    model = make_model(tmp_path / "m.onnx", size=SIZE)
    speed = evaluate_samples([model, model], random_samples(n=3), extras=Extras(speed=True)).speed
    assert [b.batch_size for b in speed.batches] == [1, 8, 64]
    assert all(0 < b.p50_ms <= b.p95_ms and b.runs >= 10 for b in speed.batches)
    assert speed.models[0].macs == SIZE * SIZE * len(FER2013)
    assert speed.models[0].file_bytes == (tmp_path / "m.onnx").stat().st_size


def test_macs_of_convolutions_and_of_what_is_not_known(tmp_path):
    def save(nodes, out):
        weights = [
            numpy_helper.from_array(np.zeros((6, 2, 3, 3), np.float32), "a"),
            numpy_helper.from_array(np.zeros((6, 5), np.float32), "b"),
            numpy_helper.from_array(np.array([16, 16]), "side"),
        ]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 8, 8])],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
            weights,
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "g.onnx")
        return graph_macs(tmp_path / "g.onnx")

    conv = helper.make_node("Conv", ["x", "a"], ["c"], group=2, strides=[2, 2], pads=[1, 1, 1, 1])
    pool = helper.make_node("ReduceMean", ["c"], ["p"], axes=[2, 3], keepdims=0)
    dense = helper.make_node("MatMul", ["p", "b"], ["d"])
    assert save([conv, pool, dense], "d") == 6 * 2 * 9 * 16 + 6 * 5
    assert save([helper.make_node("Relu", ["x"], ["r"])], "r") is None
    enlarged = [  # as the exporter writes it: the size is reckoned from the batch's shape
        helper.make_node("Shape", ["x"], ["two"], end=2),
        helper.make_node("Concat", ["two", "side"], ["size"], axis=0),
        helper.make_node("Resize", ["x", "", "", "size"], ["large"]),
        helper.make_node("Conv", ["large", "a"], ["c"], group=2, pads=[1, 1, 1, 1]),
    ]
    assert save(enlarged, "c") == 6 * 2 * 9 * 16 * 16


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(DataError, match="faces: the split has no faces"):
        evaluate_samples([make_model(tmp_path / "m.onnx")], random_samples(n=0), data="faces")


def test_command_on_arrays_with_groups_and_train(tmp_path, capsys):
    from mien.cli.evaluate import evaluate as command
    from mien.data.arrays import write_arrays
    from mien.data.dataset import Dataset
    from mien.data.source import offsets_of, text_column

    samples = random_samples(12, n=60)
    images = samples.images.copy()
    images[40:45] = images[:5]  # copies of training faces
    shapes = np.tile(np.array([SIZE, SIZE, 1], np.int32), (60, 1))
    labels = samples.labels.copy()
    labels[7] = -1  # a training face without a label does not matter
    columns = {
        "source": text_column([f"s{i}" for i in range(60)]),
        "split": text_column(["train"] * 30 + ["test"] * 30),
        "label": labels,
        "age": text_column(["old", "young"] * 30),
    }
    dataset = Dataset(FER2013, columns, images.reshape(-1), offsets_of(shapes), shapes)
    write_arrays(dataset, tmp_path / "data", command="import", settings={})
    make_model(tmp_path / "m.onnx")
    arguments = {"models": [str(tmp_path / "m.onnx")], "data": tmp_path / "data", "split": "test", "speed": False}
    command(**arguments, out=tmp_path / "out", groups=["age"], format_="json")
    written = json.loads(capsys.readouterr().out)
    assert [(g["value"], g["n"]) for g in written["groups"][0]["groups"]] == [("old", 15), ("young", 15)]
    assert (written["train_copies"]["n_copies"], written["train_copies"]["n_train"]) == (5, 30)
    command(**arguments, out=tmp_path / "out", leak_check=False, format_="json")
    written = json.loads(capsys.readouterr().out)
    assert written["train_copies"] is written["accuracy_without_train_copies"] is written["speed"] is None
    with pytest.raises(DataError, match="no column 'sex' to group by; it has source, split, label, age"):
        command(**arguments, out=tmp_path / "none", groups=["sex"])
    command(**(arguments | {"split": "validation"}), out=tmp_path / "held", leak_check=False, format_="json")
    assert json.loads(capsys.readouterr().out)["n"] == 1  # held out of train, as training does
