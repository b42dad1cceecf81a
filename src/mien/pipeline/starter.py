"""Writes a commented mien.toml to start from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from mien.errors import OutputError
from mien.files import write_text

KINDS = ("fer2013", "folders", "toy")


def starter(kind: str) -> str:
    """The commented mien.toml for a kind of data, one of `KINDS`."""
    return (resources.files("mien.pipeline.templates") / f"{kind}.toml").read_text("utf-8")


def write_starter(path: Path, *, kind: str) -> None:
    """Writes a commented mien.toml. Raises OutputError if the file exists or can't be written."""
    path = Path(path)
    if path.exists() or path.is_symlink():
        raise OutputError(f"{path}: exists already; give another name")
    write_text(path, starter(kind))
