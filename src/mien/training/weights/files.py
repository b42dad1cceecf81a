"""Opens a file of weights, whoever wrote it, as named tensors, and imports it. Nothing in it is ever run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mien.errors import RecipeError, TrainingError, import_extra
from mien.files import atomic_path
from mien.training.network_table import row_of
from mien.training.networks import build_trunk
from mien.training.recipe_sections import NetworkSettings
from mien.training.weights.layout import FileFormat, Layout, Stored, fill
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


@dataclass(frozen=True, slots=True)
class ImportedWeights:
    """What was imported: `used` and `left_out` are the names of tensors as the published file has them."""

    path: Path
    network: str
    layout: str
    used: tuple[str, ...]
    left_out: tuple[str, ...]


def import_weights(file: Path, network: str, out: Path, *, layout: str = "auto") -> ImportedWeights:
    """Writes the weights of a published file as safetensors that a recipe's `network.weights` takes.

    file: PyTorch's .pt or .pth, safetensors, Keras' .h5, or any part of a TensorFlow 1 checkpoint. network: a row of
    `mien networks`, or `timm:NAME`. layout: `auto` goes by the file.
    Raises RecipeError for an unknown network or layout, TrainingError for a damaged file, or one with a surplus or
    missing tensor or another shape; OutputError. Nothing is written then.
    """
    try:
        settings = NetworkSettings(kind=network)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    row = row_of(network)
    trunk = build_trunk(settings, channels=row.channels, resolution=row.size)
    if not trunk.layouts():
        raise RecipeError(f"{network}: nobody has published weights for it in a layout that is known; train it instead")
    chosen = _layout(trunk.layouts(), file, layout, network)
    with open_tensors(file, chosen.format) as stored:
        matched = fill(trunk, stored, chosen, file)
    tensors = {f"trunk.{name}": tensor.contiguous() for name, tensor in trunk.state_dict().items()}
    with atomic_path(out) as place:
        save_file(tensors, place, {"network": network, "imported_from": file.name, "layout": chosen.name})
    return ImportedWeights(out, network, chosen.name, matched.used, matched.left_out)


def _layout(layouts: tuple[Layout, ...], file: Path, name: str, network: str) -> Layout:
    names = ", ".join(layout.name for layout in layouts)
    if name != "auto":
        found = [layout for layout in layouts if layout.name == name]
        if not found:
            raise RecipeError(f"--layout is '{name}'; {network} has: auto, {names}")
    found_format = file_format(file)
    if name == "auto":
        found = [layout for layout in layouts if layout.format == found_format]
    if not found or found[0].format != found_format:
        raise TrainingError(f"{file}: a file of {found_format}; of {network} these layouts are known: {names}")
    return found[0]
