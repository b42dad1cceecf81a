"""Robustness: what corruptions do to faces, that they are repeatable, and that clean faces score as they should."""

from dataclasses import replace

import numpy as np
import pytest

from mien.data.toy import toy_faces
from mien.evaluation.evaluate import Extras, evaluate_samples
from mien.evaluation.robustness import CORRUPTIONS, SEVERITIES, choose_rows, corrupt, measure_robustness
from mien.labels import EIGHT, FER2013
from mien.model_file import ModelFile
from tiny_models import make_model

NAMES = [c.name for c in CORRUPTIONS]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "channels"), [(48, 1), (33, 3)])
def test_corruptions_of_any_face(name, size, channels):
    faces = toy_faces(6, size=size, channels=channels).images
    before = faces.copy()
    changed = [corrupt(faces, name, severity) for severity in SEVERITIES]
    assert (faces == before).all()
    for each in changed:
        assert (each.shape, each.dtype) == (faces.shape, np.uint8)
    amounts = [np.abs(each.astype(float) - faces).mean() for each in changed]
    assert amounts[0] > 0
    assert amounts[-1] > amounts[1] > amounts[0]  # more of it changes more
    assert corrupt(faces, name, 0) is faces


@pytest.mark.parametrize("name", NAMES)
def test_what_is_random_is_each_faces_own(name):
    faces = np.repeat(toy_faces(1).images, 4, axis=0)
    rows = np.array([7, 3, 9, 7])
    found = corrupt(faces, name, 3, rows=rows, seed=1)
    assert (found[0] == found[3]).all()
    assert (corrupt(faces[1:2], name, 3, rows=rows[1:2], seed=1) == found[1:2]).all()
    if name not in ("blur", "jpeg", "low resolution"):
        many = corrupt(np.repeat(faces[:1], 12, axis=0), name, 3)
        assert (many != corrupt(np.repeat(faces[:1], 12, axis=0), name, 3, seed=2)).any()
        assert any((each != many[0]).any() for each in many)


def test_red_stays_red():
    face = np.zeros((1, 32, 32, 3), np.uint8)
    face[..., 0] = 200
    for name in ("jpeg", "blur", "low resolution", "rotation"):
        mean = corrupt(face, name, 1).reshape(-1, 3).mean(0)
        assert mean[0] > 190 and mean[1:].max() < 15, name


def test_corruptions_do_what_they_say():
    faces = toy_faces(30).images
    assert corrupt(faces, "low light", 1).mean() == pytest.approx(faces.mean() / 2, rel=0.03)
    covered = (corrupt(faces, "bar", 5) != faces)[..., 0]
    assert 0.2 < covered.mean() < 0.45
    eyes, mouth = ((corrupt(faces, f"{name} covered", 1) != faces)[..., 0] for name in ("eyes", "mouth"))
    assert not eyes[:, 24:].any() and not mouth[:, :30].any()
    flat = np.full((3, 48, 48, 1), 90, np.uint8)
    for name in ("blur", "rotation", "crop jitter", "low resolution"):
        assert (corrupt(flat, name, 5) == 90).all(), name  # nothing foreign comes in from outside


def test_unknown_corruptions_are_refused():
    faces = toy_faces(1).images
    for name, severity in (("fog", 1), ("blur", 6), ("blur", -1)):
        with pytest.raises(ValueError, match="expected 0 to 5"):
            corrupt(faces, name, severity)
    with pytest.raises(ValueError, match="at least one row"):
        measure_robustness(lambda f: np.zeros(len(f), int), faces, np.zeros(1, int), rows=np.zeros(0, int))


def test_clean_equals_the_evaluation_to_the_sample(tmp_path):
    samples = toy_faces(120)
    model = ModelFile(make_model(tmp_path / "m.onnx", EIGHT))
    told = []
    result = evaluate_samples(
        [model],
        samples,
        batch_size=37,
        extras=Extras(robustness_faces=1000),
        progress=lambda done, total: told.append((done, total)),
    )
    found = result.robustness
    assert (found.n, found.clean_accuracy, found.clean_accuracy_95) == (120, result.accuracy, result.accuracy_95)
    assert told[-1] == (120 * 51, 120 * 51)
    assert [c.name for c in found.corruptions] == NAMES
    for c in found.corruptions:
        np.testing.assert_allclose(np.array(c.relative_error) * (1 - result.accuracy), 1 - np.array(c.accuracy))
    assert found.mean_accuracy == pytest.approx(np.mean([c.accuracy for c in found.corruptions]))
    written = result.to_dict()["robustness"]
    assert (written["n"], len(written["corruptions"]), len(written["corruptions"][0]["accuracy"])) == (120, 10, 5)
    assert evaluate_samples([model], samples).to_dict()["robustness"] is None

    # Part of the faces, as classified in other company, get the answers that they got before.
    rows = choose_rows(120, 20)
    some = evaluate_samples([model], samples, extras=Extras(robustness_faces=20)).robustness
    hits = result.truth_index == result.predicted_index
    assert (some.n, some.clean_accuracy) == (20, hits[rows].mean())
    assert some == evaluate_samples([model], samples, extras=Extras(robustness_faces=20)).robustness


def test_faces_without_a_truth_are_not_measured(tmp_path):
    samples = toy_faces(40)
    votes = np.zeros((40, 8), np.float32)
    votes[::2, 3] = 10
    votes[1::2, :2] = 5
    model = ModelFile(make_model(tmp_path / "m.onnx", favourite="happy"))
    result = evaluate_samples([model], replace(samples, votes=votes), truth="votes", extras=Extras(robustness_faces=99))
    assert result.rows.tolist() == list(range(0, 40, 2))
    assert (result.robustness.n, result.robustness.clean_accuracy) == (20, 1.0)
    assert FER2013[3] == "happy"
    # Nothing was wrong, so nothing can be so many times as wrong.
    assert result.robustness.mean_relative_error is None
    assert all(c.relative_error is None for c in result.robustness.corruptions)
