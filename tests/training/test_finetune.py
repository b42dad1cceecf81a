"""What stands still and what learns: frozen stages, rates by layer, accumulation, re-measured norms."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mien.data.toy import toy_faces
from mien.errors import RecipeError
from mien.training.batches import Faces
from mien.training.callbacks import Watcher
from mien.training.checkpoint import save_weights
from mien.training.finetune import first_learning, load_start, parameter_groups, part_numbers, set_learning
from mien.training.learning_data import head_targets
from mien.training.loop import LAST, fit, network_on
from mien.training.networks import ExpressionNetwork
from mien.training.networks.trunk import Trunk
from mien.training.recipe import load_recipe
from mien.training.recipe_sections import FinetuneSettings, InputSettings, NetworkSettings, OptimizerSettings
from mien.training.schedule import measure_norms

CPU = torch.device("cpu")
SMALL = ["network.stem=4", "network.widths=[8, 8]", "optimizer.batch_size=16", "optimizer.epochs=2", "input.view=40"]


def train(recipe, out, **options):
    samples = toy_faces(64, seed=1)
    targets = head_targets(samples, recipe.targets, source="toy")
    faces = Faces.on(CPU, samples, targets)
    out.mkdir()
    history = fit(recipe, faces, faces, {"label": 1.0}, out, resume=False, watcher=Watcher(), **options)
    return history, load_file(out / LAST)


class Odd(Trunk):
    """Parameters before, between and after the stages."""

    def __init__(self):
        super().__init__(channels=1, features=4)
        self.before = nn.Conv2d(1, 4, 1)
        self.one = nn.Conv2d(4, 4, 1)
        self.between = nn.Conv2d(4, 4, 1)
        self.two = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.after = nn.Linear(4, 4)

    def stages(self):
        return (self.one, self.two)

    def forward(self, x):
        return self.after(self.two(self.between(self.one(self.before(x)))).mean((2, 3)))


def odd_network():
    return ExpressionNetwork(Odd(), NetworkSettings(dense=8, head_norm=True), InputSettings(), {"label": 7})


def test_every_parameter_belongs_to_a_part():
    network = odd_network()
    numbers = part_numbers(network)
    named = {name: numbers[module] for name, module in network.named_modules() if list(module.parameters(False))}
    assert named == {
        "trunk.before": 0, "trunk.one": 0, "trunk.between": 0, "trunk.two.0": 1, "trunk.two.1": 1, "trunk.after": 1,
        "neck.0": 2, "neck.1": 2, "heads.label": 2,
    }  # fmt: skip


def test_stages_learn_from_the_last_one_on():
    assert [first_learning(FinetuneSettings(stages=s), 4, 0) for s in (-1, 0, 1, 4, 9)] == [0, 4, 3, 0, 0]
    later = FinetuneSettings(stages=2, head_epochs=3)
    assert [first_learning(later, 4, epoch) for epoch in (0, 2, 3)] == [4, 4, 2]
    network = odd_network()
    moving = set_learning(network, FinetuneSettings(stages=0), 0)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {
        f"{layer}.{kind}" for layer in ("neck.0", "neck.1", "heads.label") for kind in ("weight", "bias")
    }
    assert moving == [network.neck[1]]
    assert not network.trunk.two[1].training
    assert network.neck[1].training


def test_each_stage_learns_slower_than_the_next():
    network = odd_network()
    settings = OptimizerSettings(weight_decay=0.1)
    groups = parameter_groups(network, settings, FinetuneSettings(layer_decay=0.5))
    factor = {id(p): (g["factor"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert factor[id(network.heads["label"].weight)] == (1.0, 0.1)
    assert factor[id(network.trunk.after.weight)] == (0.5, 0.1)
    assert factor[id(network.trunk.before.bias)] == (0.25, 0.0)
    assert len(factor) == len(list(network.parameters()))


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_what_is_frozen_does_not_move_at_all(kind, tmp_path):
    recipe = load_recipe("toy", [*SMALL, "finetune.stages=1", f"optimizer.kind={kind}", "optimizer.weight_decay=0.1"])
    start = {k: v.clone() for k, v in network_on(recipe, {"label": 7}, CPU).state_dict().items()}
    _, end = train(recipe, tmp_path / "r")
    moved = {name for name in end if not torch.equal(start[name], end[name])}
    assert {name for name in end if name.startswith(("trunk.stem", "trunk.blocks.0"))}.isdisjoint(moved)
    assert {"trunk.blocks.1.0.norm1.running_mean", "trunk.blocks.1.0.conv1.weight", "heads.label.weight"} <= moved


def test_the_head_learns_alone_at_first(tmp_path):
    recipe = load_recipe("toy", [*SMALL, "finetune.head_epochs=1", "optimizer.epochs=1"])
    start = {k: v.clone() for k, v in network_on(recipe, {"label": 7}, CPU).state_dict().items()}
    _, after_one = train(recipe, tmp_path / "one")
    assert {k.split(".")[0] for k in after_one if not torch.equal(start[k], after_one[k])} == {"heads"}
    _, after_two = train(replace(recipe, optimizer=replace(recipe.optimizer, epochs=2)), tmp_path / "two")
    assert not torch.equal(start["trunk.stem.0.weight"], after_two["trunk.stem.0.weight"])


class Plain(Trunk):
    """No batch norm: what a batch is cut into must not matter."""

    def __init__(self, *_):
        super().__init__(channels=1, features=6)
        self.conv = nn.Conv2d(1, 6, 5, 4)

    def stages(self):
        return (self.conv,)

    def forward(self, x):
        return self.conv(x).relu().mean((2, 3))


def test_accumulated_batches_are_one_big_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.training.networks.build_trunk", lambda *_, **__: Plain())
    monkeypatch.setattr("mien.training.loop.has_fast_bf16", lambda _: False)  # rounds by batch
    given = ["loss.class_weights=balanced", "augment.mixup=0.4", "optimizer.clip_norm=1.0"]
    big = load_recipe("toy", [*SMALL, *given, "optimizer.batch_size=32"])
    small = load_recipe("toy", [*SMALL, *given, "optimizer.batch_size=8", "optimizer.accumulate=4"])
    (one, a), (two, b) = train(big, tmp_path / "big"), train(small, tmp_path / "small")
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)
    assert one[-1]["train_loss"] == pytest.approx(two[-1]["train_loss"], rel=1e-4)


def test_norms_measured_anew_are_means_over_the_batches():
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(2)).eval()
    batches = [torch.randn(8, 2, 3, 3) * 4 + 7 for _ in range(3)]
    measure_norms(network, [network[1]], batches)
    expected = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    torch.testing.assert_close(network[1].running_mean, expected)
    assert network[1].momentum == 0.1
    assert not network.training


def test_norm_batches_change_only_the_kept_statistics(tmp_path):
    recipe = load_recipe("toy", [*SMALL, "optimizer.epochs=1"])
    _, plain = train(recipe, tmp_path / "a")
    _, measured = train(replace(recipe, optimizer=replace(recipe.optimizer, norm_batches=3)), tmp_path / "b")
    different = {name for name in plain if not torch.equal(plain[name], measured[name])}
    assert different
    assert all("running" in name or "num_batches" in name for name in different)


def test_norms_are_measured_on_what_is_seen_outside_training(tmp_path):
    given = ["optimizer.epochs=1", "optimizer.norm_batches=4", "input.test_view=48"]
    recipe = load_recipe("toy", [*SMALL, *given])  # four batches are all 64 faces
    _, measured = train(recipe, tmp_path / "run")
    network = network_on(recipe, {"label": 7}, CPU)
    network.load_state_dict(measured)
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    maps = []
    norm.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    faces = torch.from_numpy(toy_faces(64, seed=1).images.transpose(0, 3, 1, 2).astype(np.float32))
    with torch.no_grad():
        network.eval()(faces)
    torch.testing.assert_close(norm.running_mean, maps[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-4)


NO_FACES = Faces(torch.empty(0, 1, 48, 48, dtype=torch.uint8), {}, {})


def starting_from(weights):
    recipe = load_recipe("toy")
    return replace(recipe, network=NetworkSettings(weights=weights))


def test_words_for_weights_go_to_the_trunk(tmp_path, monkeypatch):
    network = odd_network()
    with pytest.raises(RecipeError, match=r"network\.weights is 'imagenet'"):
        load_start(network, starting_from("imagenet"), NO_FACES)
    monkeypatch.setattr(network.trunk, "load_pretrained", lambda name: nn.init.constant_(network.trunk.after.bias, 3))
    load_start(network, starting_from("faces"), NO_FACES)
    assert np.all(network.trunk.after.bias.detach().numpy() == 3)
    for norm in network.trunk.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.fill_(0.1)  # it has seen faces: none are asked for
    save_weights(network, tmp_path / "w")
    other = odd_network()
    load_start(other, starting_from(str(tmp_path / "w")), NO_FACES)
    assert torch.equal(other.trunk.after.bias, network.trunk.after.bias)
