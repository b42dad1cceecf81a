"""Pushing to and pulling from the Hugging Face Hub, on a server here that answers as the hub does."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

import mien
from mien.evaluation.hub import readme
from mien.model_file import ModelFile
from tiny_models import make_model

hub = pytest.importorskip("huggingface_hub")
COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """The calls of `create_repo`, `create_commit`, `list_repo_files` and `hf_hub_download`."""

    files: ClassVar[dict[str, bytes]] = {}

    def log_message(self, *_):
        pass

    def answer(self, code=200, data=b"", **headers):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def as_json(self, value):
        self.answer(data=json.dumps(value).encode(), Content_Type="application/json")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            assert self.headers["Authorization"] == "Bearer hf_test"
            self.as_json({"url": "https://huggingface.co/me/faces", "id": "me/faces", "name": "me/faces"})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            self.as_json(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]}
            )
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self.as_json({"commitUrl": f"https://huggingface.co/me/faces/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self.as_json({})

    def do_GET(self):
        if self.path.startswith("/api/models/me/faces"):
            if "/tree/" in self.path:
                found = [{"type": "file", "path": p, "size": len(d), "oid": "0"} for p, d in self.files.items()]
                self.as_json(found)
            else:
                siblings = [{"rfilename": path} for path in self.files]
                self.as_json({"id": "me/faces", "modelId": "me/faces", "sha": COMMIT, "siblings": siblings})
            return
        data = self.files.get(self.path.rpartition("/")[2])
        if data is None:
            self.answer(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        else:
            self.answer(data=data, ETag=f'"{hashlib.sha1(data).hexdigest()}"')

    do_HEAD = do_GET


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    Hub.files = {}
    yield address
    server.shutdown()
    server.server_close()


def test_a_pushed_model_comes_back_by_name_with_its_card_as_readme(server, tmp_path):
    make_model(tmp_path / "mine.onnx")
    name = ModelFile(tmp_path / "mine.onnx").info.name
    assert mien.push_model(tmp_path / "mine.onnx", "me/faces", token="hf_test") == f"{server}/me/faces"
    assert sorted(Hub.files) == sorted(["README.md", f"{name}.onnx"])
    text = Hub.files["README.md"].decode()
    assert text.startswith("---\nlibrary_name: mien\n") and f"# {name}" in text
    pulled = mien.pull_model("me/faces")
    assert pulled.read_bytes() == (tmp_path / "mine.onnx").read_bytes()
    assert name in mien.list_models()
    assert ModelFile(name).info == ModelFile(tmp_path / "mine.onnx").info
    Hub.files["other.onnx"] = b"no model"
    with pytest.raises(mien.ModelFileError, match=r"expected one model file .* give me/faces/FILE\.onnx"):
        mien.pull_model("me/faces")
    with pytest.raises(mien.ModelFileError, match="not a usable ONNX file"):
        mien.pull_model("me/faces/other.onnx")


def test_what_the_hub_refuses_is_one_line(server, tmp_path):
    make_model(tmp_path / "mine.onnx")
    with pytest.raises(mien.ModelFileError, match=r"^me/none/x\.onnx: can't be pulled .*; check the name, the token"):
        mien.pull_model("me/none/x.onnx")


def test_shipped_cards_are_readmes():
    text = readme(ModelFile("mien-small"))
    assert "license: mit" in text and "Out of scope" in text and text.count("---\n") == 2
