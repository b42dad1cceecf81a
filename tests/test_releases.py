"""The released models: the list agrees with the files and the committed figures; verify and fetch, over real HTTP."""

import hashlib
import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.errors import ModelFileError
from mien.model_file import ModelFile, load_model
from mien.releases import check_model, fetch_model, releases, shipped_models
from places import ROOT

RESULTS = ROOT / "docs/results"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def host(tmp_path):
    """A folder that is served, and its address."""
    folder = tmp_path / "host"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_shipped_model_is_released_and_the_other_way_round():
    assert set(releases()) == set(shipped_models())
    assert next(iter(releases())) == "mien-small"  # the default


@pytest.mark.parametrize("name", shipped_models())
def test_the_list_agrees_with_the_file_and_the_figures(name):
    release, place = releases()[name], shipped_models()[name]
    model = ModelFile(place)
    assert (release.sha256, release.bytes) == (model.sha256, place.stat().st_size)
    assert (release.target, release.parameters) == (model.info.target, model.info.parameters)
    for ruler in ("votes", "label"):
        figures = json.loads((RESULTS / name / f"metrics-{ruler}.json").read_text("utf-8"))
        listed = getattr(release, ruler)
        assert listed.accuracy == figures["accuracy"]
        assert listed.macro_recall == figures["balanced_accuracy"]
        assert figures["models"][0]["sha256"] == release.sha256


@pytest.mark.parametrize("name", [name for name in releases() if releases()[name].shares])
def test_a_file_that_shares_weights_is_right_beside_the_other_only(tmp_path, name):
    place, lender = shipped_models()[name], shipped_models()[releases()[name].shares]
    assert place.stat().st_size < 0.35 * lender.stat().st_size
    alone = tmp_path / place.name
    shutil.copyfile(place, alone)
    with pytest.raises(ModelFileError, match=f"{lender.stem}.*no such model file"):
        check_model(str(alone))
    with pytest.raises(ModelFileError, match=rf"not a usable ONNX file.*{lender.name}"):
        load_model(alone)
    shutil.copyfile(lender, tmp_path / lender.name)
    assert check_model(str(alone)) == (alone, releases()[name].sha256)
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), np.uint8)
    assert np.array_equal(load_model(alone).probabilities(faces), load_model(name).probabilities(faces))


def test_the_list_as_json():
    rows = json.loads(CliRunner().invoke(app, ["models", "--format", "json"]).stdout)
    assert [row["name"] for row in rows] == list(releases())
    assert rows[0]["votes"].keys() == {"faces", "accuracy", "accuracy_95", "macro_recall"}


def test_verifying_names_each_file_that_is_not_right(tmp_path):
    right = tmp_path / "mien-nano.onnx"
    shutil.copyfile(shipped_models()["mien-nano"], right)
    assert check_model(str(right)) == (right, releases()["mien-nano"].sha256)
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(right.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelFileError, match=r"changed\.onnx: sha256 .* none of the released models"):
        check_model(str(changed))
    swapped = tmp_path / "mien-small.onnx"
    swapped.write_bytes(right.read_bytes())
    with pytest.raises(ModelFileError, match=r"is mien-nano under another model's name"):
        check_model(str(swapped))
    with pytest.raises(ModelFileError, match=r"nowhere\.onnx: no such model file"):
        check_model("nowhere.onnx")


def test_a_fetched_model_is_known_by_its_name(host, own_cache):
    folder, address = host
    shutil.copyfile(shipped_models()["mien-nano"], folder / "ours.onnx")
    url = f"{address}/ours.onnx"
    with pytest.raises(ModelFileError, match=r"sha256 is .*, expected 0000"):
        fetch_model(url, sha256="0" * 64)
    assert not own_cache.exists()
    place = fetch_model(url, sha256=releases()["mien-nano"].sha256)
    assert load_model("ours").path == place == own_cache / "models/ours.onnx"
    (folder / "ours.onnx").unlink()
    assert fetch_model(url, sha256=releases()["mien-nano"].sha256) == place  # it is there already
    with pytest.raises(ModelFileError, match="download failed"):
        fetch_model(f"{address}/other.onnx", sha256="1" * 64)


def test_a_model_that_comes_with_mien_needs_no_network():
    assert fetch_model("mien-small") == shipped_models()["mien-small"]


@pytest.mark.parametrize(
    ("what", "sha256", "why"),
    [
        ("mien-huge", "", "released: mien-small"),
        ("https://models.example.org/a.onnx", "", "with  --sha256"),
        ("https://models.example.org/a.onnx", "g" * 64, "hexadecimal"),
        ("https://models.example.org/a.zip", "0" * 64, r"\.onnx"),
        ("https://models.example.org/..%2f.onnx", "0" * 64, "expected the address"),
        ("https://models.example.org/mien-small.onnx", "0" * 64, "released model's name"),
        ("http://models.example.org/a.onnx", "0" * 64, "https:// only"),
        ("http://127.0.0.1.example.org/a.onnx", "0" * 64, "https:// only"),
        ("file:///etc/passwd.onnx", "0" * 64, "https:// only"),
    ],
)
def test_what_is_not_fetched(what, sha256, why):
    with pytest.raises(ModelFileError, match=why):
        fetch_model(what, sha256=sha256)


def test_an_endless_file_is_not_read_to_its_end(host, monkeypatch):
    folder, address = host
    (folder / "large.onnx").write_bytes(bytes(5000))
    monkeypatch.setattr("mien.releases._MAX_MODEL_BYTES", 4000)
    with pytest.raises(ModelFileError, match="not the file that is expected"):
        fetch_model(f"{address}/large.onnx", sha256=hashlib.sha256(bytes(5000)).hexdigest())
