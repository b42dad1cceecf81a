"""Sends the figures of a run to training trackers: TensorBoard, MLflow and W&B (the extra [tracking]).

A tracker is called once per epoch. When a run resumes, it writes what it lacks. It never ends a run: if it fails, it
warns once, and training continues without it.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mien.config import flat_items, to_toml
from mien.errors import TrainingError, require_extra
from mien.files import write_text
from mien.reporting import log_warning
from mien.training.callbacks import Confusion, Watcher
from mien.training.recipe import Recipe

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from torch.utils.tensorboard import SummaryWriter

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


class RunTracker(Protocol):
    """Where the figures of a run go."""

    def begin(self, history: Sequence[Mapping[str, float]]) -> None:
        """Opens the run, and writes those of its finished epochs that are not there yet."""
        ...

    def add(self, row: Mapping[str, float]) -> None:
        """Writes a row of the history."""
        ...

    def end(self, status: str) -> None:
        """Closes the run. status: FINISHED, FAILED, or KILLED by the user, as in MLflow."""
        ...


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
    kinds: dict[str, Callable[[TrackedRun], RunTracker]] = {
        "tensorboard": TensorBoard, "mlflow": Mlflow, "wandb": WeightsAndBiases,
    }  # fmt: skip
    open_now = {name: kinds[name](run) for name in dict.fromkeys(names)}

    def tell(report: Callable[[RunTracker], None]) -> None:
        for name, tracker in list(open_now.items()):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # theirs are not the user's business
                    report(tracker)
            except Exception as error:  # servers, databases and disks fail in many ways; none is worth a training
                del open_now[name]
                reason = next(iter(str(error).splitlines()), "") or type(error).__name__
                log_warning(f"{name}: {reason[:300]}; training goes on without it, and --resume adds what is missing")

    def on_start(history: Sequence[dict[str, float]], confusions: Sequence[Confusion]) -> None:
        watcher.on_start(history, confusions)
        tell(lambda tracker: tracker.begin(history))

    def on_epoch(row: dict[str, float]) -> object:
        ends = watcher.on_epoch(row)
        tell(lambda tracker: tracker.add(row))
        return ends

    status = "FAILED"
    try:
        yield replace(watcher, on_start=on_start, on_epoch=on_epoch) if names else watcher
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tell(lambda tracker: tracker.end(status))


class TensorBoard:
    """Event files in RUN/tensorboard: a scalar per figure and epoch; recipe and environment as text and hparams."""

    def __init__(self, run: TrackedRun) -> None:
        self._run, self._folder = run, run.folder / TENSORBOARD
        self._writer: SummaryWriter | None = None

    def begin(self, history: Sequence[Mapping[str, float]]) -> None:
        """Opens a new event file beside earlier ones; files of a run that was restarted are removed."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        there = _event_epochs(self._folder)
        if not there <= _epochs(history):
            for file in self._folder.glob("events.out.tfevents.*"):
                file.unlink()
            there = set()
        self._writer = SummaryWriter(str(self._folder))
        if not there:
            self._writer.add_text("recipe", _as_code(to_toml(self._run.recipe)))
            self._writer.add_text("environment", _as_code(json.dumps(dict(self._run.environment), indent=2)))
            for part in hparams(self._run.parameters(), {}):  # type: ignore[no-untyped-call]
                self._writer._get_file_writer().add_summary(part)  # type: ignore[no-untyped-call]
        for row in history:
            if _epoch(row) not in there:
                self.add(row)

    def add(self, row: Mapping[str, float]) -> None:
        """Writes a row and flushes it to the disk."""
        if self._writer is None:
            return
        for name, value in _figures(row).items():
            self._writer.add_scalar(name, value, _epoch(row))
        self._writer.flush()

    def end(self, status: str) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()


class Mlflow:
    """A run of MLflow in RUN/mlflow.db (SQLite), or at MLFLOW_TRACKING_URI.

    RUN/mlflow.json remembers which run it is. The experiment is MLFLOW_EXPERIMENT_NAME, else `mien`.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        self._client: MlflowClient | None = None
        self._id = ""

    def begin(self, history: Sequence[Mapping[str, float]]) -> None:
        """Resumes the earlier run if the server has it and it belongs to this training; otherwise begins one."""
        # MLflow's own seven attempts with pauses block training for minutes if the server is unavailable.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        folder = self._run.folder.resolve()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / MLFLOW_DATABASE}"
        self._client = MlflowClient(tracking_uri=uri)
        there = self._known_epochs(uri)
        if there is None or not there <= _epochs(history):
            self._id, there = self._new_run(folder, uri), set()
        self._client.update_run(self._id, status="RUNNING")
        for row in history:
            if _epoch(row) not in there:
                self.add(row)

    def add(self, row: Mapping[str, float]) -> None:
        """Writes a row in one request."""
        from mlflow.entities import Metric

        if self._client is None:
            return
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, _epoch(row)) for name, value in _figures(row).items()]
        self._client.log_batch(self._id, metrics=metrics)

    def end(self, status: str) -> None:
        """Sets the run's status."""
        if self._client is not None and self._id:
            self._client.set_terminated(self._id, status)

    def _known_epochs(self, uri: str) -> set[int] | None:
        """The epochs of the earlier run; None if there is no such run."""
        from mlflow.exceptions import MlflowException

        try:
            about = json.loads((self._run.folder / MLFLOW_RUN).read_text("utf-8"))
            if about["tracking_uri"] != uri:
                return None
            self._id = str(about["run_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if self._client is None:
            return None
        try:
            return {metric.step for metric in self._client.get_metric_history(self._id, "train_loss")}
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # someone deleted it
                return None
            raise

    def _new_run(self, folder: Path, uri: str) -> str:
        from mlflow.entities import Param, RunTag

        if self._client is None:
            return ""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "mien"
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            # A server knows its own place for files; MLflow's choice for SQLite is the current directory.
            place = (folder / "mlflow-files").as_uri() if uri.startswith("sqlite:") else None
            number = self._client.create_experiment(name, artifact_location=place)
        else:
            number = experiment.experiment_id
        run_id = str(self._client.create_run(number, run_name=folder.name).info.run_id)
        parameters = [Param(key, value) for key, value in self._run.parameters().items()]
        for start in range(0, len(parameters), 100):  # as many as it takes at once
            self._client.log_batch(run_id, params=parameters[start : start + 100])
        tags = {"mlflow.note.content": self._run.recipe.description} | self._run.tags()
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        write_text(self._run.folder / MLFLOW_RUN, json.dumps({"tracking_uri": uri, "run_id": run_id}) + "\n")
        return run_id


class WeightsAndBiases:
    """A run of Weights & Biases, whose files are in RUN/wandb; RUN/wandb.json remembers which run it is.

    It is offline (`wandb sync RUN/wandb/offline-run-*` sends it) unless WANDB_API_KEY or WANDB_MODE is set. The project
    is WANDB_PROJECT, else `mien`.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run, self._place = run, run.folder / WANDB_RUN
        self._open: Any = None
        self._id = ""

    def begin(self, history: Sequence[Mapping[str, float]]) -> None:
        """Resumes the earlier run if it belongs to this training; otherwise begins one."""
        import wandb

        self._id, last = self._known(history)
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        self._open = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "mien",
            name=self._run.folder.name,
            id=self._id or None,
            resume="allow",
            dir=str(self._run.folder),
            mode=mode,
            config={**self._run.parameters(), **self._run.tags()},
            notes=self._run.recipe.description,
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._id = str(self._open.id)
        for row in history:
            if _epoch(row) > last:
                self.add(row)

    def add(self, row: Mapping[str, float]) -> None:
        """Writes a row as the step of its epoch."""
        self._open.log(_figures(row), step=_epoch(row))
        write_text(self._place, json.dumps({"run_id": self._id, "epoch": _epoch(row)}) + "\n")

    def end(self, status: str) -> None:
        """Closes the run."""
        if self._open is not None:
            self._open.finish(exit_code=0 if status == "FINISHED" else 1)

    def _known(self, history: Sequence[Mapping[str, float]]) -> tuple[str, int]:
        """The earlier run's id and last epoch; '' and 0 where there is none, or one of a run that was restarted."""
        try:
            about = json.loads(self._place.read_text("utf-8"))
            found = str(about["run_id"]), int(about["epoch"])
        except (OSError, ValueError, KeyError, TypeError):
            return "", 0
        return found if found[1] in _epochs(history) else ("", 0)


def _epoch(row: Mapping[str, float]) -> int:
    return round(row["epoch"])


def _epochs(history: Sequence[Mapping[str, float]]) -> set[int]:
    return {_epoch(row) for row in history}


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
