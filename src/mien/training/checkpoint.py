"""Checkpoints as safetensors: the state for resuming a run, in one file without code.

Tensors are named `network/...`, `ema/...` and `optimizer/<parameter>/<state>`; the epoch and the history so far are
JSON in the file's metadata. A file is written beside its place and moved in whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mien.errors import OutputError, TrainingError
from mien.files import atomic_path
from mien.training.callbacks import Confusion
from mien.training.networks import ExpressionNetwork
from mien.training.start_from_model import grown


@dataclass(slots=True)
class TrainingState:
    """The state that changes during a run. `history` has a row per finished epoch, `best` the best row's score.

    `confusions` has one for each finished epoch and head.
    """

    network: ExpressionNetwork
    ema: ExpressionNetwork
    optimizer: torch.optim.Optimizer
    epoch: int
    step: int
    best: float
    history: list[dict[str, float]]
    confusions: list[Confusion] = field(default_factory=list)


def save_weights(network: nn.Module, path: Path) -> None:
    """A network's parameters and buffers as safetensors, written whole or not at all."""
    _save({k: v.contiguous() for k, v in network.state_dict().items()}, path, {})


def load_weights(network: nn.Module, path: Path) -> None:
    """Reads what `save_weights` wrote. Raises TrainingError for a file of another network."""
    tensors, _ = _load(path)
    _fill(network, tensors, path)


def head_sizes(path: Path) -> dict[str, int]:
    """Head -> number of labels, of the weights in a file."""
    tensors, _ = _load(path)
    return {key.split(".")[1]: len(value) for key, value in tensors.items() if re.fullmatch(r"heads\..*bias", key)}


def start_from(network: ExpressionNetwork, *paths: Path, grow: bool = False) -> None:
    """Fills a network from another run's weights, or the mean of several: trunks must be equal, heads may differ.

    Heads and the layers before them (`dense`, `head_norm`) stay as they are if the file lacks them, and are left
    out if the network lacks them. grow: the trunk may be smaller than the network's (`grow.grown`).
    Raises TrainingError.
    """
    tensors = _mean_of(paths)
    own = network.state_dict()
    trunk = {k: v for k, v in tensors.items() if k in own or not k.startswith(("heads.", "neck."))}
    if grow:
        network.load_state_dict(grown(network, trunk))
        return
    fresh = {k: v for k, v in own.items() if k.startswith(("heads.", "neck.")) and k not in tensors}
    _fill(network, {**fresh, **trunk}, paths[0])


def _mean_of(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of runs that began alike: a model soup (Wortsman et al. 2022, arXiv:2203.05482)."""
    states: list[dict[str, Tensor]] = []
    for path in paths:
        tensors, _ = _load(path)
        if not any(k.startswith("trunk.") for k in tensors):
            raise TrainingError(f"{path}: no weights of mien; published ones go through  mien import-weights  first")
        if states and {k: v.shape for k, v in tensors.items()} != {k: v.shape for k, v in states[0].items()}:
            raise TrainingError(f"{path}: has other tensors than {paths[0]}; only equal networks have a mean")
        states.append(tensors)
    if len(states) == 1:
        return states[0]
    return {k: torch.stack([s[k].double() for s in states]).mean(0).to(v.dtype) for k, v in states[0].items()}


def save_checkpoint(state: TrainingState, path: Path) -> None:
    """Writes the whole state."""
    tensors = {f"network/{k}": v.contiguous() for k, v in state.network.state_dict().items()}
    tensors |= {f"ema/{k}": v.contiguous().clone() for k, v in state.ema.state_dict().items()}
    numbers: dict[str, Any] = {}
    for name, parameter in state.network.named_parameters():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{name}/{key}"] = value.contiguous()
            elif value is not None:
                numbers[f"{name}/{key}"] = value
    about = {"epoch": state.epoch, "step": state.step, "best": state.best, "history": state.history, "numbers": numbers}
    about["confusions"] = [asdict(one) for one in state.confusions]
    _save(tensors, path, {"state": json.dumps(about)})


def load_checkpoint(state: TrainingState, path: Path) -> None:
    """Fills `state` from a file. Raises TrainingError for a damaged file or one of another network."""
    tensors, metadata = _load(path)
    try:
        about = json.loads(metadata["state"])
    except (KeyError, ValueError) as error:
        raise TrainingError(f"{path}: not a checkpoint of a training run") from error
    for part, module in (("network/", state.network), ("ema/", state.ema)):
        _fill(module, {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}, path)
    for name, parameter in state.network.named_parameters():
        own = f"optimizer/{name}/"
        slots = {k.removeprefix(own): v.to(parameter.device) for k, v in tensors.items() if k.startswith(own)}
        slots |= {k.removeprefix(f"{name}/"): v for k, v in about["numbers"].items() if k.startswith(f"{name}/")}
        if slots:
            # PyTorch keeps AdamW's step counter as a tensor on the CPU, whatever the parameter's device.
            state.optimizer.state[parameter] = {k: v.cpu() if k == "step" else v for k, v in slots.items()}
    state.epoch, state.step, state.best = about["epoch"], about["step"], about["best"]
    state.history = about["history"]
    state.confusions = [_confusion(one) for one in about.get("confusions", [])]


def _confusion(read: dict[str, Any]) -> Confusion:
    counts = tuple(tuple(row) for row in read["counts"])
    return Confusion(read["epoch"], read["head"], tuple(read["labels"]), counts)


def epochs_done(path: Path) -> int:
    """The number of finished epochs in a checkpoint; 0 if there is none. Raises TrainingError."""
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            return int(json.loads((file.metadata() or {})["state"])["epoch"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: no checkpoint of mien, or damaged ({error})") from error


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    with atomic_path(path) as place:
        try:
            save_file(tensors, place, metadata)
        except SafetensorError as error:  # its word for a full disk, among others
            before = f"{path.name} is still the earlier one: make room" if path.exists() else "make room"
            raise OutputError(f"{path}: can't be written ({error}); {before}, and continue with --resume") from error


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path}: can't read it as safetensors ({error})") from error


def _fill(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    expected = module.state_dict()
    wrong = sorted(
        k for k in expected.keys() | tensors.keys()
        if k not in expected or k not in tensors or expected[k].shape != tensors[k].shape
    )  # fmt: skip
    if wrong:
        raise TrainingError(f"{path}: weights of another network; {len(wrong)} tensors differ, first {wrong[0]}")
    module.load_state_dict(tensors)
