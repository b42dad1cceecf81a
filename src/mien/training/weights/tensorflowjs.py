"""Reads TensorFlow.js weights: JSON that lists tensors, and files with their numbers in order.

The JSON is a model (`weightsManifest` in it) or the manifest alone. What the format may say of a tensor: its dtype, and
how it was made smaller, as float16 or as steps between two values (`quantization`).
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.errors import TrainingError
from mien.training.weights.layout import Stored

_MOST = 64 << 20  # bytes of JSON; a network's graph and all its names are under one
_DTYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "uint8": "|u1", "uint16": "<u2", "bool": "|b1"}


def open_manifest(path: Path) -> dict[str, Stored]:
    """The tensors that the JSON lists, by name. Raises TrainingError for damaged files, or where one is missing."""
    tensors: dict[str, Stored] = {}
    try:
        if path.stat().st_size > _MOST:
            raise ValueError("it is larger than such a file can be")
        read = json.loads(path.read_bytes())
        groups = read["weightsManifest"] if isinstance(read, dict) else read
        for group in groups:
            numbers = b"".join(_part(path, name) for name in group["paths"])
            at = 0
            for about in group["weights"]:
                stored, at = _stored(about, numbers, at)
                tensors[str(about["name"])] = stored
            if at != len(numbers):
                raise ValueError(f"{', '.join(group['paths'])}: {len(numbers)} bytes where {at} are listed")
    except OSError as error:
        raise TrainingError(f"{error.filename}: can't be read ({error.strerror}); {path.name} needs it") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TrainingError(f"{path}: damaged, or no weights of TensorFlow.js ({error})") from error
    return tensors


def _part(path: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise ValueError(f"names the file {name}; expected one beside it")
    return path.with_name(name).read_bytes()


def _stored(about: dict[str, Any], numbers: bytes, at: int) -> tuple[Stored, int]:
    """A tensor that begins `at` there, and where the next one does."""
    shape = tuple(int(side) for side in about["shape"])
    smaller = about.get("quantization") or {}
    dtype = np.dtype(_DTYPES[smaller.get("dtype", about["dtype"])])
    scale, least = float(smaller.get("scale", 1.0)), float(smaller.get("min", 0.0))
    if any(side < 0 for side in shape):
        raise ValueError(f"{about['name']} has a side of {min(shape)}")
    end = at + prod(shape) * dtype.itemsize
    if end > len(numbers):
        raise ValueError(f"{about['name']} goes beyond the {len(numbers)} bytes there are")

    def read() -> Tensor:
        values: NDArray[Any] = np.frombuffer(numbers[at:end], dtype).reshape(shape).astype(np.float32)
        return torch.from_numpy(values * np.float32(scale) + np.float32(least))

    return Stored(shape, read), end
