"""The page as a folder of static files in which the browser itself recognises: nothing is sent to any server.

What it holds beside the page: the MTCNN networks, one model, and onnxruntime-web, which the user's npm brings.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from mien.errors import ExportError
from mien.files import cannot_write
from mien.model_file import ModelFile, open_model
from mien.version import __version__

RUNTIME_VERSION = "1.30.0"
"""Of onnxruntime-web (MIT, Microsoft)."""

MANIFEST = "manifest.json"
WORKER_POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
"""The content security policy of what runs in the worker: only there is WebAssembly compiled."""

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'"
)
_FORMAT = 1
_PACKAGE = f"onnxruntime-web@{RUNTIME_VERSION}"
_ARCHIVE_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
_RUNTIME_SHA256 = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_RUNTIME_LICENCE = f"""onnxruntime-web {RUNTIME_VERSION}, https://github.com/microsoft/onnxruntime
MIT License. Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
_NPM_TIMEOUT_S = 600
_MOST_BYTES = 64 << 20  # of one file of the runtime
_DETECTOR = {"min_face": 20, "thresholds": [0.6, 0.7, 0.8], "scale_factor": 0.709, "max_side": 1920}  # as `Mtcnn`
_RELEASE = '"development"'
_HEAD = '<meta charset="utf-8">\n'


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of the folder. path: relative, with slashes."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WebExport:
    """What a folder holds; its manifest.json says the same.

    mien, onnxruntime_web: versions. model: its name. detector: how faces are found.
    """

    mien: str
    onnxruntime_web: str
    model: str
    model_sha256: str
    detector: str
    files: tuple[ExportedFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"format": _FORMAT, **asdict(self), "files": [asdict(file) for file in self.files]}

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(file.bytes for file in self.files)


def export_web(
    out: Path, *, model: str | Path = "mien-nano", onnxruntime_web: Path | None = None, force: bool = False
) -> WebExport:
    """Writes the folder `out`, which appears whole or not at all.

    model: a shipped name or a file. onnxruntime_web: npm's archive (.tgz) or a folder that holds the two files; None:
    npm fetches the archive. Both are accepted only with the checksums in this module. force: replaces an older export.
    Raises ExportError, ModelFileError, OutputError.
    """
    out = out.absolute()
    _check_free(out, force=force)
    opened = open_model(model)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as hidden:
            folder = Path(hidden, "new")
            _copy_page(folder)
            _add_recognizer(folder / "device", opened)
            _add_runtime(folder / "device" / "runtime", onnxruntime_web)
            _stamp(folder)
            export = _describe(folder, opened)
            (folder / MANIFEST).write_text(json.dumps(export.to_dict(), indent=1) + "\n", "utf-8")
            if out.exists():
                out.rename(Path(hidden, "old"))
            folder.rename(out)
    except OSError as error:
        raise cannot_write(out, error) from error
    return export


def check_export(folder: Path) -> None:
    """Makes sure that a folder is a whole export of this version. Raises ExportError."""
    again = "make it anew with  mien export web OUT --force"
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        version, files = manifest["mien"], [ExportedFile(**file) for file in manifest["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{folder}: is no folder that `mien export web` wrote; make one with it first") from error
    if version != __version__:
        raise ExportError(f"{folder}: was written by mien {version}, and this is {__version__}; {again}")
    for file in files:
        try:
            same = _sha256((folder / file.path).read_bytes()) == file.sha256
        except OSError:
            same = False
        if not same:
            raise ExportError(f"{folder}: {file.path} is missing or was changed; {again}")


def _check_free(out: Path, *, force: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise ExportError(f"{out}: is not a folder; choose another place")
    if not any(out.iterdir()):
        return
    if not force:
        raise ExportError(f"{out}: is there already; give --force to replace it, or choose another place")
    if not (out / MANIFEST).is_file() or not (out / "device").is_dir():
        raise ExportError(f"{out}: holds other things than an export, and --force won't remove them; choose another")


def _copy_page(folder: Path) -> None:
    """The served page, told that there is no server, and the headers that some web hosts take from a file."""
    page = Path(str(resources.files("mien.serving"))) / "static"
    shutil.copytree(page, folder)
    index = folder / "index.html"
    told = f'<meta http-equiv="Content-Security-Policy" content="{_PAGE_POLICY}">\n<meta name="mien-on-device">\n'
    text = index.read_text("utf-8")
    assert _HEAD in text
    index.write_text(text.replace(_HEAD, _HEAD + told, 1), "utf-8")
    headers = (
        f"Content-Security-Policy: {_PAGE_POLICY}; frame-ancestors 'none'",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
    )
    (folder / "_headers").write_text("/*\n" + "".join(f"  {line}\n" for line in headers), "utf-8")


def _stamp(folder: Path) -> None:
    """Gives the service worker a release of its own: a browser that holds an older one then fetches the new files."""
    worker = folder / "offline.js"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    release = _sha256("".join(_sha256(path.read_bytes()) for path in files).encode())[:16]
    text = worker.read_text("utf-8")
    assert _RELEASE in text
    worker.write_text(text.replace(_RELEASE, f'"{release}"', 1), "utf-8")


def _add_recognizer(device: Path, model: ModelFile) -> None:
    """The networks, and what the worker must know of them."""
    networks = device / "networks"
    networks.mkdir()
    shutil.copyfile(model.path, networks / "expressions.onnx")
    weights = resources.files("mien.faces").joinpath("weights")
    for name in ("pnet.onnx", "rnet.onnx", "onet.onnx", "LICENSE.mtcnn"):
        (networks / name).write_bytes(weights.joinpath(name).read_bytes())
    info = model.info
    settings = {
        "model": {
            "name": info.name, "labels": list(info.labels), "target": info.target, "sha256": [model.sha256],
        },
        "input": {"size": info.size, "channels": info.channels, "crop": asdict(info.crop)},
        "detector": _DETECTOR,
    }  # fmt: skip
    (device / "recognizer.json").write_text(json.dumps(settings, indent=1) + "\n", "utf-8")


def _add_runtime(runtime: Path, given: Path | None) -> None:
    """The two files of onnxruntime-web. Raises ExportError where they are not there, or others."""
    runtime.mkdir()
    if given is None:
        with tempfile.TemporaryDirectory(prefix="mien-npm-") as folder:
            files = _from_archive(_pack(Path(folder)))
    elif given.is_dir():
        files = _from_folder(given)
    else:
        files = _from_archive(given)
    for name, data in files.items():
        if _sha256(data) != _RUNTIME_SHA256[name]:
            raise ExportError(f"{given or _PACKAGE}: {name} is not the one of {_PACKAGE}; give that version")
        (runtime / name).write_bytes(data)
    (runtime / "LICENSE.onnxruntime-web").write_text(_RUNTIME_LICENCE, "utf-8")


def _pack(folder: Path) -> Path:
    """npm's archive of the runtime. Raises ExportError."""
    npm = shutil.which("npm")
    otherwise = f"or give --onnxruntime-web FILE.tgz, the archive that  npm pack {_PACKAGE}  makes elsewhere"
    if npm is None:
        raise ExportError(f"npm is not installed, and it brings {_PACKAGE}: install Node.js (nodejs.org), {otherwise}")
    command = [npm, "pack", _PACKAGE, "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_NPM_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"npm did not bring {_PACKAGE} ({error}); try again, {otherwise}") from error
    archive = next(folder.glob("*.tgz"), None)
    if done.returncode != 0 or archive is None:
        said = next((line for line in done.stderr.splitlines() if "error" in line.lower()), f"exit {done.returncode}")
        raise ExportError(f"npm did not bring {_PACKAGE} ({said.strip()}); try again, {otherwise}")
    return archive


def _from_archive(path: Path) -> dict[str, bytes]:
    """The files by name. Nothing is read of an archive with another checksum, and nothing is unpacked onto disk."""
    try:
        with path.open("rb") as file:
            digest = b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
        if digest != _ARCHIVE_SHA512:
            raise ExportError(
                f"{path.name}: sha512 is {digest[:12]}…, expected {_ARCHIVE_SHA512[:12]}…: damaged, or not {_PACKAGE}"
            )
        with tarfile.open(path) as archive:
            members = ((name, archive.extractfile(f"package/dist/{name}")) for name in _RUNTIME_SHA256)
            return {name: member.read(_MOST_BYTES) for name, member in members if member is not None}
    except (OSError, tarfile.TarError, KeyError) as error:
        raise ExportError(
            f"{path}: can't be read ({error}); give the archive that  npm pack {_PACKAGE}  makes"
        ) from error


def _from_folder(folder: Path) -> dict[str, bytes]:
    """The files by name, out of a folder, of the installed package or of its `dist`."""
    place = folder / "dist" if (folder / "dist").is_dir() else folder
    try:
        return {name: (place / name).read_bytes() for name in _RUNTIME_SHA256}
    except OSError as error:
        raise ExportError(
            f"{folder}: {', '.join(_RUNTIME_SHA256)} are not there; give the folder of {_PACKAGE}, or its .tgz"
        ) from error


def _describe(folder: Path, model: ModelFile) -> WebExport:
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            files.append(ExportedFile(path.relative_to(folder).as_posix(), len(data), _sha256(data)))
    return WebExport(__version__, RUNTIME_VERSION, model.info.name, model.sha256, "mtcnn", tuple(files))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
