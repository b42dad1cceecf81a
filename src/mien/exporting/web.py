"""Exports the page as a folder of static files that recognises in the browser: nothing is sent to a server.

Besides the page the folder contains one model, the networks of YuNet and, on request, of the mesh, and
onnxruntime-web, which npm downloads.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from mien.balance import Balance, Prior, model_balance
from mien.errors import ExportError, MissingExtraError
from mien.faces.mesh import mesh_settings
from mien.files import atomic_folder
from mien.model_file import ModelFile, load_model
from mien.pages import DESIGN
from mien.releases import releases
from mien.version import __version__

RUNTIME_VERSION = "1.30.0"
"""Version of onnxruntime-web (MIT, Microsoft)."""

MANIFEST = "manifest.json"
WORKER_POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
"""Content security policy of the worker, which alone may compile WebAssembly."""

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
_DETECTOR = {"min_face": 20, "threshold": 0.6, "scale": 0.5, "small_side": 320, "max_side": 1920}  # as `Auto`, `YuNet`
_RELEASE = '"development"'
_HEAD = '<meta charset="utf-8">\n'


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of the export. path: relative, with slashes."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class WebExport:
    """An export, as in its manifest.json.

    mien, onnxruntime_web: versions. model, detector: names.
    """

    mien: str
    onnxruntime_web: str
    model: str
    model_sha256: str
    detector: str
    files: tuple[ExportedFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of manifest.json."""
        return {"format": _FORMAT, **asdict(self), "files": [asdict(file) for file in self.files]}

    @property
    def bytes(self) -> int:
        """Total size of all files."""
        return sum(file.bytes for file in self.files)


def export_web(
    out: Path,
    *,
    model: str | Path = "mien-nano",
    balance: float | None = None,
    prior: Prior | None = None,
    details: bool = False,
    onnxruntime_web: Path | None = None,
    force: bool = False,
) -> WebExport:
    """Writes the folder `out`. It appears complete or not at all.

    model: the name of a shipped model, or a file. balance, prior: of the probabilities, see `mien.balance`; the page
    applies them. details: the page also fits a mesh to each face (docs/details.md), 3.7 MB more. onnxruntime_web:
    npm's archive (.tgz) or a folder with the two files; None: npm downloads the archive. Both must match the checksums
    in this module. force: replace an older export.
    Raises ExportError, ModelFileError, ArgumentError, OutputError.
    """
    out = out.absolute()
    _check_free(out, force=force)
    opened = load_model(model)
    chosen = model_balance([opened], balance, prior)
    with atomic_folder(out, replace=True) as folder:
        _copy_page(folder)
        _add_recognizer(folder / "device", opened, chosen, details=details)
        _add_runtime(folder / "device" / "runtime", onnxruntime_web)
        _stamp(folder)
        export = _describe(folder, opened)
        (folder / MANIFEST).write_text(json.dumps(export.to_dict(), indent=1) + "\n", "utf-8")
    return export


def check_web_export(folder: Path) -> None:
    """Checks that a folder is a complete export of this version. Raises ExportError."""
    again = "export it again with  mien export web --out DIR --force"
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        version, files = manifest["mien"], [ExportedFile(**file) for file in manifest["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"{folder}: is not an export of `mien export web`; write one with that command first"
        ) from error
    if version != __version__:
        raise ExportError(f"{folder}: was written by mien {version}, this is {__version__}; {again}")
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
        raise ExportError(f"{out}: is not a folder; choose another path")
    if not any(out.iterdir()):
        return
    if not force:
        raise ExportError(f"{out}: already exists; use --force to replace it, or choose another folder")
    if not (out / MANIFEST).is_file() or not (out / "device").is_dir():
        raise ExportError(
            f"{out}: contains other things than an export; --force does not remove them; choose another folder"
        )


def _copy_page(folder: Path) -> None:
    """Copies the page, marks it as one without a server, and writes the headers file that some web hosts read."""
    package = Path(str(resources.files("mien")))
    of_a_server = shutil.ignore_patterns("api.html", "reference.js")
    shutil.copytree(package / "serving" / "static", folder, ignore=of_a_server, dirs_exist_ok=True)
    shutil.copytree(DESIGN, folder / "design")
    shutil.copytree(package / "examples", folder / "examples", ignore=shutil.ignore_patterns("*.mp4"))
    index = folder / "index.html"
    tags = f'<meta http-equiv="Content-Security-Policy" content="{_PAGE_POLICY}">\n<meta name="mien-on-device">\n'
    text = index.read_text("utf-8")
    assert _HEAD in text
    index.write_text(text.replace(_HEAD, _HEAD + tags, 1), "utf-8")
    headers = (
        f"Content-Security-Policy: {_PAGE_POLICY}; frame-ancestors 'none'",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
    )
    (folder / "_headers").write_text("/*\n" + "".join(f"  {line}\n" for line in headers), "utf-8")


def _stamp(folder: Path) -> None:
    """Writes a new release id into the service worker, so that browsers with an older release fetch the new files."""
    worker = folder / "offline.js"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    release = _sha256("".join(_sha256(path.read_bytes()) for path in files).encode())[:16]
    text = worker.read_text("utf-8")
    assert _RELEASE in text
    worker.write_text(text.replace(_RELEASE, f'"{release}"', 1), "utf-8")


def _add_recognizer(device: Path, model: ModelFile, balance: Balance, *, details: bool) -> None:
    """Copies the networks and writes the worker's settings."""
    networks = device / "networks"
    networks.mkdir()
    _write_network(model, networks / "expressions.onnx")
    weights = resources.files("mien.faces").joinpath("weights")
    for name in ("yunet.onnx", "LICENSE.yunet", *(("mesh.onnx", "LICENSE.mesh") if details else ())):
        (networks / name).write_bytes(weights.joinpath(name).read_bytes())
    info, factors, target = model.info, balance.weights, balance.target
    settings = {
        "model": {
            "name": info.name, "labels": list(info.labels), "target": info.target, "sha256": [model.sha256],
            "balance": balance.balance,
            "prior": None if target is None else dict(zip(info.labels, target, strict=True)),
        },
        "weights": None if factors is None else factors.tolist(),
        "input": {"size": info.size, "channels": info.channels, "crop": asdict(info.crop)},
        "detector": _DETECTOR,
        "mesh": mesh_settings() if details else None,
    }  # fmt: skip
    (device / "recognizer.json").write_text(json.dumps(settings, indent=1) + "\n", "utf-8")


def _write_network(model: ModelFile, place: Path) -> None:
    """A copy of the model's file, completed with the weights that it shares with another model's."""
    if not any(release.shares for release in releases().values() if release.sha256 == model.sha256):
        shutil.copyfile(model.path, place)
        return
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("export", f"a complete copy of {model.path.name}") from error
    onnx.save(onnx.load(str(model.path)), str(place))


def _add_runtime(runtime: Path, given: Path | None) -> None:
    """Copies the two files of onnxruntime-web. Raises ExportError if they are missing or differ from the checksums."""
    runtime.mkdir()
    if given is not None and given.is_dir():
        files = _from_folder(given)
    else:
        otherwise = (
            f", or use --onnxruntime-web FILE.tgz with the archive of  npm pack {_PACKAGE}  from another machine"
        )
        with tempfile.TemporaryDirectory(prefix="mien-npm-") as folder:
            archive = given or npm_pack(_PACKAGE, Path(folder), otherwise)
            files = read_archive(archive, _PACKAGE, _ARCHIVE_SHA512, [f"dist/{name}" for name in _RUNTIME_SHA256])
    for name, data in files.items():
        if _sha256(data) != _RUNTIME_SHA256[name]:
            raise ExportError(f"{given or _PACKAGE}: {name} is not the one of {_PACKAGE}; use that version")
        (runtime / name).write_bytes(data)
    (runtime / "LICENSE.onnxruntime-web").write_text(_RUNTIME_LICENCE, "utf-8")


def npm_pack(package: str, folder: Path, otherwise: str = "") -> Path:
    """The archive of a package, NAME@VERSION, which npm downloads into `folder`. Raises ExportError.

    otherwise: what the message offers instead.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(f"npm is not installed; it downloads {package}: install Node.js (nodejs.org){otherwise}")
    command = [npm, "pack", package, "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_NPM_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"npm could not download {package} ({error}); try again{otherwise}") from error
    archive = next(folder.glob("*.tgz"), None)
    if done.returncode != 0 or archive is None:
        reason = next((line for line in done.stderr.splitlines() if "error" in line.lower()), f"exit {done.returncode}")
        raise ExportError(f"npm could not download {package} ({reason.strip()}); try again{otherwise}")
    return archive


def read_archive(path: Path, package: str, sha512: str, names: Iterable[str]) -> dict[str, bytes]:
    """Files of a package's archive by name, not unpacked. One with another checksum is refused: ExportError."""
    try:
        with path.open("rb") as file:
            digest = b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
        if digest != sha512:
            raise ExportError(
                f"{path.name}: sha512 is {digest[:12]}…, expected {sha512[:12]}…: damaged, or not {package}"
            )
        with tarfile.open(path) as archive:
            members = ((name, archive.extractfile(f"package/{name}")) for name in names)
            return {Path(name).name: member.read(_MOST_BYTES) for name, member in members if member is not None}
    except (OSError, tarfile.TarError, KeyError) as error:
        raise ExportError(f"{path}: can't be read ({error}); use the archive of  npm pack {package}") from error


def _from_folder(folder: Path) -> dict[str, bytes]:
    """Reads the files by name from a folder: the installed package or its `dist`."""
    place = folder / "dist" if (folder / "dist").is_dir() else folder
    try:
        return {name: (place / name).read_bytes() for name in _RUNTIME_SHA256}
    except OSError as error:
        raise ExportError(
            f"{folder}: {', '.join(_RUNTIME_SHA256)} are missing; use the folder of {_PACKAGE}, or its .tgz"
        ) from error


def _describe(folder: Path, model: ModelFile) -> WebExport:
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            files.append(ExportedFile(path.relative_to(folder).as_posix(), len(data), _sha256(data)))
    return WebExport(__version__, RUNTIME_VERSION, model.info.name, model.sha256, "yunet", tuple(files))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
