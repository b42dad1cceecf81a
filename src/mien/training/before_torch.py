"""What a training asks before PyTorch is imported, which takes seconds: packages, weights, the place among workers."""

import importlib.util
import os
import socket
import urllib.parse
import urllib.request
from importlib import import_module
from pathlib import Path
from typing import Any

from mien.errors import MissingExtraError, TrainingError
from mien.training.network_table import TIMM, TIMM_NAMES, timm_name

_PACKAGES = ("torch", "safetensors", "onnx", "onnxscript", "matplotlib")

_PROBE_S = 3.0  # how long the hub is waited for before its cache alone is asked, seconds


def can_train() -> bool:
    """Whether the extra [train] is installed."""
    return all(importlib.util.find_spec(name) is not None for name in _PACKAGES)


def require_training(needs: str) -> None:
    """Raises MissingExtraError for what `needs` the extra [train] if it is not installed."""
    if not can_train():
        raise MissingExtraError("train", needs)


def require_published_weights(kind: str, weights: str, out: Path) -> None:
    """Raises TrainingError where a network of timm starts from published weights that certainly can't be had.

    That is: the hub does not answer, and no cache holds anything that could be them. kind, weights: keys of [network].
    out: the folder of the training; one that exists may resume, and needs them no more.
    """
    if out.exists():
        return
    published = weights == "imagenet" and (kind in TIMM_NAMES or kind.startswith(TIMM))
    if published and importlib.util.find_spec("timm") and not _may_be_cached(kind) and not hub_answers():
        raise no_published_weights(kind, "the Hugging Face Hub does not answer, and its cache does not hold them")


def no_published_weights(kind: str, reason: str) -> TrainingError:
    """The error for weights of timm that can't be had."""
    return TrainingError(
        f"timm's weights of {timm_name(kind)} can't be had ({reason}); download them elsewhere, import the file with  "
        f"mien import-weights FILE --network {kind} --out FILE.safetensors  and name that in network.weights"
    )


def hub_answers() -> bool:
    """Whether the Hugging Face Hub can be reached; taken for granted behind a proxy."""
    constants: Any = import_module("huggingface_hub.constants")
    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies():
        return True
    host = urllib.parse.urlsplit(constants.ENDPOINT)
    port = host.port or (80 if host.scheme == "http" else 443)
    try:
        socket.create_connection((host.hostname or "", port), timeout=_PROBE_S).close()
    except OSError:
        return False
    return True


def _may_be_cached(kind: str) -> bool:
    """Whether the caches of the hub or of PyTorch may hold a network of timm.

    Which repository holds a network outside the table is known to timm alone: then anything in the cache counts.
    """
    constants: Any = import_module("huggingface_hub.constants")
    repository = f"models--timm--{TIMM_NAMES[kind]}" if kind in TIMM_NAMES else "models--"
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    checkpoints = Path(home).expanduser() / "hub" / "checkpoints"
    return any(Path(constants.HF_HUB_CACHE).glob(f"{repository}*")) or any(checkpoints.glob("*"))


def is_first_worker() -> bool:
    """Whether this process is the only one, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"
