"""Every row of the table of networks passes one suite; and what is special about the networks made from nothing."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from mien.cli import app
from mien.crop import CropSpec
from mien.data.toy import toy_faces
from mien.errors import RecipeError, TrainingError
from mien.model_file import ModelFile, ModelInfo
from mien.training.export import PARITY, write_model_file
from mien.training.gradcam import grad_cam
from mien.training.loop import predict_logits
from mien.training.network_listing import list_networks
from mien.training.network_table import NETWORKS, TIMM_NAMES
from mien.training.networks import NetworkCost, build_network, count_macs, count_parameters, network_cost
from mien.training.recipe import Recipe, load_recipe, network_settings
from mien.training.recipe_sections import InputSettings, NetworkSettings
from mien.training.start_from_model import start_from_model

HEADS = {"label": 7, "votes": 8}
EXPORTED = ("cnn2-bn-dropout", "cnn3-avg", "mini-xception")
"""Exported in every run of the tests, as is a small residual network. All of them take minutes: MIEN_EXPORT_ALL=1."""


def built(kind, channels=1):
    """A network at the smallest of a few inputs that it takes, and that input."""
    for side in (32, 48, 80, 112, 160, 224, 299):
        input = InputSettings(side, side, channels)
        try:
            network_cost(network_settings(kind), input, HEADS)
            return build_network(network_settings(kind), input, HEADS, seed=1), input
        except RecipeError:
            continue
    raise AssertionError(f"{kind} takes none of the inputs")


def faces_for(input, n=4):
    return toy_faces(n, seed=3, size=input.size, channels=input.channels).images


def as_views(faces):
    return torch.from_numpy(faces.transpose(0, 3, 1, 2).astype(np.float32))


def info_for(input):
    names = tuple("abcdefg")
    return ModelInfo("n", names, input.size, input.channels, CropSpec(), "label", temperature=0.8)


def assert_parity(network, input, path):
    network.train()(as_views(faces_for(input, 16)))  # so that batch norms hold more than nothing
    faces = faces_for(input)
    write_model_file(network, "label", info_for(input), path, view=input.view, check=faces)
    with torch.no_grad():
        expected = torch.softmax(network.eval()(as_views(faces))["label"] / 0.8, 1).numpy()
    np.testing.assert_allclose(ModelFile(path).probabilities(faces), expected, atol=PARITY)


@pytest.fixture(scope="module", params=list(NETWORKS))
def row(request):
    return request.param, *built(request.param)


def test_two_heads_learn_with_finite_gradients(row):
    _, network, input = row
    logits = network.train()(as_views(faces_for(input)))
    assert {head: tuple(each.shape) for head, each in logits.items()} == {"label": (4, 7), "votes": (4, 8)}
    sum(F.cross_entropy(each, torch.arange(4)) for each in logits.values()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not without


def test_stages_are_called_once_in_order_and_give_maps(row):
    _, network, input = row
    called = []
    stages = network.trunk.stages()
    hooks = [s.register_forward_hook(lambda s, _, out: called.append((stages.index(s), out.shape))) for s in stages]
    with torch.no_grad():
        features = network.eval().trunk(network.prepare(as_views(faces_for(input))))
    for hook in hooks:
        hook.remove()
    assert features.shape == (4, network.trunk.features)
    assert [index for index, _ in called] == list(range(len(stages)))
    assert all(len(shape) == 4 and shape[0] == 4 for _, shape in called)
    held = [id(p) for stage in stages for p in stage.parameters()]
    assert len(held) == len(set(held))
    assert set(held) <= {id(p) for p in network.trunk.parameters()}


def test_class_activation_maps(row):
    kind, network, input = row
    recipe = Recipe("r", input=input, network=network_settings(kind))
    maps = grad_cam(recipe, network.eval(), "votes", faces_for(input), np.arange(4))
    assert maps.shape == (4, input.size, input.size)
    assert np.isfinite(maps).all()
    assert maps.min() >= 0


@pytest.mark.parametrize("kind", NETWORKS if os.environ.get("MIEN_EXPORT_ALL") else EXPORTED)
def test_model_file_agrees_with_pytorch(kind, tmp_path):
    assert_parity(*built(kind), tmp_path / "n.onnx")


def test_model_file_of_a_residual_network_on_enlarged_colour_with_a_dense_neck(tmp_path):
    input = InputSettings(40, 36, 3, resolution=50)
    settings = NetworkSettings(stem=8, widths=(8, 16), squeeze=True, dense=16, head_norm=True)
    network = build_network(settings, input, HEADS, seed=1)
    cut = slice(2, 38)
    network.train()(as_views(faces_for(input, 16)[:, cut, cut]))
    faces = faces_for(input)
    write_model_file(network, "label", info_for(input), tmp_path / "n.onnx", view=36, check=faces)
    with torch.no_grad():
        expected = torch.softmax(network.eval()(as_views(faces[:, cut, cut]))["label"] / 0.8, 1).numpy()
    np.testing.assert_allclose(ModelFile(tmp_path / "n.onnx").probabilities(faces), expected, atol=PARITY)
    assert [p.name for p in tmp_path.iterdir()] == ["n.onnx"]


def test_grey_and_colour_both_fit():
    for kind in ("cnn4", "mini-xception", "resnet"):
        network, input = built(kind, channels=3)
        assert network(as_views(faces_for(input)))["label"].shape == (4, 7)


def test_too_few_pixels_are_refused_with_what_to_change():
    with pytest.raises(
        RecipeError, match=r"less than 34 pixels and would see 32; raise input\.view, or set input\.res"
    ):
        build_network(network_settings("cnn3-wide"), InputSettings(48, 32), HEADS, seed=0)
    build_network(network_settings("cnn3-wide"), InputSettings(48, 32, resolution=34), HEADS, seed=0)


def test_outside_training_more_of_the_face_is_seen_enlarged_as_much(tmp_path):
    input = InputSettings(40, 36, resolution=54, test_view=40)
    settings = NetworkSettings(stem=8, widths=(8, 16))
    network = build_network(settings, input, HEADS, seed=1)
    assert network.training
    network(as_views(faces_for(input, 16)))
    faces = faces_for(input)
    assert network.prepare(as_views(faces)).shape[-2:] == (60, 60)
    assert network.prepare(as_views(faces[:, 2:38, 2:38])).shape[-2:] == (54, 54)

    write_model_file(network, "label", info_for(input), tmp_path / "n.onnx", view=input.seen, check=faces)
    with torch.no_grad():
        whole = network.eval()(as_views(faces))["label"]
    expected = torch.softmax(whole / 0.8, 1).numpy()
    np.testing.assert_allclose(ModelFile(tmp_path / "n.onnx").probabilities(faces), expected, atol=PARITY)
    batch = torch.from_numpy(np.ascontiguousarray(faces.transpose(0, 3, 1, 2)))
    found = predict_logits(Recipe("r", input=input, network=settings), network, batch)["label"]
    torch.testing.assert_close(found, whole)


def test_networks_for_one_size_of_face_see_no_more_outside_training():
    with pytest.raises(RecipeError, match="'cnn4' takes faces of one size alone; leave input"):
        build_network(network_settings("cnn4"), InputSettings(48, 40, test_view=48), HEADS, seed=0)
    with pytest.raises(ValueError, match=r"test_view is 50; expected 16 to size \(48\), or 0"):
        InputSettings(48, 44, test_view=50)


def test_mini_xception_is_the_published_network():
    network, _ = built("mini-xception")
    del network.heads["votes"]
    assert count_parameters(network) == 56_951  # what Keras counts as trainable in the published one of seven classes
    # Its features under a head are a 3x3 convolution and the mean of its map.
    maps, weight = torch.randn(2, 128, 3, 3), torch.randn(7, 128, 3, 3)
    network.trunk.stem, network.trunk.blocks = torch.nn.Identity(), torch.nn.Identity()
    features = network.trunk(maps)
    torch.testing.assert_close(F.linear(features, weight.flatten(1)), F.conv2d(maps, weight, padding=1).mean((2, 3)))


def test_costs_are_those_counted_by_hand():
    settings, input = network_settings("cnn2"), InputSettings(48, 48)
    network = build_network(settings, input, {"label": 7}, seed=0)
    by_hand = 48**2 * 9 * 32 + 24**2 * 9 * 32 * 64 + 12**2 * 64 * 128 + 128 * 7
    assert count_macs(network, input) == by_hand
    assert network.training
    cost = network_cost(settings, input, {"label": 7})
    assert (cost.macs, cost.parameters, cost.stages) == (by_hand, count_parameters(network), 2)


def test_what_makes_a_row_stands_in_the_recipe_unless_it_says_otherwise(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text('[network]\nkind = "resnet18-se"\nwidths = [16, 16, 16, 16]\n')
    network = load_recipe(str(file), ["network.dropout=0.4"]).network
    assert (network.stem, network.widths, network.depths) == (64, (16,) * 4, (2,) * 4)
    assert network.squeeze
    assert network.dropout == 0.4
    assert load_recipe("toy", ["network.kind=cnn4"]).network.dropout == 0.0  # the toy recipe says so itself
    with pytest.raises(RecipeError, match="did you mean 'cnn4'"):
        load_recipe("toy", ["network.kind=cn4"])


def test_listing_without_torch(monkeypatch, tmp_path):
    monkeypatch.setattr("mien.errors.find_spec", lambda _: None)
    listed = list_networks()
    assert [each.name for each in listed] == list(NETWORKS)
    for each in listed:
        assert (each.parameters, each.macs, each.stages) == (None, None, None)
        file = tmp_path / "r.toml"
        file.write_text(each.toml())
        recipe = load_recipe(str(file))
        assert recipe.network == network_settings(each.name)
        assert recipe.input == InputSettings(each.size, each.size, each.channels)


def test_a_broken_package_costs_a_dash(monkeypatch):
    def broken(settings, *_):
        if settings.kind in TIMM_NAMES or settings.kind.startswith("timm:"):
            raise TrainingError("timm can't be imported")
        return NetworkCost(1, 2, 3)

    monkeypatch.setattr("mien.training.networks.network_cost", broken)
    costs = {each.name: each.parameters for each in list_networks()}
    assert costs == {name: None if name in TIMM_NAMES else 1 for name in NETWORKS}
    with pytest.raises(TrainingError, match="can't be imported"):
        list_networks("timm:resnet50")


def test_command_lists_networks(monkeypatch):
    runner = CliRunner()
    rows = json.loads(runner.invoke(app, ["networks", "--format", "json"], catch_exceptions=False).stdout)
    by_name = {row["name"]: row for row in rows}
    assert list(by_name) == list(NETWORKS)
    one = by_name["cnn3-avg"]
    assert (one["size"], one["channels"], one["stages"], one["settings"]) == (128, 3, 3, {"dropout": 0.2})
    text = runner.invoke(app, ["networks", "mini-xception"], catch_exceptions=False).stdout
    assert 'kind = "mini-xception"' in text
    assert "0.057 M" in text
    with pytest.raises(RecipeError, match="did you mean 'mini-xception'"):
        runner.invoke(app, ["networks", "mini-xcption"], catch_exceptions=False)
    monkeypatch.setattr("mien.errors.find_spec", lambda _: None)  # else it is measured once more
    table = runner.invoke(app, ["networks"], catch_exceptions=False).stdout
    assert all(name in table for name in NETWORKS)


def test_a_network_with_gates_starts_from_its_file(tmp_path):
    settings, input = NetworkSettings(stem=4, widths=(8, 16), depths=(1, 2), squeeze=True, dropout=0.0), InputSettings()
    network, other = (build_network(settings, input, {"label": 7}, seed=seed) for seed in (1, 2))
    assert_parity(network, replace(input, size=44), tmp_path / "n.onnx")
    views = as_views(faces_for(replace(input, size=44), 8))
    start_from_model(other, tmp_path / "n.onnx", views, {"label": tuple("abcdefg")})
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(views)["label"], network(views)["label"], atol=0.02, rtol=0.02)
