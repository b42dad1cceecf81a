"""The training loop: epochs, steps, validation, checkpoints.

Every epoch draws its randomness from (seed, epoch) alone, so that a run that was killed and resumed computes what an
undisturbed one does: bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import DivergedError, RecipeError
from mien.evaluation.comparison import mean_accuracy
from mien.training.augment import augment, blend, central
from mien.training.batches import Faces, StreamedImages, batches, epoch_order
from mien.training.callbacks import TRAIN_PREFIX, Confusion, Timing, Watcher, write_records
from mien.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint, save_weights
from mien.training.devices import has_fast_bf16
from mien.training.distill import ViewTeachers
from mien.training.finetune import load_start, parameter_groups, set_learning
from mien.training.losses import HeadLoss, class_counts, head_loss
from mien.training.networks import ExpressionNetwork
from mien.training.own_parts import NO_OWN, OwnLoss, OwnParts
from mien.training.recipe import Recipe
from mien.training.recipe_sections import InputSettings
from mien.training.schedule import learning_rate, measure_norms, should_stop, update_average
from mien.training.workers import ALONE, WorkerGroup

CHECKPOINT, BEST, LAST = "checkpoint.safetensors", "best.safetensors", "last.safetensors"

TRAIN_SEEN = 4096
"""The most training faces on which training accuracy is measured."""

_DROPOUT, _ORDER, _AUGMENT, _NORMS = range(4)
"""The uses of randomness in an epoch; each has its own seed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What stays the same all through a run. `steps`: in an epoch; `size`: faces in a step, of all workers together."""

    recipe: Recipe
    train: Faces
    losses: dict[str, HeadLoss | OwnLoss]
    steps: int
    size: int
    out: Path
    workers: WorkerGroup
    watcher: Watcher
    own: OwnParts
    seen: Faces
    """As many of the training faces as are validated on: what they are called, unaugmented, is training accuracy."""
    teachers: ViewTeachers | None = None


def network_on(
    recipe: Recipe, heads: dict[str, int], device: torch.device, own: OwnParts = NO_OWN
) -> ExpressionNetwork:
    """The recipe's network, or the caller's own, with fresh, seeded weights, on a device."""
    network = own.build(recipe, heads)
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
    workers: WorkerGroup = ALONE,
    stop_after: int = 0,
    own: OwnParts = NO_OWN,
) -> list[dict[str, float]]:
    """Trains and leaves checkpoint, records, best and last weights in `out`; returns the history, a row per epoch.

    weights: each head's share of the loss. stop_after: pause after this epoch, the last weights unwritten; 0: never.
    workers: this process among others that were given the same; the first alone writes. Raises TrainingError when the
    loss is no longer a number or a worker is gone, RecipeError for what it can't train, OutputError for a full disk.
    """
    settings = recipe.optimizer
    if settings.batch_size % workers.count:
        raise RecipeError(f"optimizer.batch_size is {settings.batch_size}; {workers.count} workers can't share it")
    losses = {head: _loss(recipe, train, head, share, own) for head, share in weights.items()}
    size = settings.batch_size * settings.accumulate
    seen = train.some(min(len(validation.images), TRAIN_SEEN), seed=recipe.seed)
    teachers = _view_teachers(recipe, train, own) if recipe.distill.each_view and recipe.distill.teachers else None
    steps = max(1, len(train.images) // size)
    job = _Job(recipe, train, losses, steps, size, out, workers, watcher, own, seen, teachers)
    state = _start(job, resume=resume)
    watcher.on_start(tuple(state.history), tuple(state.confusions))
    ended = state.epoch > 0 and (out / LAST).exists()
    while not ended and state.epoch < settings.epochs:
        if should_stop(settings, [mean_accuracy(row) or 0.0 for row in state.history]):
            break
        if 0 < stop_after <= state.epoch:
            return state.history
        started = time.perf_counter()
        loss, timing = _train_epoch(job, state)
        row = {"epoch": float(state.epoch + 1), "learning_rate": _rate(job, state), "train_loss": loss}
        logits = _shared_logits(recipe, state.ema, validation, workers)
        row |= _measure(logits, validation)
        on_seen = _measure(_shared_logits(recipe, state.ema, job.seen, workers), job.seen)
        row |= {f"{TRAIN_PREFIX}{name}": value for name, value in on_seen.items()}
        if not all(math.isfinite(row[f"{head}_loss"]) for head in weights):
            raise _diverged(job, state, "on validation after")
        state.epoch += 1
        state.history.append(row)
        confusions = _confusions(state.epoch, logits, validation)
        state.confusions += confusions
        score = mean_accuracy(row) or 0.0
        if score > state.best:
            state.best = score
            if workers.is_first:
                save_weights(state.ema, out / BEST)
        if workers.is_first:
            save_checkpoint(state, out / CHECKPOINT)
            write_records(out, state.history, state.confusions, timing, seconds=time.perf_counter() - started)
        watcher.on_validation(confusions)
        ended = workers.any(watcher.on_epoch(row) is True)
    if workers.is_first:
        save_weights(state.ema, out / LAST)
    return state.history


def _start(job: _Job, *, resume: bool) -> TrainingState:
    """The state of the run in the job's folder, or that of a new one."""
    recipe, checkpoint = job.recipe, job.out / CHECKPOINT
    heads = {head: target.shape[1] for head, target in job.train.targets.items()}
    network = network_on(recipe, heads, job.train.images.device, job.own)
    going_on = resume and checkpoint.exists()
    if not going_on:
        load_start(network, recipe, job.train)
    optimizer = _optimizer(network, recipe)
    state = TrainingState(network, copy.deepcopy(network), optimizer, epoch=0, step=0, best=-math.inf, history=[])
    if going_on:
        load_checkpoint(state, checkpoint)
    return state


def _view_teachers(recipe: Recipe, train: Faces, own: OwnParts) -> ViewTeachers:
    if own.augment is not None:
        raise RecipeError("distill.each_view: teachers see the recipe's changes alone; leave augment= or the key out")
    return ViewTeachers.of(recipe, train.labels, train.some(512, seed=recipe.seed).images[:])


def _loss(recipe: Recipe, train: Faces, head: str, share: float, own: OwnParts) -> HeadLoss | OwnLoss:
    if own.loss is not None:
        return OwnLoss(share, own.loss)
    return head_loss(recipe.loss, head, share, class_counts(train.targets[head], train.truth[head]))


def _optimizer(network: ExpressionNetwork, recipe: Recipe) -> torch.optim.Optimizer:
    settings = recipe.optimizer
    groups = parameter_groups(network, settings, recipe.finetune)
    if settings.kind == "sgd":
        return torch.optim.SGD(groups, settings.learning_rate, settings.momentum, nesterov=settings.momentum > 0)
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    return kind(groups, settings.learning_rate, betas=(settings.momentum, 0.999))


def _rate(job: _Job, state: TrainingState) -> float:
    losses: list[float] = []
    if job.recipe.optimizer.schedule == "plateau":
        losses = [float(np.mean([row[f"{head}_loss"] for head in job.losses])) for row in state.history]
    return learning_rate(job.recipe.optimizer, state.step, job.steps, losses)


def _train_epoch(job: _Job, state: TrainingState) -> tuple[float, Timing]:
    """All steps of an epoch; the mean loss, and where the time went."""
    recipe, settings, rank = job.recipe, job.recipe.optimizer, job.workers.rank
    seed = _seed(job, state, _ORDER, shared=True)
    generator = torch.Generator().manual_seed(seed)
    if job.own.sampler is None:
        order = epoch_order(job.train, recipe.data.sampling, generator)
    else:
        job.own.seed(seed)
        order = job.own.order(job.train.classes, job.steps * job.size)
    job.own.seed(_seed(job, state, _DROPOUT))
    # Each worker takes every `count`-th face of a step, so that the step has the faces of a run without workers.
    own = order[: job.steps * job.size].view(job.steps, -1)[:, rank :: job.workers.count]
    generator.manual_seed(_seed(job, state, _AUGMENT))
    moving = set_learning(state.network, recipe.finetune, state.epoch)
    blended = (
        job.own.augment is None
        and (recipe.augment.mixup > 0 or recipe.augment.cutmix > 0)
        and (state.epoch < settings.epochs * (1 - recipe.augment.off_for_last))
    )
    total = loading = augmenting = 0.0
    started = time.perf_counter()
    for step, batch in enumerate(batches(job.train, own)):
        began, targets = time.perf_counter(), batch.targets
        if job.teachers:
            same = torch.Generator()
            same.set_state(generator.get_state())
            targets = job.teachers.blended(targets, batch.images, same)
        views = _views(job, batch.images, generator)
        if blended:
            views, targets = blend(views, targets, recipe.augment, generator)
        augmenting += time.perf_counter() - began
        loading += batch.waited_s
        for group in state.optimizer.param_groups:
            group["lr"] = _rate(job, state) * group["factor"]
        loss = _step(job, state, views, targets)
        if not math.isfinite(loss):
            raise _diverged(job, state, f"({loss}) in step {step + 1} of {job.steps} of")
        state.step += 1
        update_average(state.ema, state.network, decay=settings.ema, step=state.step)
        total += loss
        done = (step + 1) * job.size
        rate = done / (time.perf_counter() - started)
        job.watcher.on_step(state.epoch, done, job.steps * job.size, rate)
    timing = Timing(time.perf_counter() - started, loading, augmenting)
    if moving:
        job.workers.average_buffers(state.network)
        job.workers.average_buffers(state.ema)
    if moving and settings.norm_batches:
        norms = set_learning(state.ema, recipe.finetune, state.epoch)
        generator.manual_seed(_seed(job, state, _NORMS))
        measure_norms(state.ema, norms, _norm_views(job, own[: settings.norm_batches], generator))
        job.workers.average_buffers(state.ema)
    return total / job.steps, timing


def _seed(job: _Job, state: TrainingState, use: int, *, shared: bool = False) -> int:
    """The seed of one use of randomness in the epoch that begins; the same for all workers where it is `shared`."""
    rank = 0 if shared else job.workers.rank
    return int(np.random.SeedSequence((job.recipe.seed, state.epoch, use, rank)).generate_state(1)[0])


def _views(job: _Job, images: Tensor, generator: torch.Generator) -> Tensor:
    view = job.recipe.input.view
    if job.own.augment is not None:
        views = job.own.views(images, view)
    else:
        views = augment(images, job.recipe.augment, view=view, generator=generator)
    return views.contiguous(memory_format=torch.channels_last)


def _norm_views(job: _Job, order: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """What the kept batch norms are measured on: training's views; the faces unchanged where other views come later."""
    input = job.recipe.input
    for batch in batches(job.train, order):
        views = _views(job, batch.images, generator) if input.seen == input.view else _unchanged(batch.images, input)
        yield from views.chunk(job.recipe.optimizer.accumulate)


def _unchanged(images: Tensor, input: InputSettings) -> Tensor:
    """Faces as the network receives them outside training."""
    return central(images, input.seen).to(torch.float32).contiguous(memory_format=torch.channels_last)


def _step(job: _Job, state: TrainingState, views: Tensor, targets: dict[str, Tensor]) -> float:
    settings, network = job.recipe.optimizer, state.network
    divisors = {head: loss.divisor(targets[head]) for head, loss in job.losses.items()}
    job.workers.add_up(list(divisors.values()))
    loss = _gradients(job, state, views, targets, divisors)
    if settings.sam_rho > 0:
        # Sharpness-aware minimisation (Foret et al. 2021): the gradient at the worst place nearby, applied here.
        with torch.no_grad():
            moved = [(p, p.grad) for p in network.parameters() if p.grad is not None]
            norm = torch.sqrt(sum(((g * g).sum() for _, g in moved), torch.zeros((), device=views.device)))
            offsets = [g * (settings.sam_rho / (norm + 1e-12)) for _, g in moved]
            for (p, _), offset in zip(moved, offsets, strict=True):
                p.add_(offset)
        _gradients(job, state, views, targets, divisors)
        with torch.no_grad():
            for (p, _), offset in zip(moved, offsets, strict=True):
                p.sub_(offset)
    if settings.clip_norm > 0:
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
    state.optimizer.step()
    return loss


def _gradients(
    job: _Job, state: TrainingState, views: Tensor, targets: dict[str, Tensor], divisors: dict[str, Tensor]
) -> float:
    """Leaves the loss's gradient over the batches of all workers in the network; returns that loss.

    It is averaged over the faces that teach a head, summed over heads. The batch passes in `accumulate` parts.
    """
    state.optimizer.zero_grad(set_to_none=True)
    parts = job.recipe.optimizer.accumulate
    whole = torch.zeros((), device=views.device)
    bf16 = has_fast_bf16(views.device)
    for number, part in enumerate(views.chunk(parts)):
        with torch.autocast(views.device.type, torch.bfloat16, enabled=bf16):
            logits = state.network(part)
        losses = [
            one.share * one.total(logits[head], targets[head].chunk(parts)[number]) / divisors[head].clamp(min=1e-6)
            for head, one in job.losses.items()
        ]
        loss = torch.stack(losses).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        whole += loss.detach()
    gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
    job.workers.add_up([whole, *gradients])
    return float(whole)


def _diverged(job: _Job, state: TrainingState, where: str) -> DivergedError:
    text = (
        f"the loss is no number {where} epoch {state.epoch + 1}; lower optimizer.learning_rate or set "
        "optimizer.clip_norm, and start again in another folder"
    )
    if state.epoch:
        text += (
            f"; {job.out / CHECKPOINT} is that of epoch {state.epoch}, and a new run with "
            f"network.weights={job.out / BEST} starts from the best weights so far"
        )
    return DivergedError(text)


def predict_logits(
    recipe: Recipe, network: nn.Module, images: Tensor | StreamedImages, batch_size: int = 512
) -> dict[str, Tensor]:
    """Logits (N, K) of every head for uint8 faces (N, C, S, S), unaugmented, in float32."""
    return _logits(recipe, network, images, range(0, len(images), batch_size), len(images))


@torch.no_grad()
def _logits(
    recipe: Recipe, network: nn.Module, images: Tensor | StreamedImages, starts: range, end: int
) -> dict[str, Tensor]:
    network.eval()
    parts = []
    for start in starts:
        parts.append(network(_unchanged(images[start : min(end, start + starts.step)], recipe.input)))
    return {head: torch.cat([p[head] for p in parts]).float() for head in parts[0]}


def _shared_logits(recipe: Recipe, network: nn.Module, data: Faces, workers: WorkerGroup) -> dict[str, Tensor]:
    """As `predict_logits`, the faces dealt to the workers."""
    if workers.count == 1:
        return predict_logits(recipe, network, data.images)
    n = len(data.images)
    first, end = n * workers.rank // workers.count, n * (workers.rank + 1) // workers.count
    logits = {head: torch.zeros_like(target) for head, target in data.targets.items()}
    if first < end:
        for head, own in _logits(recipe, network, data.images, range(first, end, 512), end).items():
            logits[head][first:end] = own
    workers.add_up(list(logits.values()))
    return logits


def validate(recipe: Recipe, network: nn.Module, data: Faces) -> dict[str, float]:
    """Loss against the target distribution and accuracy against the truth, for every head."""
    return _measure(predict_logits(recipe, network, data.images), data)


def _measure(logits: dict[str, Tensor], data: Faces) -> dict[str, float]:
    row = {}
    for head, own in logits.items():
        target, truth = data.targets[head], data.truth[head]
        row[f"{head}_loss"] = float(-(target * F.log_softmax(own, 1)).sum() / target.sum().clamp(min=1))
        known = truth >= 0
        right = (own.argmax(1) == truth)[known]
        row[f"{head}_accuracy"] = float(right.float().mean()) if len(right) else float("nan")
    return row


def _confusions(epoch: int, logits: dict[str, Tensor], data: Faces) -> list[Confusion]:
    return [
        Confusion.count(epoch, head, data.labels[head], data.truth[head].cpu().numpy(), own.argmax(1).cpu().numpy())
        for head, own in logits.items()
        if head in data.labels
    ]
