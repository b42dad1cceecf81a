"""A network that begins as a smaller one: the same answers, and everything new learns."""

import numpy as np
import pytest
import torch

from mien.data.toy import toy_faces
from mien.errors import RecipeError, TrainingError
from mien.model_file import load_model
from mien.training.augment import central
from mien.training.batches import Faces
from mien.training.checkpoint import save_weights, start_from
from mien.training.finetune import load_start
from mien.training.networks import build_network
from mien.training.recipe import load_recipe
from mien.training.recipe_sections import InputSettings, NetworkSettings
from mien.training.start_from_model import grown

HEADS = {"label": 7, "votes": 8}
SMALL = NetworkSettings(stem=4, widths=(8, 12), dropout=0.0)
LARGE = NetworkSettings(stem=6, widths=(8, 20), depths=(1, 3), squeeze=True, dropout=0.0)


def network(settings, *, seed):
    return build_network(settings, InputSettings(), HEADS, seed=seed)


@pytest.fixture
def learnt():
    """A small network none of whose parameters and statistics has the value it begins with."""
    small = network(SMALL, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, tensor in small.state_dict().items():
            if tensor.dtype.is_floating_point:
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(noise + 0.5 if "running_var" in name else tensor + noise / 4)
    return small


def test_a_grown_network_answers_as_the_smaller_one(learnt):
    large = network(LARGE, seed=3)
    large.load_state_dict(grown(large, learnt.state_dict()))
    faces = torch.rand(5, 1, 44, 44) * 255
    for mode in (True, False):
        torch.testing.assert_close(large.train(mode)(faces), learnt.train(mode)(faces), rtol=1e-4, atol=1e-4)


def test_all_of_a_grown_network_learns(learnt):
    large = network(LARGE, seed=3)
    large.load_state_dict(grown(large, learnt.state_dict()))
    optimizer = torch.optim.SGD(large.parameters(), lr=0.05)
    for _ in range(6):  # what a zero hides has its gradient after the zero's own step
        before = {name: p.clone() for name, p in large.named_parameters()}
        optimizer.zero_grad()
        sum(logits.logsumexp(1).sum() for logits in large(torch.rand(8, 1, 44, 44) * 255).values()).backward()
        optimizer.step()
    still = [name for name, p in large.named_parameters() if torch.equal(p, before[name])]
    assert still == []


def test_heads_may_be_new(learnt, tmp_path):
    save_weights(learnt, tmp_path / "small.safetensors")
    large = build_network(LARGE, InputSettings(), {"other": 3}, seed=3)
    fresh = large.heads["other"].weight.clone()
    start_from(large, tmp_path / "small.safetensors", grow=True)
    assert torch.equal(large.heads["other"].weight, fresh)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            NetworkSettings(stem=4, widths=(8, 10)),
            r"conv1\.weight is \[12, 8, 3, 3\].*and \[10, 8, 3, 3\]",
        ),
        (NetworkSettings(stem=4, widths=(12,)), r"trunk\.blocks\.1\.\S+ is .* and no such tensor"),
        (NetworkSettings(kind="cnn2"), "for the residual networks"),
    ],
)
def test_what_is_not_larger_is_refused(learnt, settings, message):
    with pytest.raises(TrainingError, match=message):
        grown(network(settings, seed=1), learnt.state_dict())


def test_a_run_grows_from_a_file(learnt, tmp_path):
    save_weights(learnt, tmp_path / "small.safetensors")
    large = network(LARGE, seed=3)
    start_from(large, tmp_path / "small.safetensors", grow=True)
    assert torch.equal(large.trunk.stem[0].weight[:4], learnt.trunk.stem[0].weight)
    with pytest.raises(RecipeError, match="grow is true, but weights is ''"):
        load_recipe("mien-small", ["network.grow=true"])
    with pytest.raises(RecipeError, match="grow and interpolate are both true"):
        load_recipe("grown", ["network.interpolate=true"])


def test_a_run_grows_from_a_shipped_model():
    shipped = load_model("mien-nano")
    settings = "network.widths=[32, 56, 64]", "network.depths=[1, 2, 1]", "network.stem=16"
    recipe = load_recipe("grown", ['network.weights="mien-nano"', *settings])
    large = build_network(recipe.network, recipe.input, {"votes": 8}, seed=3)
    images = toy_faces(40, seed=3).images
    faces = Faces(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), {}, {}, {"votes": shipped.info.labels})
    load_start(large, recipe, faces)
    with torch.no_grad():
        logits = large.eval()(central(faces.images, recipe.input.view).to(torch.float32))["votes"]
    found = torch.softmax(logits / shipped.info.temperature, 1).numpy()
    np.testing.assert_allclose(found, shipped.probabilities(images), atol=1e-4)
