"""Environments for the peers: one folder each, created once, with exact versions from the registry."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import venv
from pathlib import Path

from mien.version import __version__

HERE = Path(__file__).parent
PINS = HERE / "pins"
ROOT = HERE.parents[1]
_MADE = "made"


class SetUpError(Exception):
    """An environment can't be made; says why in one line."""


def folder(work: Path, name: str) -> Path:
    """Where an environment is, or will be."""
    return work / "environments" / name


def environment(work: Path, name: str, *, node: bool) -> Path:
    """The folder of an environment, made where it isn't there whole and of these contents. Raises SetUpError."""
    place = folder(work, name)
    contents = _contents(name, node=node)
    if (place / _MADE).exists() and (place / _MADE).read_text("utf-8") == contents:
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    print(f"making the environment {name} ...", flush=True)
    if node:
        shutil.copy(PINS / name / "package.json", place)
        _run(["npm", "install", "--no-audit", "--no-fund", "--silent"], place)
    else:
        venv.create(place, with_pip=True)
        pip = [str(place / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        if name == "mien":
            _run([*pip, "-c", str(ROOT / "constraints.txt"), str(ROOT)], place)
        else:
            # The pins are whole: without --no-deps, pip would refuse versions that work but are not asked for.
            _run([*pip, "--no-deps", "-r", str(PINS / f"{name}.txt")], place)
    (place / _MADE).write_text(contents, "utf-8")
    return place


def versions(place: Path, *, node: bool) -> str:
    """The Python or Node that it runs on."""
    command = ["node", "--version"] if node else [str(place / "bin/python"), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def size_bytes(place: Path) -> int:
    """Bytes of its files: packages with what they need, without the interpreter, pip and compiled caches."""
    total = 0
    for folder, names, files in os.walk(place):
        names[:] = [n for n in names if n != "__pycache__" and not n.startswith(("pip-", "home")) and n != "pip"]
        total += sum((Path(folder) / f).lstat().st_size for f in files)
    return total


def clean_environment(place: Path) -> dict[str, str]:
    """Variables for a peer's process: none that tune libraries, and a home of its own for what it may store."""
    home = place / "home"
    home.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LD_LIBRARY_PATH"} or "proxy" in k.lower()}
    return {**kept, "HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}


def _run(command: list[str], place: Path) -> None:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(command, cwd=place, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        wrong = [line for line in lines if "error" in line.lower()] or lines or ["no output"]
        raise SetUpError(wrong[-1].strip()[:300])


def package_version(package: str, name: str, *, node: bool) -> str:
    """A package's version as it is pinned in its environment."""
    if name == "mien":
        return __version__
    if node:
        return str(json.loads((PINS / name / "package.json").read_text("utf-8"))["dependencies"][package])
    lines = (PINS / f"{name}.txt").read_text("utf-8").splitlines()
    return next(line.partition("==")[2] for line in lines if line.partition("==")[0] == package)


def _contents(name: str, *, node: bool) -> str:
    """A checksum of what goes in: the pins, or mien's own files."""
    if name == "mien":
        files = sorted(f for f in (ROOT / "src").rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    else:
        files = [PINS / name / "package.json" if node else PINS / f"{name}.txt"]
    seen = hashlib.sha256()
    for file in files:
        seen.update(file.name.encode() + file.read_bytes())
    return seen.hexdigest()
