"""The training loop, whole and in one place: data on the device, batches, steps, validation, checkpoints.

Every epoch draws its randomness from (seed, epoch) alone, so that a run that was killed and resumed computes what an
undisturbed one does: bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.data.samples import Samples
from mien.errors import TrainingError
from mien.training.augment import augment, central
from mien.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint, save_weights, start_from
from mien.training.networks import ExpressionNetwork, normalise
from mien.training.recipe import OptimizerSettings, Recipe
from mien.training.targets import HeadTargets

CHECKPOINT, BEST, LAST = "checkpoint.safetensors", "best.safetensors", "last.safetensors"


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told how a run goes: after each step (epoch, images done, images in all, images/s), after each epoch."""

    on_step: Callable[[int, int, int, float], None] = lambda *_: None
    on_epoch: Callable[[dict[str, float]], None] = lambda *_: None


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """One split on the device: uint8 (N, C, S, S), and each head's targets and truth there."""

    images: Tensor
    targets: dict[str, Tensor]
    truth: dict[str, Tensor]

    @classmethod
    def on(cls, device: torch.device, samples: Samples, targets: tuple[HeadTargets, ...]) -> Faces:
        """Moves a split to `device`."""
        # A copy: the images may be a view of a file, which must not be written to.
        images = torch.from_numpy(np.array(samples.images.transpose(0, 3, 1, 2), order="C")).to(device)
        return cls(
            images,
            {t.head: torch.from_numpy(t.distribution).to(device) for t in targets},
            {t.head: torch.from_numpy(t.truth).to(device) for t in targets},
        )


def pick_device(name: str = "auto", *, threads: int = 0) -> torch.device:
    """A device by PyTorch's name; `auto` is CUDA when there is one, else the CPU.

    threads: on the CPU; 0 leaves PyTorch's choice. Raises TrainingError for a device that is not to be had.
    """
    if threads:
        torch.set_num_threads(threads)
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"device '{name}' is not to be had here ({str(error).splitlines()[0]})") from error
    return device


def build_network(recipe: Recipe, heads: dict[str, int], device: torch.device) -> ExpressionNetwork:
    """The recipe's network with fresh, seeded weights."""
    torch.manual_seed(recipe.seed)
    network = ExpressionNetwork(recipe.network, recipe.input.channels, heads)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def fit(
    recipe: Recipe,
    train: Faces,
    validation: Faces,
    weights: dict[str, float],
    out: Path,
    *,
    resume: bool,
    watcher: Watcher,
) -> list[dict[str, float]]:
    """Trains and leaves checkpoint, best and last weights in `out`; returns the history, a row per epoch.

    weights: each head's share of the loss. Raises TrainingError when the loss is no longer a number.
    """
    device = train.images.device
    settings = recipe.optimizer
    network = build_network(recipe, {head: t.shape[1] for head, t in train.targets.items()}, device)
    if recipe.network.weights:
        start_from(network, Path(recipe.network.weights))
    optimizer = _optimizer(network, settings)
    state = TrainingState(network, copy.deepcopy(network), optimizer, epoch=0, step=0, best=-math.inf, history=[])
    if resume and (out / CHECKPOINT).exists():
        load_checkpoint(state, out / CHECKPOINT)
    steps_per_epoch = max(1, len(train.images) // settings.batch_size)
    while state.epoch < settings.epochs:
        loss = _train_epoch(recipe, state, train, weights, steps_per_epoch, watcher, out)
        row = {"epoch": float(state.epoch + 1), "learning_rate": _rate(settings, state.step, steps_per_epoch)}
        row |= {"train_loss": loss} | validate(recipe, state.ema, validation)
        state.epoch += 1
        state.history.append(row)
        score = float(np.mean([row[f"{head}_accuracy"] for head in weights]))
        if score > state.best:
            state.best = score
            save_weights(state.ema, out / BEST)
        save_checkpoint(state, out / CHECKPOINT)
        watcher.on_epoch(row)
    save_weights(state.ema, out / LAST)
    return state.history


def _train_epoch(
    recipe: Recipe,
    state: TrainingState,
    data: Faces,
    weights: dict[str, float],
    steps: int,
    watcher: Watcher,
    out: Path,
) -> float:
    settings, device = recipe.optimizer, data.images.device
    torch.manual_seed(hash((recipe.seed, state.epoch)) & 0x7FFFFFFF)  # dropout
    generator = torch.Generator().manual_seed(hash((recipe.seed + 1, state.epoch)) & 0x7FFFFFFF)
    order = torch.randperm(len(data.images), generator=generator)
    plain = state.epoch >= settings.epochs * (1 - recipe.augment.off_for_last)
    state.network.train()
    total, started = 0.0, time.monotonic()
    for step in range(steps):
        chosen = order[step * settings.batch_size : (step + 1) * settings.batch_size].to(device)
        views = augment(data.images[chosen], recipe.augment, view=recipe.input.view, generator=generator)
        views = normalise(views).contiguous(memory_format=torch.channels_last)
        targets = {head: t[chosen] for head, t in data.targets.items()}
        if recipe.augment.mixup > 0 and not plain:
            views, targets = _mixup(views, targets, recipe.augment.mixup, generator)
        for group in state.optimizer.param_groups:
            group["lr"] = _rate(settings, state.step, steps)
        loss = _step(state.network, state.optimizer, views, targets, weights, settings)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {state.epoch + 1}; lower optimizer.learning_rate and start again, "
                f"or go on from {out / CHECKPOINT} with --resume"
            )
        state.step += 1
        _update_ema(state, settings.ema)
        total += loss
        done = (step + 1) * settings.batch_size
        watcher.on_step(state.epoch, done, steps * settings.batch_size, done / (time.monotonic() - started))
    return total / steps


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    views: Tensor,
    targets: dict[str, Tensor],
    weights: dict[str, float],
    settings: OptimizerSettings,
) -> float:
    loss = _loss(network, views, targets, weights)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if settings.sam_rho > 0:
        # Sharpness-aware minimisation (Foret et al. 2021): the gradient at the worst place nearby, applied here.
        with torch.no_grad():
            moved = [(p, p.grad) for p in network.parameters() if p.grad is not None]
            norm = torch.sqrt(sum(((g * g).sum() for _, g in moved), torch.zeros((), device=views.device)))
            offsets = [g * (settings.sam_rho / (norm + 1e-12)) for _, g in moved]
            for (p, _), offset in zip(moved, offsets, strict=True):
                p.add_(offset)
        optimizer.zero_grad(set_to_none=True)
        _loss(network, views, targets, weights).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for (p, _), offset in zip(moved, offsets, strict=True):
                p.sub_(offset)
    if settings.clip_norm > 0:
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
    optimizer.step()
    return float(loss.detach())


def _loss(network: nn.Module, views: Tensor, targets: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Cross-entropy with soft targets, averaged over the faces that teach a head, summed over heads."""
    with torch.autocast(views.device.type, torch.bfloat16, enabled=has_fast_bf16(views.device)):
        logits = network(views)
    losses = []
    for head, weight in weights.items():
        target = targets[head]
        each = -(target * F.log_softmax(logits[head].float(), 1)).sum(1)
        losses.append(weight * each.sum() / target.sum().clamp(min=1))
    return torch.stack(losses).sum()


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 in hardware; without it autocast would only cost."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())


def _mixup(
    views: Tensor, targets: dict[str, Tensor], alpha: float, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mixup (Zhang et al. 2018): each batch blended with itself in another order, targets alike."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    other = torch.randperm(len(views), generator=generator).to(views.device)
    mixed = {head: share * t + (1 - share) * t[other] for head, t in targets.items()}
    return share * views + (1 - share) * views[other], mixed


def _update_ema(state: TrainingState, decay: float) -> None:
    """Moving average of weights and batch statistics; shorter at the start, where there is little to remember."""
    keep = min(decay, (1 + state.step) / (10 + state.step)) if decay > 0 else 0.0
    with torch.no_grad():
        for mean, now in zip(state.ema.state_dict().values(), state.network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1 - keep)
            else:
                mean.copy_(now)


def _optimizer(network: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """SGD or AdamW; norms and biases are not decayed."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.kind == "sgd":
        return torch.optim.SGD(groups, settings.learning_rate, settings.momentum, nesterov=settings.momentum > 0)
    return torch.optim.AdamW(groups, settings.learning_rate, betas=(settings.momentum, 0.999))


def _rate(settings: OptimizerSettings, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up, then a cosine that reaches zero with the last step."""
    warm = settings.warmup_epochs * steps_per_epoch
    if step < warm:
        return settings.learning_rate * (step + 1) / (warm + 1)
    share = (step - warm) / max(1.0, settings.epochs * steps_per_epoch - warm)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


@torch.no_grad()
def predict_logits(recipe: Recipe, network: nn.Module, images: Tensor, batch_size: int = 512) -> dict[str, Tensor]:
    """Logits (N, K) of every head for uint8 faces (N, C, S, S), unaugmented, in float32."""
    network.eval()
    parts = []
    for start in range(0, len(images), batch_size):
        views = normalise(central(images[start : start + batch_size], recipe.input.view))
        parts.append(network(views.contiguous(memory_format=torch.channels_last)))
    return {head: torch.cat([p[head] for p in parts]).float() for head in parts[0]}


def validate(recipe: Recipe, network: nn.Module, data: Faces) -> dict[str, float]:
    """Loss against the target distribution and accuracy against the truth, for every head."""
    row = {}
    for head, logits in predict_logits(recipe, network, data.images).items():
        target, truth = data.targets[head], data.truth[head]
        row[f"{head}_loss"] = float(-(target * F.log_softmax(logits, 1)).sum() / target.sum().clamp(min=1))
        known = truth >= 0
        right = (logits.argmax(1) == truth)[known]
        row[f"{head}_accuracy"] = float(right.float().mean()) if len(right) else float("nan")
    return row
