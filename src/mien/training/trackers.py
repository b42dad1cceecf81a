"""Sends the figures of a run to training trackers: TensorBoard, MLflow and W&B (the extra [tracking]).

A tracker is made as the run begins, with the epochs `done` that the run has behind it, and then gets a row per epoch.
It knows which epochs it has from an earlier session, `there`, and is given the others again. It never ends a run: if it
fails, there is one warning, and training continues without it.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mien.config import flat_items, to_toml
from mien.errors import TrainingError, require_extra
from mien.files import write_text
from mien.reporting import log_warning
from mien.training.callbacks import Confusion, Watcher
from mien.training.recipe import Recipe

TENSORBOARD, MLFLOW_DATABASE, MLFLOW_RUN, WANDB_RUN = "tensorboard", "mlflow.db", "mlflow.json", "wandb.json"
"""What they leave in the run folder."""

_NEEDS = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",)}
TRACKERS = tuple(_NEEDS)


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a tracker records of a run, apart from its epochs. environment: as in environment.json."""

    recipe: Recipe
    folder: Path
    environment: Mapping[str, object]

    def parameters(self) -> dict[str, str]:
        """The recipe's keys with their values as text, `optimizer.epochs` and so on."""
        return {key: str(value) for key, value in flat_items(asdict(self.recipe)) if key != "description"}

    def tags(self) -> dict[str, str]:
        """The environment as text, `packages.torch` and so on."""
        return {key: str(value) for key, value in flat_items(dict(self.environment))}


def check_trackers(names: Sequence[str]) -> None:
    """Raises TrainingError for an unknown tracker, MissingExtraError for one whose packages are not installed."""
    for name in names:
        if name not in _NEEDS:
            raise TrainingError(f"--log {name}: no such tracker; expected {', '.join(TRACKERS[:-1])} or {TRACKERS[-1]}")
        require_extra("tracking", f"--log {name}", *_NEEDS[name])


@contextmanager
def tracked(names: Sequence[str], run: TrackedRun, watcher: Watcher) -> Iterator[Watcher]:
    """A watcher that also sends the epochs to the named trackers, and closes them when the run ends.

    A line is logged for each tracker that failed. Raises what `check_trackers` raises.
    """
    check_trackers(names)
    kinds: dict[str, Callable[[TrackedRun, set[int]], Tracker]] = {
        "tensorboard": TensorBoard, "mlflow": Mlflow, "wandb": WeightsAndBiases,
    }  # fmt: skip
    open_now: dict[str, Tracker] = {}

    def attempt(name: str, report: Callable[[], None]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # theirs are not the user's business
                report()
        except Exception as error:  # servers, databases and disks fail in many ways; none is worth a training
            open_now.pop(name, None)
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            log_warning(f"{name}: {reason[:300]}; training goes on without it, and --resume adds what is missing")

    def begin(name: str, history: Sequence[dict[str, float]]) -> None:
        tracker = open_now[name] = kinds[name](run, {_epoch(row) for row in history})
        for row in history:
            if _epoch(row) not in tracker.there:
                tracker.add(row)

    def on_start(history: Sequence[dict[str, float]], confusions: Sequence[Confusion]) -> None:
        watcher.on_start(history, confusions)
        for name in dict.fromkeys(names):
            attempt(name, partial(begin, name, history))

    def on_epoch(row: dict[str, float]) -> object:
        ends = watcher.on_epoch(row)
        for name, tracker in list(open_now.items()):
            attempt(name, partial(tracker.add, row))
        return ends

    status = "FAILED"
    try:
        yield replace(watcher, on_start=on_start, on_epoch=on_epoch) if names else watcher
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        for name, tracker in list(open_now.items()):
            attempt(name, partial(tracker.end, status))


class TensorBoard:
    """Event files in RUN/tensorboard: a scalar per figure and epoch; recipe and environment as text and hparams."""

    def __init__(self, run: TrackedRun, done: set[int]) -> None:
        """Opens a new event file beside earlier ones; files of a run that was restarted are removed."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        folder = run.folder / TENSORBOARD
        self.there = _event_epochs(folder)
        if not self.there <= done:
            for file in folder.glob("events.out.tfevents.*"):
                file.unlink()
            self.there = set()
        self._writer = SummaryWriter(str(folder))
        if not self.there:
            self._writer.add_text("recipe", _as_code(to_toml(run.recipe)))
            self._writer.add_text("environment", _as_code(json.dumps(dict(run.environment), indent=2)))
            for part in hparams(run.parameters(), {}):  # type: ignore[no-untyped-call]
                self._writer._get_file_writer().add_summary(part)  # type: ignore[no-untyped-call]

    def add(self, row: Mapping[str, float]) -> None:
        """Writes a row and flushes it to the disk."""
        for name, value in _figures(row).items():
            self._writer.add_scalar(name, value, _epoch(row))
        self._writer.flush()

    def end(self, _status: str) -> None:
        """Closes the event file."""
        self._writer.close()


class Mlflow:
    """A run of MLflow in RUN/mlflow.db (SQLite), or at MLFLOW_TRACKING_URI.

    RUN/mlflow.json remembers which run it is. The experiment is MLFLOW_EXPERIMENT_NAME, else `mien`.
    """

    def __init__(self, run: TrackedRun, done: set[int]) -> None:
        """Resumes the earlier run if the server has it and it belongs to this training; otherwise begins one."""
        # MLflow's own seven attempts with pauses block training for minutes if the server is unavailable.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.folder.resolve() / MLFLOW_DATABASE}"
        self._client = MlflowClient(tracking_uri=uri)
        about = _remembered(run.folder / MLFLOW_RUN)
        self._id = str(about["run_id"]) if about.get("tracking_uri") == uri else ""
        self.there = self._epochs()
        if not self._id or not self.there <= done:
            self._id, self.there = self._new_run(run, uri), set()
        self._client.update_run(self._id, status="RUNNING")

    def add(self, row: Mapping[str, float]) -> None:
        """Writes a row in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, _epoch(row)) for name, value in _figures(row).items()]
        self._client.log_batch(self._id, metrics=metrics)

    def end(self, status: str) -> None:
        """Sets the run's status: FINISHED, FAILED, or KILLED by the user."""
        self._client.set_terminated(self._id, status)

    def _epochs(self) -> set[int]:
        """Those of the earlier run, which is forgotten if the server no longer has it."""
        from mlflow.exceptions import MlflowException

        try:
            history = self._client.get_metric_history(self._id, "train_loss") if self._id else []
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self._id, history = "", []  # someone deleted it
        return {metric.step for metric in history}

    def _new_run(self, run: TrackedRun, uri: str) -> str:
        from mlflow.entities import Param, RunTag

        folder = run.folder.resolve()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "mien"
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            # A server knows its own place for files; MLflow's choice for SQLite is the current directory.
            place = (folder / "mlflow-files").as_uri() if uri.startswith("sqlite:") else None
            number = self._client.create_experiment(name, artifact_location=place)
        else:
            number = experiment.experiment_id
        run_id = str(self._client.create_run(number, run_name=folder.name).info.run_id)
        parameters = [Param(key, value) for key, value in run.parameters().items()]
        for start in range(0, len(parameters), 100):  # as many as it takes at once
            self._client.log_batch(run_id, params=parameters[start : start + 100])
        tags = {"mlflow.note.content": run.recipe.description} | run.tags()
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        write_text(run.folder / MLFLOW_RUN, json.dumps({"tracking_uri": uri, "run_id": run_id}) + "\n")
        return run_id


class WeightsAndBiases:
    """A run of Weights & Biases, whose files are in RUN/wandb; RUN/wandb.json remembers which run it is.

    It is offline (`wandb sync RUN/wandb/offline-run-*` sends it) unless WANDB_API_KEY or WANDB_MODE is set. The project
    is WANDB_PROJECT, else `mien`.
    """

    def __init__(self, run: TrackedRun, done: set[int]) -> None:
        """Resumes the earlier run if it belongs to this training; otherwise begins one."""
        import wandb

        self._place = run.folder / WANDB_RUN
        about = _remembered(self._place)
        last = int(about.get("epoch", 0))
        self.there = set(range(1, last + 1)) if last in done else set()
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        self._open = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "mien",
            name=run.folder.name,
            id=str(about["run_id"]) if self.there else None,
            resume="allow",
            dir=str(run.folder),
            mode=mode,
            config={**run.parameters(), **run.tags()},
            notes=run.recipe.description,
            settings=wandb.Settings(silent=True, console="off"),
        )

    def add(self, row: Mapping[str, float]) -> None:
        """Writes a row as the step of its epoch."""
        self._open.log(_figures(row), step=_epoch(row))
        write_text(self._place, json.dumps({"run_id": str(self._open.id), "epoch": _epoch(row)}) + "\n")

    def end(self, status: str) -> None:
        """Closes the run."""
        self._open.finish(exit_code=0 if status == "FINISHED" else 1)


Tracker = TensorBoard | Mlflow | WeightsAndBiases


def _epoch(row: Mapping[str, float]) -> int:
    return round(row["epoch"])


def _remembered(place: Path) -> dict[str, Any]:
    """Which run an earlier session wrote to; empty where there was none, or its file is damaged."""
    try:
        about = json.loads(place.read_text("utf-8"))
        return about if about["run_id"] else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _figures(row: Mapping[str, float]) -> dict[str, float]:
    """What of a row is a figure; an accuracy that no face has is none."""
    return {name: value for name, value in row.items() if name != "epoch" and math.isfinite(value)}


def _event_epochs(folder: Path) -> set[int]:
    """The epochs in the event files of a folder; entries that a kill cut off do not count."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    found = set()
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(file)).Load():
            if any(value.tag == "train_loss" for value in event.summary.value):
                found.add(event.step)
    return found


def _as_code(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())
