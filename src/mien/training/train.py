"""`mien.train` and `mien.tune`. PyTorch is imported only when they run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.config import flat_items, toml_value
from mien.data.dataset import Dataset
from mien.training.before_torch import require_published_weights, require_training
from mien.training.recipe import Recipe, recipe_with

if TYPE_CHECKING:
    import torch

    from mien.training.callbacks import Callback, EpochFunction, Watcher
    from mien.training.run import Run
    from mien.training.tune import TuneWatcher
    from mien.training.tuned import Tuned


def train(
    recipe: str | Path | Recipe,
    data: str | Path | Dataset,
    out: str | Path,
    *,
    resume: bool = False,
    stop_after: int = 0,
    stream: bool = False,
    device: str | torch.device = "auto",
    threads: int = 0,
    log: Sequence[str] = (),
    given: Collection[str] = (),
    network: torch.nn.Module | Callable[[], torch.nn.Module] | Mapping[str, Any] | None = None,
    augment: Callable[[torch.Tensor], torch.Tensor] | Mapping[str, Any] | None = None,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | Mapping[str, Any] | None = None,
    sampler: Iterable[int] | Callable[[torch.Tensor], Iterable[int]] | None = None,
    callbacks: Sequence[Callback | EpochFunction] = (),
    progress: Watcher | None = None,
    **settings: Any,
) -> Run:
    """Trains a recipe on a data set and writes a run folder with a model file for each head.

    The run trains on the split `train`; it selects the epoch and calibrates on `validation`. Nothing is printed.

    Args:
        recipe: A shipped recipe's name, the path of a TOML file, or a `Recipe`.
        data: A data set: class folders, fer2013.csv, Parquet, what `mien data import` wrote, or a `Dataset`.
        out: The run folder.
        resume: Resume the run in `out`. Without it, a folder that holds a run is refused.
        stop_after: Pause after this epoch, without a model file; 0 trains to the end.
        stream: Leave the faces on disk, for data larger than memory.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or a torch.device.
        threads: CPU threads; 0 keeps PyTorch's choice.
        log: Any of `tensorboard`, `mlflow` and `wandb`.
        given: Keys of a `Recipe` that the user set. They are not fitted to small data sets.
        network: Your own module in place of the recipe's network, or a class or function that makes one and so begins
            with seeded weights. It turns float32 (N, C, V, V) of about -2 to 2 into features (N, F) or maps
            (N, F, H, W); the recipe's dropout and a linear layer for each head follow. Or settings of [network].
        augment: Your own augmentation in place of the recipe's, as torchvision.transforms.v2: uint8 (N, C, S, S) on
            the run's device to the same shape, or to (N, C, V, V), of range 0-255. What it draws from PyTorch, NumPy or
            `random` is seeded for each epoch. Or settings of [augment].
        loss: Your own loss in place of the recipe's: logits float32 (N, K) and target shares float32 (N, K), as
            torch.nn.CrossEntropyLoss takes them, to their mean or to one value for each face (N,). Or settings of
            [loss].
        sampler: The order of the training faces in an epoch: a torch.utils.data.Sampler of indices, or a function that
            makes one from their labels int64 (N,).
        callbacks: `Callback` objects, or functions that receive each epoch's row. `True` from either ends the training.
        progress: Functions that a progress display passes in.
        **settings: Changes to the recipe: `seed=3`, or a section with some of its keys, `optimizer={"epochs": 5}`.

    Returns:
        The run, with `folder`, `recipe`, `history` (a dict per epoch), `models`, `model` and `to_torch()`.

    Raises:
        RecipeError: The recipe or a setting is not possible.
        DataError: The data can't be used.
        OutputError: `out` can't be written, or already holds a run.
        TrainingError: The device is not available, or the training failed.
        MissingExtraError: The extra [train], or a tracker, is not installed.

    Examples:
        >>> import mien
        >>> run = mien.train("toy", "faces/", out="runs/toy", optimizer={"epochs": 2})
        >>> run.history[-1]["label_accuracy"], run.model
        (0..., PosixPath('runs/toy/toy.onnx'))
    """
    require_training("training")
    given_parts = {"network": network, "augment": augment, "loss": loss}
    settings |= {name: part for name, part in given_parts.items() if isinstance(part, Mapping)}
    own_parts: dict[str, Any] = {name: part for name, part in given_parts.items() if not isinstance(part, Mapping)}
    recipe, given = recipe_with(recipe, settings, given)
    if own_parts.get("network") is None:
        require_published_weights(recipe.network.kind, recipe.network.weights, Path(out))
    from mien.training.callbacks import Watcher
    from mien.training.devices import pick_device
    from mien.training.own_parts import OwnParts
    from mien.training.run import train_run

    own = OwnParts(sampler=sampler, **own_parts)
    return train_run(
        recipe,
        data if isinstance(data, Dataset) else Path(data),
        Path(out),
        resume=resume,
        stop_after=stop_after,
        stream=stream,
        given=given,
        trackers=log,
        device=pick_device(device, threads=threads),
        watcher=(progress or Watcher()).with_callbacks(callbacks),
        own=own,
    )


def tune(
    recipe: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    trials: int = 20,
    storage: str = "",
    device: str | torch.device = "auto",
    threads: int = 0,
    log: Sequence[str] = (),
    progress: TuneWatcher | None = None,
    **settings: Any,
) -> Tuned:
    """Searches the settings of a recipe that score best on validation, over its table [search], with Optuna.

    A call that was killed resumes, and with it the trial that was training. Several at once share the work.

    Args:
        recipe: A recipe with a table [search]: a shipped one's name, or the path of a TOML file.
        data: A data set, as in `train`.
        out: The folder of all trials and of what they found: best.toml, trials.csv, tune.html, figures/.
        trials: Trials in all, with those that are finished.
        storage: An SQLAlchemy URL of a database that several machines share; empty keeps study.db in `out`.
        device: As in `train`.
        threads: As in `train`.
        log: As in `train`, for each trial.
        progress: Functions that a progress display passes in.
        **settings: Changes to the recipe, as in `train`.

    Returns:
        What the trials found: `number` and `score` of the best, `trials`, `importances`.

    Raises:
        RecipeError: The recipe has no table [search], or a setting is not possible.
        DataError: The data can't be used.
        OutputError: `out` can't be written.
        TrainingError: No trial came to its end.
        MissingExtraError: The extra [train] or [tune] is not installed.

    Examples:
        >>> import mien
        >>> mien.tune("toy", "fer2013.csv", "runs/tuned", trials=1).score
        0...
    """
    require_training("tuning")
    from mien.training.devices import pick_device
    from mien.training.tune import TuneSettings, run_trials

    changes = tuple(f"{key}={toml_value(value)}" for key, value in flat_items(settings))
    wanted = TuneSettings(str(recipe), Path(data), Path(out), trials, changes, storage, tuple(log))
    return run_trials(wanted, device=pick_device(device, threads=threads), watcher=progress)
