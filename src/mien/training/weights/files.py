"""Opens a file of weights, whoever wrote it, as named tensors. Nothing in it is ever run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mien.errors import TrainingError, import_extra
from mien.training.weights.layout import FileFormat, Stored
from mien.training.weights.tensorflow import find_index, open_checkpoint
from mien.training.weights.tensorflowjs import open_manifest

_HDF5, _ZIP, _PICKLE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80\x02"
_MOST = 1 << 28  # numbers in a tensor; a small file can claim any size


def file_format(path: Path) -> FileFormat:
    """Who wrote a file, by its first bytes, or by its name for a TensorFlow checkpoint. Raises TrainingError."""
    if find_index(path) is not None:
        return "tensorflow"
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise TrainingError(f"{path}: can't be read ({error.strerror}); expected a file of weights") from error
    if start.startswith(_HDF5):
        return "keras"
    # Safetensors begin with the length of a header of JSON, eight bytes of which the last are zero.
    if start.startswith((_ZIP, _PICKLE)) or start[7:9] == b"\0{":
        return "pytorch"
    if start.lstrip()[:1] in (b"{", b"["):
        return "tensorflowjs"
    raise TrainingError(
        f"{path}: no file of weights that is known; expected PyTorch's .pt or .pth, safetensors, Keras' .h5, the "
        f".index of a TensorFlow checkpoint beside its data, or the .json of TensorFlow.js beside its"
    )


@contextmanager
def open_tensors(path: Path, format: FileFormat) -> Iterator[Mapping[str, Stored]]:
    """The tensors of a file by their names there, to be read while it is open.

    Keras' are named `layer/weight`. Raises TrainingError for a damaged file, MissingExtraError where Keras' needs h5py.
    """
    if format == "tensorflow":
        with open_checkpoint(path) as stored:
            yield stored
    elif format == "tensorflowjs":
        yield open_manifest(path)
    elif format == "keras":
        with _open_keras(path) as stored:
            yield stored
    else:
        yield {name: _held(tensor) for name, tensor in _read_pytorch(path).items()}


def _held(tensor: Tensor) -> Stored:
    return Stored(tuple(tensor.shape), lambda: tensor)


def _read_pytorch(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        pickled = file.read(4).startswith((_ZIP, _PICKLE))
    try:
        if not pickled:
            with safe_open(path, framework="pt") as tensors:
                return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
        # weights_only: the unpickler accepts tensors and containers, and nothing that could run.
        read = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise TrainingError(f"{path}: can't be read as safetensors ({error})") from error
    except Exception as error:  # whatever a damaged pickle makes PyTorch raise
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"{path}: can't be read as PyTorch's tensors alone; damaged, or more ({first})") from error
    if not isinstance(read, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in read.items()):
        raise TrainingError(f"{path}: no state dict; expected names and tensors, and nothing else")
    return read


@contextmanager
def _open_keras(path: Path) -> Iterator[dict[str, Stored]]:
    import_extra("h5py", "backbones", "reading Keras' .h5")
    import h5py

    def stored(dataset: h5py.Dataset) -> Stored:
        if dataset.size is None or dataset.size > _MOST or dataset.dtype.kind != "f":
            raise TrainingError(f"{path}: {dataset.name} is no tensor of weights")
        return Stored(tuple(dataset.shape), lambda: torch.from_numpy(dataset[()].astype("float32")))

    tensors: dict[str, Stored] = {}
    try:
        with h5py.File(path, "r") as file:
            found: dict[str, h5py.Dataset] = {}
            # Links to other files are not followed here.
            file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
            # A whole model keeps its weights in a group beside the optimiser's; a file of weights has them at its root.
            group = "model_weights/" if any(name.startswith("model_weights/") for name in found) else ""
            for name, dataset in found.items():
                if name.startswith(group):
                    layer, _, rest = name.removeprefix(group).partition("/")
                    full = f"{layer}/{rest.rpartition('/')[2].partition(':')[0]}"
                    if full in tensors:
                        raise TrainingError(f"{path}: {full} occurs twice; expected a file of Keras 2's save()")
                    tensors[full] = stored(dataset)
            yield tensors
    except (OSError, RuntimeError, KeyError, AttributeError, ValueError) as error:  # HDF5's errors for damaged files
        raise TrainingError(f"{path}: can't be read as Keras' HDF5 ({error})") from error
