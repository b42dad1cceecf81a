"""Several model files as one: it says what they say on average, refuses what does not go together, and is checked."""

import json
import tomllib

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper

from mien.cli.ensemble import ensemble as command
from mien.crop import CropSpec, fit_face
from mien.data.samples import Samples
from mien.data.toy import toy_faces, write_toy_folders
from mien.errors import DataError, MissingExtraError, ModelFileError, OutputError
from mien.evaluation import ensemble as module
from mien.evaluation.ensemble import fit_weights, write_ensemble
from mien.evaluation.evaluate import evaluate_samples
from mien.evaluation.fitting import cross_entropy
from mien.labels import FER2013
from mien.model_file import METADATA_KEY, ModelFile, ModelInfo, load_model
from tiny_models import make_model


@pytest.fixture(autouse=True)
def few_faces(monkeypatch):
    monkeypatch.setattr(module, "_CHECKED", 32)


def tiny(folder, name, seed, **options):
    return ModelFile(make_model(folder / f"{name}.onnx", seed=seed, **options))


def votes_model(folder, name, seed):
    labels = load_model("mien-nano").info.labels
    info = ModelInfo(name, labels, 48, 1, CropSpec(), "votes")
    return ModelFile(make_model(folder / f"{name}.onnx", labels, seed=seed, metadata=info.to_json()))


def disturbed(folder, name, seed):
    """A shipped model with other weights: as large, and stored in the same way."""
    model = onnx.load(load_model("mien-nano").path)
    rng = np.random.default_rng(seed)
    for i, tensor in enumerate(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float16:
            changed = (values * rng.normal(1, 0.05, values.shape)).astype(np.float16)
            model.graph.initializer[i].CopyFrom(numpy_helper.from_array(changed, tensor.name))
    onnx.save(model, folder / f"{name}.onnx")
    return ModelFile(folder / f"{name}.onnx")


def random_faces(count, size=48, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, channels), np.uint8)


def test_three_networks_are_one_file_of_their_size_that_says_their_mean(tmp_path):
    members = [load_model("mien-nano"), disturbed(tmp_path, "b", 1), disturbed(tmp_path, "c", 2)]
    result = write_ensemble(members, tmp_path / "trio.onnx")
    one, faces = ModelFile(tmp_path / "trio.onnx"), random_faces(64)
    each = np.stack([m.probabilities(faces) for m in members])
    assert np.abs(each[0] - each[1]).max() > 0.01
    np.testing.assert_allclose(one.probabilities(faces), each.mean(0), atol=1e-5)
    assert one.path.stat().st_size <= 1.05 * sum(m.path.stat().st_size for m in members)
    assert one.info == result.info
    assert one.info.name == "trio"
    assert one.info.members == ("mien-nano",) * 3
    assert one.info.parameters == 3 * members[0].info.parameters
    assert (one.info.data, one.info.licence) == (members[0].info.data, members[0].info.licence)
    assert (one.info.target, one.info.crop, one.info.temperature) == ("votes", members[0].info.crop, 1.0)
    recipe = tomllib.loads(one.info.recipe)
    assert [m["sha256"] for m in recipe["member"]] == [m.sha256 for m in members]
    assert result.comparison is None


def test_labels_are_matched_by_name_and_weights_are_shares(tmp_path):
    first = tiny(tmp_path, "first", 0)
    spelled = ("Neutrality", "surprise", "sad", "Happiness", "fear", "disgust", "anger")
    second = tiny(tmp_path, "second", 1, labels=spelled)
    result = write_ensemble([first, second], tmp_path / "e.onnx", weights=(6, 2), name="both")
    faces = random_faces(20)
    expected = 0.75 * first.probabilities(faces) + 0.25 * second.probabilities(faces)[:, ::-1]
    one = ModelFile(result.path)
    np.testing.assert_allclose(one.probabilities(faces), expected, atol=1e-5)
    assert (one.info.labels, one.info.name, result.weights) == (FER2013, "both", (0.75, 0.25))


@pytest.mark.parametrize(("size", "channels"), [(96, 1), (64, 1), (48, 3), (96, 3), (100, 3)])
def test_members_of_other_sizes_and_channels_see_what_they_would_have_seen(tmp_path, size, channels):
    small, large = tiny(tmp_path, "small", 0), tiny(tmp_path, "large", 1, size=size, channels=channels)
    one = ModelFile(write_ensemble([small, large], tmp_path / "e.onnx").path)
    assert (one.info.size, one.info.channels) == (size, channels)
    faces = random_faces(40, size, channels)
    fitted = np.stack([fit_face(face, 48, 1) for face in faces])
    expected = (small.probabilities(fitted) + large.probabilities(faces)) / 2
    np.testing.assert_allclose(one.probabilities(faces), expected, atol=1e-5)


def test_a_large_grey_member_beside_a_small_one_in_colour(tmp_path):
    grey, colour = tiny(tmp_path, "grey", 0, size=64), tiny(tmp_path, "colour", 1, channels=3)
    one = ModelFile(write_ensemble([grey, colour], tmp_path / "e.onnx").path)
    faces = random_faces(20, 64, 3)
    expected = grey.probabilities(np.stack([fit_face(face, 64, 1) for face in faces]))
    expected = (expected + colour.probabilities(np.stack([fit_face(face, 48, 3) for face in faces]))) / 2
    np.testing.assert_allclose(one.probabilities(faces), expected, atol=1e-5)


def test_members_with_operators_of_several_versions(tmp_path):
    old, new = tiny(tmp_path, "old", 0), load_model("mien-nano-fer2013")
    assert onnx.load(old.path).opset_import[0].version != onnx.load(new.path).opset_import[0].version
    one = ModelFile(write_ensemble([new, old], tmp_path / "e.onnx").path)
    faces = random_faces(20)
    expected = (old.probabilities(faces) + new.probabilities(faces)) / 2
    np.testing.assert_allclose(one.probabilities(faces), expected, atol=1e-5)


def test_an_ensemble_may_be_a_member(tmp_path):
    a, b, c = (tiny(tmp_path, name, seed) for seed, name in enumerate("abc"))
    inner = ModelFile(write_ensemble([a, b], tmp_path / "inner.onnx").path)
    outer = ModelFile(write_ensemble([inner, c], tmp_path / "outer.onnx", weights=(2, 1)).path)
    faces = random_faces(9)
    expected = np.mean([m.probabilities(faces) for m in (a, b, c)], 0)
    np.testing.assert_allclose(outer.probabilities(faces), expected, atol=1e-5)


def test_models_that_do_not_go_together_are_refused(tmp_path):
    first = tiny(tmp_path, "first", 0)
    others = {
        "has the labels happy, sad": tiny(tmp_path, "labels", 1, labels=("happy", "sad")),
        "has the crop": tiny(tmp_path, "crop", 1, crop=CropSpec(margin=0.2)),
        "given twice": first,
    }
    for said, other in others.items():
        with pytest.raises(ModelFileError, match=said):
            write_ensemble([first, other], tmp_path / "e.onnx")
    info = ModelInfo("votes", FER2013, 48, 1, CropSpec(), "votes")
    voting = ModelFile(make_model(tmp_path / "votes.onnx", seed=3, metadata=info.to_json()))
    with pytest.raises(ModelFileError, match="has the target votes"):
        write_ensemble([first, voting], tmp_path / "e.onnx")
    with pytest.raises(ModelFileError, match="at least two"):
        write_ensemble([first], tmp_path / "e.onnx")
    assert not (tmp_path / "e.onnx").exists()


@pytest.mark.parametrize("weights", [(1,), (1, 0), (1, -1), (1, float("nan")), (1, float("inf"))])
def test_impossible_weights(tmp_path, weights):
    members = [tiny(tmp_path, "a", 0), tiny(tmp_path, "b", 1)]
    with pytest.raises(ValueError, match="weights"):
        write_ensemble(members, tmp_path / "e.onnx", weights=weights)


def test_fitted_weights_are_the_best_mixture():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    good, noise = np.eye(3)[truth] * 2 + rng.normal(0, 1, (400, 3)), rng.normal(0, 1, (400, 3))
    other = np.eye(3)[truth] + rng.normal(0, 1, (400, 3))
    logits = np.stack([good, other, noise])
    probabilities = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    shares = np.eye(3)[truth] * 0.8 + 0.2 / 3  # raters who disagree a little
    shares[:10] = 0  # nobody voted
    weights = fit_weights(probabilities, shares)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    best = cross_entropy(np.tensordot(weights, probabilities, 1), shares)
    grid = [(a, b, 1 - a - b) for a in np.linspace(0, 1, 41) for b in np.linspace(0, 1 - a, 41)]
    least = min(cross_entropy(np.tensordot(np.array(w), probabilities, 1), shares) for w in grid)
    assert best <= least + 1e-9
    np.testing.assert_array_equal(weights, fit_weights(probabilities, shares))


def test_a_model_that_is_never_right_gets_no_weight():
    right = np.full((50, 2), (0.9, 0.1))
    weights = fit_weights(np.stack([right, np.full((50, 2), (0.0, 1.0))]), np.tile((1.0, 0.0), (50, 1)))
    assert weights[1] < 1e-3


def test_fitting_and_comparing_on_faces(tmp_path):
    members = [tiny(tmp_path, "a", 0), tiny(tmp_path, "b", 1)]
    faces = toy_faces(40)
    result = write_ensemble(members, tmp_path / "e.onnx", weights="fit", samples=faces, source="toys")
    winners = [m.probabilities(faces.images).argmax(1) for m in members]
    disagree = np.mean(winners[0] != winners[1])
    np.testing.assert_allclose(result.comparison.disagreement, [[0, disagree], [disagree, 0]])
    measured = evaluate_samples([ModelFile(result.path)], faces)
    assert result.comparison.ensemble.accuracy == pytest.approx(measured.accuracy)
    assert result.comparison.ensemble.nll == pytest.approx(measured.nll, abs=1e-5)
    assert result.comparison.ensemble.ece == pytest.approx(measured.ece, abs=1e-5)
    equal = write_ensemble(members, tmp_path / "equal.onnx", samples=faces)
    assert result.comparison.ensemble.nll <= equal.comparison.ensemble.nll
    assert result.info.scores["validation_nll"] == pytest.approx(measured.nll, abs=1e-4)
    with pytest.raises(ValueError, match="give samples"):
        write_ensemble(members, tmp_path / "none.onnx", weights="fit")


def test_a_votes_ensemble_is_compared_by_votes(tmp_path):
    members = [votes_model(tmp_path, "a", 0), votes_model(tmp_path, "b", 1)]
    faces = toy_faces(21)
    with pytest.raises(DataError, match="toys: has no votes"):
        write_ensemble(members, tmp_path / "e.onnx", samples=faces, source="toys")
    votes = np.zeros((21, 8), np.float32)
    votes[np.arange(1, 21), faces.labels[1:]] = 6
    votes[1:, 7] = 4
    votes[1, 7] = 6  # no majority
    voted = Samples(faces.images, faces.labels, faces.label_names, faces.sources, votes)
    result = write_ensemble(members, tmp_path / "e.onnx", samples=voted, weights="fit")
    measured = evaluate_samples([ModelFile(result.path)], voted)
    assert result.comparison.ensemble.n == measured.n == 19
    assert result.comparison.ensemble.accuracy == pytest.approx(measured.accuracy)
    assert result.comparison.ensemble.ece == pytest.approx(measured.ece, abs=1e-5)


def test_a_file_that_fails_its_check_never_appears(tmp_path, monkeypatch):
    members = [tiny(tmp_path, "a", 0), tiny(tmp_path, "b", 1)]
    out = tmp_path / "out"
    out.mkdir()
    (out / "e.onnx").write_text("before")
    monkeypatch.setattr(module, "PARITY", -1.0)
    with pytest.raises(ModelFileError, match="nothing was kept"):
        write_ensemble(members, out / "e.onnx")
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [("e.onnx", "before")]


def test_places_that_cannot_be_written(tmp_path):
    members = [tiny(tmp_path, "a", 0), tiny(tmp_path, "b", 1)]
    before = members[0].path.read_bytes()
    with pytest.raises(OutputError, match="give another file"):
        write_ensemble(members, members[0].path)
    with pytest.raises(OutputError, match="can't be written"):
        write_ensemble(members, members[0].path / "e.onnx")
    assert members[0].path.read_bytes() == before


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    members = [tiny(tmp_path, "a", 0), tiny(tmp_path, "b", 1)]
    monkeypatch.setattr("mien.evaluation.fitting.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"mien\[train\]"):
        write_ensemble(members, tmp_path / "e.onnx")


def test_files_of_one_network_do_not_speak_of_members(tmp_path):
    plain = tiny(tmp_path, "plain", 0)
    assert plain.info.members == ()
    assert "members" not in json.loads(plain.info.to_json())


def test_a_member_with_another_operator_set_beside_onnx_s_own(tmp_path):
    """onnxruntime's own operators, as its optimiser writes them."""
    model = onnx.load(make_model(tmp_path / "plain.onnx"))
    gelu = helper.make_node("Gelu", ["logits"], ["bent"], domain="com.microsoft")
    model.graph.node.insert(len(model.graph.node) - 1, gelu)
    model.graph.node[-1].input[0] = "bent"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, tmp_path / "special.onnx")
    special, other = ModelFile(tmp_path / "special.onnx"), tiny(tmp_path, "other", 1)
    one = ModelFile(write_ensemble([special, other], tmp_path / "e.onnx").path)
    faces = random_faces(5)
    expected = (special.probabilities(faces) + other.probabilities(faces)) / 2
    np.testing.assert_allclose(one.probabilities(faces), expected, atol=1e-5)


def test_command(tmp_path, capsys):
    write_toy_folders(tmp_path / "toys", train=7, validation=14, test=7)
    paths = [str(make_model(tmp_path / f"{name}.onnx", seed=seed)) for seed, name in enumerate("ab")]
    out = tmp_path / "e.onnx"
    command(paths, out=out, weights="1,3")
    assert "0.750" in capsys.readouterr().out
    command(paths, out=out, weights="fit", data=tmp_path / "toys", name="fitted")
    printed = capsys.readouterr().out
    assert "accuracy" in printed
    assert str(out) in printed.replace("\n", "")
    assert ModelFile(out).info.name == "fitted"
    before = out.read_bytes()
    for weights in ("1", "1,a", "1,0", "nan,1", "best"):
        with pytest.raises(typer.BadParameter, match="2 numbers above 0"):
            command(paths, out=out, weights=weights)
    with pytest.raises(typer.BadParameter, match="add --data"):
        command(paths, out=out, weights="fit")
    with pytest.raises(DataError, match="test split"):
        command(paths, out=out, data=tmp_path / "toys", split="test")
    assert out.read_bytes() == before


def test_the_graph_is_uint8_in_and_says_so(tmp_path):
    out = write_ensemble([tiny(tmp_path, "a", 0), tiny(tmp_path, "b", 1)], tmp_path / "e.onnx").path
    graph = onnx.load(out)
    assert graph.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert [p.key for p in graph.metadata_props] == [METADATA_KEY]
