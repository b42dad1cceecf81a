"""`mien import-weights`: a published file becomes what `network.weights` names, with every tensor accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from mien.errors import RecipeError, TrainingError
from mien.files import atomic_path
from mien.training.network_table import row_of
from mien.training.networks import build_trunk
from mien.training.recipe_sections import NetworkSettings
from mien.training.weights.files import file_format, open_tensors
from mien.training.weights.layout import Importable, Layout, fill


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
    if not isinstance(trunk, Importable):
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
