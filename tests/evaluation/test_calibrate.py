"""A model file calibrated anew: what is fitted, what stays as it was, and what is refused."""

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mien.cli.calibrate import calibrate as command
from mien.crop import CropSpec
from mien.data.samples import Samples
from mien.data.toy import toy_faces, write_toy_folders
from mien.errors import DataError, MissingExtraError, ModelFileError, OutputError
from mien.evaluation import recalibrate as module
from mien.evaluation.calibration import undo_temperature
from mien.evaluation.ensemble import write_ensemble
from mien.evaluation.evaluate import evaluate_samples
from mien.evaluation.fitting import fitting_split
from mien.evaluation.recalibrate import fit_vector, write_calibrated
from mien.labels import EIGHT, FER2013
from mien.model_file import ModelFile, ModelInfo, load_model
from tiny_models import make_model


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def sharp_model(path, factor=6.0, labels=FER2013, *, info=None):
    """A small model whose logits are spread out by `factor`."""
    model = onnx.load(make_model(path, labels, metadata=info and info.to_json()))
    for i, tensor in enumerate(model.graph.initializer):
        if tensor.name == "weight":
            values = numpy_helper.to_array(tensor) * np.float32(factor)
            model.graph.initializer[i].CopyFrom(numpy_helper.from_array(values, "weight"))
    onnx.save(model, path)
    return ModelFile(path)


def samples_of(model, count=3000, *, scale=0.5, bias=0.0, votes=False, seed=0):
    """Random faces with labels (or votes) drawn from softmax(scale * logits + bias) of the model's own logits."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 48, 48, 1), np.uint8)
    p = softmax(scale * np.log(np.maximum(model.probabilities(images).astype(np.float64), 1e-30)) + bias)
    labels = (rng.random((count, 1)) > p.cumsum(1)).sum(1).clip(0, 6)
    ballots = rng.multinomial(10, p / p.sum(1, keepdims=True)).astype(np.float32) if votes else None
    return Samples(images, labels, FER2013, tuple(map(str, range(count))), ballots)


def test_temperature_is_found_and_no_answer_changes(tmp_path):
    model = sharp_model(tmp_path / "m.onnx")
    samples = samples_of(model, 1500, scale=1 / 2)
    result = write_calibrated(model, samples, tmp_path / "c.onnx", source="here")
    new = ModelFile(result.path)
    assert new.info == result.info
    assert new.info.temperature == pytest.approx(2, rel=0.1)
    old_p, new_p = model.probabilities(samples.images), new.probabilities(samples.images)
    np.testing.assert_array_equal(old_p.argmax(1), new_p.argmax(1))
    assert result.after.accuracy == result.before.accuracy
    assert result.after.nll < result.before.nll - 0.03
    assert result.after.ece < result.before.ece / 2
    measured = evaluate_samples([new], samples)
    assert measured.nll == pytest.approx(result.after.nll, abs=1e-5)
    assert measured.ece == pytest.approx(result.after.ece, abs=1e-5)
    assert measured.ece_before_temperature == pytest.approx(result.before.ece, abs=1e-4)
    assert new.info.scores["validation_ece"] == round(result.after.ece, 4)
    assert new.info.scores["validation_ece_before"] == round(result.before.ece, 4)
    assert new.info.data == "temperature fitted to validation of here: 1500 faces"
    assert (new.info.name, new.info.crop, new.info.labels) == ("c", model.info.crop, model.info.labels)


def test_temperatures_multiply_and_can_be_undone(tmp_path):
    info = ModelInfo("m", FER2013, 48, 1, CropSpec(), "label", temperature=1.5, data="faces")
    model = sharp_model(tmp_path / "m.onnx", info=info)
    samples = samples_of(model, 500)
    once = write_calibrated(model, samples, tmp_path / "once.onnx")
    twice = write_calibrated(ModelFile(once.path), samples, tmp_path / "twice.onnx")
    assert once.info.temperature == pytest.approx(1.5 / once.scale[0])
    assert twice.info.temperature == pytest.approx(once.info.temperature, rel=1e-3)  # nothing was left to do
    assert twice.info.data.startswith("faces; temperature fitted")
    plain = undo_temperature(model.probabilities(samples.images), 1.5)
    undone = undo_temperature(ModelFile(once.path).probabilities(samples.images), once.info.temperature)
    np.testing.assert_allclose(plain, undone, atol=1e-4)


def test_vector_scaling_finds_what_was_drawn():
    rng = np.random.default_rng(0)
    scale, bias = np.array([0.5, 1.0, 1.5, 0.8]), np.array([0.5, -0.5, 0.3, -0.3])
    logits = rng.normal(0, 2, (20_000, 4))
    p = softmax(scale * logits + bias)
    labels = (rng.random((20_000, 1)) > p.cumsum(1)).sum(1).clip(0, 3)
    found_scale, found_bias = fit_vector(logits, np.eye(4)[labels])
    np.testing.assert_allclose(found_scale, scale, atol=0.05)
    np.testing.assert_allclose(found_bias - found_bias.mean(), bias - bias.mean(), atol=0.08)


def test_vector_scaling_is_in_the_file(tmp_path):
    model = sharp_model(tmp_path / "m.onnx", 3.0)
    samples = samples_of(model, 800, scale=np.linspace(0.3, 1, 7), bias=np.linspace(-1, 1, 7))
    result = write_calibrated(model, samples, tmp_path / "v.onnx", method="vector")
    assert result.after.nll < write_calibrated(model, samples, tmp_path / "t.onnx").after.nll
    assert evaluate_samples([ModelFile(result.path)], samples).nll == pytest.approx(result.after.nll, abs=1e-5)
    assert result.info.temperature == 1.0
    again = write_calibrated(model, samples, tmp_path / "again.onnx", method="vector", name="v")
    assert again.path.read_bytes() == result.path.read_bytes()


def test_vector_scaling_ends_where_the_loss_is_least():
    rng = np.random.default_rng(1)
    logits, shares = rng.normal(0, 2, (200, 4)), rng.dirichlet(np.ones(4), 200)

    def loss(x):
        p = softmax(logits * x[:4] + x[4:])
        return -(shares * np.log(p)).sum() + ((x[:4] - 1) ** 2).sum() / 2 + (x[4:] ** 2).sum() / 2

    found = np.concatenate(fit_vector(logits, shares))
    slope = [(loss(found + d) - loss(found - d)) / 2e-4 for d in np.eye(8) * 1e-4]
    np.testing.assert_allclose(slope, 0, atol=1e-3)


def test_vector_scaling_keeps_its_head():
    logits = np.log(softmax(np.random.default_rng(2).normal(0, 3, (30, 3))))
    separable = np.eye(3)[logits[:, :2].argmax(1)]  # the third class never is the truth
    scale, bias = fit_vector(logits, separable)
    assert np.isfinite([*scale, *bias]).all()
    assert np.abs([*scale, *bias]).max() < 30
    extreme = fit_vector(np.array([[0.0, -69.0], [-69.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert np.isfinite(extreme).all()
    for wrong in (np.zeros((0, 3)), np.full((2, 3), np.nan)):
        with pytest.raises(ValueError, match="expected finite"):
            fit_vector(wrong, np.zeros(wrong.shape))


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_probabilities_of_zero_stay_numbers(tmp_path, method):
    model = sharp_model(tmp_path / "m.onnx", 3000.0)
    faces = toy_faces(60)
    assert (model.probabilities(faces.images) == 0).any()
    result = write_calibrated(model, faces, tmp_path / "c.onnx", method=method)
    found = ModelFile(result.path).probabilities(faces.images)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert result.after.nll < result.before.nll


def test_a_votes_model_is_fitted_to_the_shares_of_raters(tmp_path):
    info = ModelInfo("m", FER2013, 48, 1, CropSpec(), "votes")
    model = sharp_model(tmp_path / "m.onnx", info=info)
    samples = samples_of(model, 800, scale=1 / 3, votes=True)
    votes = np.hstack([samples.votes, np.zeros((800, 1), np.float32)])
    votes[:50] = 0
    votes[50:60] = np.eye(8)[7] * 10  # contempt, which the model can't say
    # The labels are turned around: they must not matter.
    samples = Samples(samples.images, 6 - samples.labels, FER2013, samples.sources, votes)
    result = write_calibrated(model, samples, tmp_path / "c.onnx", source="here")
    assert result.info.temperature == pytest.approx(3, rel=0.1)
    assert result.info.data.endswith("here: 740 faces")
    with pytest.raises(DataError, match="here: has no votes"):
        write_calibrated(model, toy_faces(20), tmp_path / "none.onnx", source="here")
    nobody = Samples(samples.images, samples.labels, FER2013, samples.sources, np.zeros((800, 8), np.float32))
    with pytest.raises(DataError, match="nobody voted"):
        write_calibrated(model, nobody, tmp_path / "none.onnx")


def test_shipped_models_and_ensembles_can_be_calibrated(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.evaluation.ensemble._CHECKED", 32)
    members = [load_model("mien-nano-fer2013"), ModelFile(make_model(tmp_path / "m.onnx"))]
    faces = toy_faces(64)
    both = ModelFile(write_ensemble(members, tmp_path / "both.onnx").path)
    for model in (members[0], both):
        result = write_calibrated(model, faces, tmp_path / "c.onnx", method="temperature")
        new = ModelFile(result.path)
        seen, now = model.probabilities(faces.images), new.probabilities(faces.images)
        np.testing.assert_array_equal(seen.argmax(1), now.argmax(1))
        assert new.info.members == model.info.members
        assert new.path.stat().st_size < onnx.load(model.path).ByteSize() + 5000  # with weights of the file beside it


def test_predict_takes_a_calibrated_file(tmp_path):
    import mien

    write_calibrated(load_model("mien-nano-fer2013"), toy_faces(32), tmp_path / "c.onnx")
    place = tmp_path / "face.png"
    cv2.imwrite(str(place), toy_faces(1).images[0])
    result = mien.Recognizer(model=tmp_path / "c.onnx", detector="none").predict(place)
    assert len(result.faces) == 1


def test_other_labels_are_refused(tmp_path):
    model = ModelFile(make_model(tmp_path / "m.onnx", EIGHT))
    with pytest.raises(DataError, match=r"toys: has the labels angry, .* says .*contempt"):
        write_calibrated(model, toy_faces(20), tmp_path / "c.onnx", source="toys")


def test_nothing_is_written_where_it_must_not(tmp_path, monkeypatch):
    model, faces = ModelFile(make_model(tmp_path / "m.onnx")), toy_faces(20)
    before = model.path.read_bytes()
    with pytest.raises(OutputError, match="give another file"):
        write_calibrated(model, faces, model.path)
    assert model.path.read_bytes() == before
    with pytest.raises(OutputError, match="can't be written"):
        write_calibrated(model, faces, model.path / "c.onnx")
    monkeypatch.setattr(module, "PARITY", -1.0)
    with pytest.raises(ModelFileError, match="nothing was kept"):
        write_calibrated(model, faces, tmp_path / "c.onnx")
    monkeypatch.setattr("mien.evaluation.fitting.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"mien\[train\]"):
        write_calibrated(model, faces, tmp_path / "c.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_splits(tmp_path, said):
    write_toy_folders(tmp_path / "toys", train=14, validation=7, test=7)
    with pytest.raises(DataError, match="test split is for measuring only"):
        fitting_split(tmp_path / "toys", "test", size=48, channels=1)
    assert len(fitting_split(tmp_path / "toys", "validation", size=48, channels=1)) == 7
    assert said == []
    assert len(fitting_split(tmp_path / "toys", "train", size=48, channels=1)) == 14
    assert "more confident" in said[0]
    with pytest.raises(DataError, match="nowhere"):
        fitting_split(tmp_path / "nowhere", "validation", size=48, channels=1)


def test_command(tmp_path, capsys):
    write_toy_folders(tmp_path / "toys", train=7, validation=21, test=7)
    path, out = make_model(tmp_path / "m.onnx"), tmp_path / "new" / "c.onnx"
    command(str(path), data=tmp_path / "toys", out=out)
    printed = capsys.readouterr().out
    assert "NLL" in printed
    assert "temperature times" in printed
    assert ModelFile(out).info.name == "c"
    command(str(path), data=tmp_path / "toys", out=out, method="vector", name="mine")
    assert "weight" in capsys.readouterr().out
    assert ModelFile(out).info.name == "mine"
    with pytest.raises(DataError, match="test split"):
        command(str(path), data=tmp_path / "toys", out=tmp_path / "no.onnx", split="test")
    assert not (tmp_path / "no.onnx").exists()
