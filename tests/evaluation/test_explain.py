"""Maps of what a prediction depends on: they point where it does, and random ones don't pass the test."""

import copy
import json

import numpy as np
import pytest

from mien.data.toy import toy_faces
from mien.errors import DataError
from mien.evaluation.explain import (
    check_maps,
    explain_faces,
    occlusion_maps,
    overlay,
    write_explanation,
)
from mien.model_file import ModelFile
from tiny_models import make_model


def bright_corner(faces):
    """A "model" that answers class 1 where the upper left quarter is bright."""
    side = faces.shape[1] // 2
    share = faces[:, :side, :side].mean((1, 2, 3)) / 255
    return np.stack([1 - share, share], 1).astype(np.float32)


def lit(count=3, side=24):
    faces = np.full((count, side, side, 1), 30, np.uint8)
    faces[:, : side // 2, : side // 2] = 250
    return faces


def test_occlusion_points_at_what_the_answer_hangs_on():
    faces = lit()
    maps = occlusion_maps(bright_corner, faces, np.ones(3, np.int64))
    assert maps.shape == (3, 24, 24)
    inside, outside = maps[:, 2:8, 2:8].mean(), maps[:, 16:, 16:].mean()
    assert inside > 0.01
    assert abs(outside) < inside / 10


def test_deletion_and_insertion_tell_a_good_map_from_a_bad_one():
    faces, targets = lit(8), np.ones(8, np.int64)
    good = np.zeros((8, 24, 24), np.float32)
    good[:, :12, :12] = 1
    areas = check_maps(bright_corner, faces, good, targets).areas()
    assert areas["deletion"] < areas["random_deletion"]
    assert areas["insertion"] > areas["random_insertion"]
    opposite = check_maps(bright_corner, faces, 1 - good, targets).areas()
    assert opposite["deletion"] > areas["random_deletion"]


def rank_correlation(one, other):
    """Spearman's, of two maps' pixels."""
    a, b = (np.argsort(np.argsort(m.ravel())).astype(np.float64) for m in (one, other))
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("channels", [1, 3])
def test_overlay(channels):
    face = np.full((10, 10, channels), 100, np.uint8)
    map_ = np.zeros((10, 10), np.float32)
    map_[5, 5] = 1
    drawn = overlay(face, map_, side=50)
    assert drawn.shape == (50, 50, 3)
    assert drawn[27, 27, 0] > drawn[27, 27, 2]  # red where the map is high
    assert drawn[2, 2, 0] < drawn[2, 2, 2]


def test_what_is_written(tmp_path):
    model = ModelFile(make_model(tmp_path / "m.onnx"))
    size, channels = model.info.size, model.info.channels
    faces = np.random.default_rng(1).integers(0, 255, (2, size, size, channels), dtype=np.uint8)
    explanation = explain_faces(model, faces, ["a.png", "b.png"], expression=model.info.labels[1])
    write_explanation(explanation, tmp_path / "out")
    about = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert [f["expression"] for f in about["faces"]] == [model.info.labels[1]] * 2
    assert set(about["areas"]) == {"deletion", "insertion", "random_deletion", "random_insertion"}
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["face-0001.png", "face-0002.png", "sheet.png"]
    with pytest.raises(DataError, match="has no expression 'bored'"):
        explain_faces(model, faces, ["a", "b"], expression="bored")


# Grad-CAM, on a network that was trained on toy faces


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory):
    from mien.data.toy import write_toy_folders
    from mien.training.recipe import load_recipe
    from mien.training.run import train_run

    folder = tmp_path_factory.mktemp("toy")
    write_toy_folders(folder / "data", train=560, validation=70, test=0)
    train_run(load_recipe("toy"), folder / "data", folder / "run")
    return folder / "run"


@pytest.mark.slow
def test_grad_cam_of_toy_faces_lies_on_mouth_and_brows(toy_run):
    from mien.training.gradcam import RunMaps

    run = RunMaps(toy_run)
    model = ModelFile(run.model_file)
    faces = toy_faces(70, seed=9).images
    explanation = explain_faces(model, faces, [""] * len(faces), maps_of=run.maps)
    mass = explanation.maps.mean(0)
    rows = mass.sum(1) / mass.sum()
    features = rows[10:24].sum() + rows[28:42].sum()  # brows and eyes; mouth
    assert features > 0.65  # an even map has 28 of 48 rows, 0.58
    areas = explanation.test.areas()
    assert areas["deletion"] < areas["random_deletion"]
    assert areas["insertion"] > areas["random_insertion"]


@pytest.mark.slow
def test_grad_cam_of_a_network_with_random_top_layers_is_another(toy_run):
    import torch

    from mien.training.gradcam import RunMaps, grad_cam

    run = RunMaps(toy_run)
    faces = toy_faces(64, seed=9).images
    targets = ModelFile(run.model_file).probabilities(faces).argmax(1).astype(np.int64)
    border = (run.recipe.input.size - run.recipe.input.view) // 2  # not seen by the network, and 0 in every map
    seen = (slice(None), *[slice(border, border + run.recipe.input.view)] * 2)
    trained = run.maps(faces, targets)[seen]
    means = []
    for seed in range(3):
        network = copy.deepcopy(run.network)
        torch.manual_seed(seed)
        for part in (*network.trunk.blocks[-2:], network.heads):
            for module in part.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
        random = grad_cam(run.recipe, network.eval(), run.head, faces, targets)[seen]
        means.append(np.mean([rank_correlation(a, b) for a, b in zip(trained, random, strict=True)]))
    assert np.mean(means) < 0.3
