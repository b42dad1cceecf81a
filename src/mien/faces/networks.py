"""Opens the networks that ship with the package; several threads use one, with images of every size."""

from __future__ import annotations

from importlib import resources
from typing import Any

from mien.inference import open_network


def open_shipped(name: str, *, threads: int, device: str) -> Any:
    """The session of `weights/NAME.onnx`. threads, device: as in `mien.inference`. Raises DeviceError."""
    weights = resources.files("mien.faces").joinpath("weights", f"{name}.onnx").read_bytes()
    return open_network(weights, threads=threads, spin=False, any_shape=True, device=device)
