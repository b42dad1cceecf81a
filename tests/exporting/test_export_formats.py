"""Model files in other forms: each agrees with its source, is refused where it does not, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mien.balance import Balance
from mien.cli import main
from mien.data.toy import toy_faces
from mien.errors import ExportError, MienError, MissingExtraError, ModelFileError
from mien.exporting import export as exporting
from mien.exporting import quantizing
from mien.exporting.export import LABELS_FILE, export
from mien.exporting.formats import FORMATS
from mien.exporting.parity import compare_outputs
from mien.labels import FER2013
from mien.model_file import ModelFile, load_model
from tiny_models import make_model

PLAIN = [name for name, form in FORMATS.items() if form.write is not None]


def need(name: str) -> None:
    for package in FORMATS[name].needs:
        if find_spec(package) is None:
            pytest.skip(f"{name} needs the package {package}")


@pytest.fixture(autouse=True)
def few_faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(exporting, "_TOY_FACES", 40)
    monkeypatch.setattr("mien.exporting.parity._ROUND_S", 0.001)
    monkeypatch.setattr(quantizing, "_WAYS", quantizing._WAYS[1:3])  # each takes a second
    monkeypatch.chdir(tmp_path)


def labelled_by(model: ModelFile, folder: Path, count: int = 70) -> Path:
    """A data set whose validation faces have the labels that the model itself gives them: its accuracy is 1."""
    faces = toy_faces(count, size=model.info.size, channels=model.info.channels).images
    faces[:, 0, 0] = 0
    for i, (face, best) in enumerate(zip(faces, model.probabilities(faces).argmax(1), strict=True)):
        place = folder / "validation" / model.info.labels[best] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(place), face[..., ::-1])
    return folder


def blind_when_rounded(model: Path) -> Path:
    """Gives a pixel that is always black such a weight that the other weights become 0 as whole numbers of 8 bits."""
    loaded = onnx.load(model)
    (weight,) = (each for each in loaded.graph.initializer if each.name == "weight")
    values = numpy_helper.to_array(weight).copy()
    values[0] = 1e4
    weight.CopyFrom(numpy_helper.from_array(values, "weight"))
    onnx.save(loaded, model)
    return model


# ---------------------------------------------------------------------------------------------------------------------
# What is written says what its source says


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tiny_model_agrees_with_its_export(name: str, channels: int, tmp_path: Path) -> None:
    need(name)
    model = make_model(tmp_path / "own.onnx", size=24, channels=channels)
    made = export(model, name)
    assert made.path == Path(f"own{FORMATS[name].suffix}")
    assert made.parity is not None
    assert made.parity.largest <= FORMATS[name].within
    assert made.parity.faces == 40
    # The check itself is checked: the written files are opened once more, and asked about other faces.
    faces = toy_faces(5, size=24, channels=channels, seed=7).images
    found = FORMATS[name].open(made.path)(faces)
    assert np.abs(found - ModelFile(model).probabilities(faces)).max() <= FORMATS[name].within
    assert made.bytes > 1000


@pytest.mark.parametrize("name", PLAIN)
def test_a_shipped_model_agrees_with_its_export(name: str) -> None:
    need(name)
    made = export("mien-nano-fer2013", name)
    assert made.parity is not None
    assert made.parity.largest <= FORMATS[name].within
    assert made.parity.same_label == 1


PRIOR = (0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17)
MINE = dict(zip(FER2013, (1, 1, 1, 5, 1, 1, 20), strict=True))


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(
    ("options", "balance"),
    [({}, Balance(0.25, PRIOR)), ({"balance": 0.0}, Balance(0.0, PRIOR)),
     ({"prior": MINE}, Balance(1.0, PRIOR, tuple(count / 30 for count in MINE.values())))],
)  # fmt: skip
def test_the_balance_is_in_the_graph(name: str, options: dict[str, object], balance: Balance, tmp_path: Path) -> None:
    need(name)
    model = ModelFile(make_model(tmp_path / "own.onnx", size=24, prior=PRIOR, balance=0.25))
    made = export(model.path, name, **options)  # type: ignore[arg-type]
    faces = toy_faces(5, size=24, channels=1, seed=7).images
    expected = balance.apply(model.probabilities(faces))
    assert np.abs(FORMATS[name].open(made.path)(faces) - expected).max() <= max(FORMATS[name].within, 2e-5)
    assert (made.source_sha256, made.source_bytes) == (model.sha256, model.path.stat().st_size)
    if name == "ncnn":
        return
    exported = load_model(made.path)  # predicts the same where nothing else is requested, and can be balanced further
    assert exported.info.balance == 0
    np.testing.assert_allclose(exported.info.prior, balance.mix, atol=1e-6)


def test_8_bit_numbers_keep_the_answers_of_a_shipped_model(tmp_path: Path) -> None:
    model = "mien-small-fer2013"
    data = labelled_by(load_model(model), tmp_path / "data")
    made = export(model, "onnx-int8", data=data, balance=0, accept_loss=20)  # the labels are those at 0
    assert made.parity is not None
    assert made.parity.same_label >= 0.8  # of drawn faces, which lie between the classes
    assert made.parity.accuracy_before == 1
    assert made.parity.mean < 0.03
    assert made.bytes < 0.75 * made.source_bytes
    kinds = {node.op_type for node in onnx.load(made.path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_what_stays_a_model_file_keeps_its_metadata_and_card(tmp_path: Path) -> None:
    source = load_model("mien-nano-fer2013")
    for name in ("onnx", "onnx-fp16"):
        written = ModelFile(export("mien-nano-fer2013", name, tmp_path / f"{name}.onnx", balance=0).path)
        assert written.info == replace(source.info, balance=0)
        assert written.card == source.card
    balanced = ModelFile(export("mien-nano-fer2013", "onnx", tmp_path / "own.onnx").path)
    assert balanced.card.startswith(
        f"> In this file, balance {source.info.balance:g} towards an even mix is in the graph"
    )
    assert balanced.card.endswith(source.card)
    data = labelled_by(source, tmp_path / "data")
    int8 = ModelFile(
        export("mien-nano-fer2013", "onnx-int8", tmp_path / "8.onnx", data=data, balance=0, accept_loss=20).path
    )
    assert (int8.info.labels, int8.info.crop) == (source.info.labels, source.info.crop)
    assert int8.info.name == "mien-nano-fer2013-int8"
    assert set(int8.info.scores) == {"validation_accuracy", "validation_n"}  # its own, not the source's
    assert int8.card.startswith("> 8-bit whole numbers")
    made_from = json.loads({p.key: p.value for p in onnx.load(int8.path).metadata_props}["mien_export"])
    assert made_from == {"as": "onnx-int8", "source": "mien-nano-fer2013", "source_sha256": source.sha256}
    with pytest.raises(ExportError, match="8-bit numbers already"):
        export(int8.path, "onnx-int8", tmp_path / "again.onnx", data=data)


def test_float32_has_no_casts_behind_weights_and_float16_has_the_size_of_the_shipped_file(tmp_path: Path) -> None:
    plain = export("mien-nano", "onnx", tmp_path / "plain.onnx", balance=0)
    loaded = onnx.load(plain.path)
    assert not {tensor.name for tensor in loaded.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    half = export(plain.path, "onnx-fp16", tmp_path / "half.onnx")
    assert half.bytes < 0.6 * plain.bytes
    assert half.bytes == pytest.approx(load_model("mien-nano").path.stat().st_size, rel=0.02)


def test_a_folder_says_what_its_files_are(tmp_path: Path) -> None:
    need("openvino")
    source = load_model("mien-nano")
    out = export("mien-nano", "openvino", tmp_path / "ov").path
    about = json.loads((out / LABELS_FILE).read_text("utf-8"))
    assert about["labels"] == list(source.info.labels)
    assert about["source"]["sha256"] == source.sha256
    assert about["crop"] == {"margin": source.info.crop.margin, "align": False, "shift_y": 0.0}
    assert set(about["files"]) == {"model.xml", "model.bin"}
    assert about["parity"]["largest"] <= 1e-3


def test_openvino_is_used_without_its_telemetry(tmp_path: Path) -> None:
    need("openvino")
    code = "import sys; from mien.inference import load_openvino; load_openvino(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "openvino" in done.stdout.split()
    assert not [name for name in done.stdout.split() if name.startswith("openvino_telemetry")]
    assert not list(tmp_path.iterdir())


def test_accuracy_is_measured_by_name_where_the_data_have_other_labels(tmp_path: Path) -> None:
    model = make_model(tmp_path / "own.onnx", (*FER2013, "contempt"), size=24)
    data = labelled_by(ModelFile(model), tmp_path / "data")
    cut = next(iter((data / "validation").iterdir()))
    cut.rename(cut.with_name("bored"))  # a label that the model does not know
    parity = export(model, "onnx", data=data).parity
    assert parity is not None
    assert parity.accuracy_before == parity.accuracy_after == 1
    assert 0 < parity.n < parity.faces == 70


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


def test_8_bit_numbers_that_cost_accuracy_are_refused_with_the_figure(tmp_path: Path) -> None:
    model = blind_when_rounded(make_model(tmp_path / "own.onnx", size=24))
    data = labelled_by(ModelFile(model), tmp_path / "data")
    with pytest.raises(ExportError, match=r"loses [1-9][0-9.]+ points of accuracy on 70 validation faces \(1.0000 to"):
        export(model, "onnx-int8", data=data)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "own.onnx"]
    made = export(model, "onnx-int8", data=data, accept_loss=100)
    assert made.parity is not None
    assert made.parity.lost_points > 1


def test_weights_that_float16_cannot_hold_are_refused(tmp_path: Path) -> None:
    model = make_model(tmp_path / "own.onnx", size=24)
    loaded = onnx.load(model)
    for tensor in loaded.graph.initializer:  # the same answers from weights beyond 65504
        factor = {"weight": 2.0**26, "scale": 2.0**-26}.get(tensor.name, 1)
        values = np.asarray(numpy_helper.to_array(tensor) * factor, np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(loaded, model)
    with pytest.raises(ExportError, match=r"off by .* expected at most 0.001; nothing was written"):
        export(model, "onnx-fp16")
    assert [p.name for p in tmp_path.iterdir()] == ["own.onnx"]
    assert export(model, "onnx").path.is_file()


@pytest.mark.parametrize("name", PLAIN)
def test_an_export_that_says_something_else_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(name)
    model = make_model(tmp_path / "own.onnx", size=24)
    real = FORMATS[name].open

    def wrong(place: Path):
        return lambda faces: real(place)(faces) + np.float32(0.002)

    monkeypatch.setitem(FORMATS, name, replace(FORMATS[name], open=wrong))
    with pytest.raises(ExportError, match=r"off by 0\.00\d+ on 40 faces; .* nothing was written"):
        export(model, name)
    assert [p.name for p in tmp_path.iterdir()] == ["own.onnx"]
    assert export(model, name, check=False).parity is None


def test_not_a_number_is_never_parity() -> None:
    faces = np.zeros((3, 4, 4, 1), np.uint8)

    def answer(value: float):
        return lambda batch: np.full((len(batch), 2), value, np.float32)

    assert not compare_outputs(answer(0.5), answer(np.nan), faces, shown="", right=None, truth="").largest <= 1


def test_int8_needs_data() -> None:
    with pytest.raises(ExportError, match="--data"):
        export("mien-nano", "onnx-int8")


def test_an_unknown_format_is_answered_with_the_known_ones() -> None:
    for wrong in ("coreml", ""):
        with pytest.raises(ExportError, match=", ".join(FORMATS)):
            export("mien-nano", wrong)


@pytest.mark.parametrize("name", ["onnx", "openvino", "ncnn"])
def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.errors.find_spec", lambda package: None)
    extra = {"onnx": "export"}.get(name, name)
    with pytest.raises(MissingExtraError, match=rf"exporting as {name} needs the extra \[{extra}\]"):
        export("mien-nano", name)


def test_a_bad_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x01 not a model")
    with pytest.raises(ModelFileError):
        export(tmp_path / "bad.onnx", "onnx")
    with pytest.raises(ModelFileError, match="no such model file"):
        export("nobody", "onnx")


def test_what_is_there_is_replaced_only_when_told_and_other_things_never(tmp_path: Path) -> None:
    need("openvino")
    model = make_model(tmp_path / "own.onnx", size=24)
    for name, out in (("onnx", tmp_path / "a.onnx"), ("openvino", tmp_path / "a")):
        export(model, name, out)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(ExportError, match="is there already"):
            export(model, name, out)
        export(model, name, out, force=True)
        assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(ExportError, match="the model itself"):
        export(model, "onnx", model, force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for name in ("openvino", "onnx"):
        with pytest.raises(ExportError, match="choose another"):
            export(model, name, tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    need("openvino")
    (tmp_path / "file").write_text("")
    for name, out in (("onnx", "out.onnx"), ("openvino", "out")):
        with pytest.raises(MienError, match="can't be written"):
            export("mien-nano", name, tmp_path / "file" / out)


def test_the_suffix_of_a_model_file_is_that_of_its_format(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"expected a name that ends in \.onnx"):
        export("mien-nano", "onnx", tmp_path / "a.txt")
    assert export("mien-nano", "", tmp_path / "a.onnx", check=False).form == "onnx"


# ---------------------------------------------------------------------------------------------------------------------
# The command


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["mien", "export", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_command_prints_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(tmp_path / "own.onnx", size=24)
    data = labelled_by(ModelFile(model), tmp_path / "data")
    words = ("--as", "onnx-int8", "--data", data, "--out", "8.onnx", "--accept-loss", "20", "--format", "json")
    code, out, _ = run(monkeypatch, capsys, model, *words)
    told = json.loads(out)
    assert code == 0
    assert (told["form"], told["path"], told["parity"]["n"]) == ("onnx-int8", "8.onnx", 70)
    assert told["parity"]["export_faces_s"] > 0
    code, out, _ = run(monkeypatch, capsys, model, *words[:-2], "--force")
    assert code == 0
    for figure in ("accuracy (label, n = 70)", "faces a second", "on this processor", "8.onnx"):
        assert figure in out
    code, out, err = run(monkeypatch, capsys, model, *words[:-2], "--force", "--quiet")
    assert (code, out, err) == (0, "", "")


def test_command_takes_a_model_or_a_subcommand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(tmp_path / "own.onnx", size=24)
    for words in ((model,), ("model", model), ("--as", "onnx", model)):
        assert run(monkeypatch, capsys, *words, *(() if "--as" in words else ("--as", "onnx")), "--force")[0] == 0
    code, out, _ = run(monkeypatch, capsys, "--help")
    assert code == 0
    assert "MODEL" in out
    assert "web" in out
    assert "onnxruntime-web" in run(monkeypatch, capsys, "web", "--help")[1]
    code, _, err = run(monkeypatch, capsys, "wbe", "site")
    assert (code, "No such command" in err) == (2, True)
    for words in (("nobody", "--as", "onnx"), (model, "--as", "coreml")):
        code, _, err = run(monkeypatch, capsys, *words)
        assert code == 2
        assert err.startswith("mien: ")
        assert len(err.strip().splitlines()) == 1


def test_help_names_every_format(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = " ".join(run(monkeypatch, capsys, "model", "--help")[1].split())
    for name in FORMATS:
        assert name in page
