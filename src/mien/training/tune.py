"""Searches the settings of a recipe that score best on validation: `mien tune`, with Optuna (the extra [tune]).

Trials are kept in a database, SQLite in the output folder or any that Optuna takes. Each trains in its own folder
and locks it. A trial that is marked running but whose lock is free was killed; it is resumed under its number, from its
checkpoint. So the number of trials is exact, even after kills.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import numpy as np
import torch

from mien.config import to_toml
from mien.errors import DataError, DivergedError, RecipeError, TrainingError, import_extra
from mien.evaluation.comparison import mean_accuracy
from mien.evaluation.paired import McNemar, mcnemar
from mien.evaluation.validation import VALIDATION_FILE, read_answers
from mien.files import make_folder
from mien.reporting import each_warning_once, log_warning
from mien.training.callbacks import Watcher
from mien.training.folder_lock import hold
from mien.training.loop import CHECKPOINT, LAST
from mien.training.recipe import Recipe, given_keys, load_recipe
from mien.training.run import train_run
from mien.training.search import Choice, Range, Search, as_override, read_search
from mien.training.trackers import check_trackers
from mien.training.tuned import Tried, Tuned, write_tuned

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

DATABASE, LOCK = "study.db", ".lock"

_RANDOM_TRIALS = 8
"""This many trials are drawn by chance before what they found is gone by; half of them before any is given up early."""


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """What is tuned. trials: in all processes together. overrides: `key=value`s for all of them.

    storage: an SQLAlchemy URL of a database that several machines share; empty keeps study.db in `out`. trackers: as in
    `train_run`, for each trial. device: a name, resolved on each machine of a cluster.
    """

    recipe: str
    data: Path
    out: Path
    trials: int
    overrides: tuple[str, ...] = ()
    storage: str = ""
    trackers: tuple[str, ...] = ()
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class TuneWatcher:
    """Callbacks of tuning: as a trial begins (number, its `key=value`s), in it, and after it."""

    on_begin: Callable[[int, tuple[str, ...]], None] = lambda *_: None
    on_end: Callable[[Tried], None] = lambda *_: None
    training: Watcher = field(default_factory=Watcher)


class _GivenUp(Exception):
    """Ends a trial that does worse than most."""


@each_warning_once()
def run_trials(
    settings: TuneSettings, *, device: torch.device | None = None, watcher: TuneWatcher | None = None
) -> Tuned:
    """Trains trials of a recipe with a [search] until there are enough.

    Leaves best.toml, trials.csv, tune.html and figures/ in `out`, and each trial's run in trial-NNNN.
    Raises MissingExtraError without Optuna; RecipeError, DataError, OutputError; TrainingError if no trial
    finished.
    """
    check_trackers(settings.trackers)
    while train_next_trial(settings, device=device, watcher=watcher) is not None:
        pass
    return conclude_tuning(settings)


def train_next_trial(
    settings: TuneSettings,
    *,
    device: torch.device | None = None,
    watcher: TuneWatcher | None = None,
) -> Tried | None:
    """Trains one trial, one that was killed or a new one; None where there are `trials` of them. As `run_trials`."""
    watcher = watcher or TuneWatcher()
    study, space, base = open_study(settings)
    claimed = _claim(study, settings.out, settings.trials)
    if claimed is None:
        return None
    trial, lock = claimed
    with lock:
        study.sampler = _sampler(base.seed, trial.number)
        taken = tuple(as_override(entry, _suggest(trial, entry)) for entry in space)
        watcher.on_begin(trial.number, taken)
        _train(study, trial, settings, taken, device, watcher.training)
        tried = _tried(study.trials[trial.number], space)
        watcher.on_end(tried)
    return tried


def conclude_tuning(settings: TuneSettings) -> Tuned:
    """Writes the results of a study's trials. Raises TrainingError if none finished."""
    study, space, base = open_study(settings)
    trials = tuple(_tried(trial, space) for trial in study.trials)
    done = [t for t in trials if t.state == "complete" and t.score is not None]
    if not done:
        why = next((f"; trial {t.number}: {t.problem}" for t in trials if t.problem), "")
        raise TrainingError(f"none of {len(trials)} trials came to its end{why}")
    done.sort(key=lambda t: (-(t.score or 0.0), t.number))
    best = done[0]
    score = best.score or 0.0
    found = load_recipe(settings.recipe, (*settings.overrides, *(f"{key}={value}" for key, value in best.changes)))
    about = f"{base.name} tuned: the best of {len(trials)} trials, {score:.4f} on validation"
    found = replace(found, name=f"{base.name}-tuned", description=about)
    tuned = Tuned(found, score, best.number, trials, _importances(study, done), *_certainty(settings.out, done))
    write_tuned(tuned, settings.out)
    return tuned


def _certainty(
    out: Path, done: Sequence[Tried]
) -> tuple[tuple[float, float] | None, tuple[int, float, McNemar] | None]:
    """The interval of the best of the sorted trials, and the test between it and the next, as `Tuned` has them."""
    try:
        answers = [read_answers(_folder(out, t.number) / VALIDATION_FILE) for t in done[:2]]
    except DataError:  # trained on another machine, as a storage that several share allows
        return None, None
    if any(len(heads) != 1 for heads in answers):
        return None, None
    found = [heads[0].evaluation() for heads in answers]
    test = mcnemar(*found) if len(found) == 2 else None
    return found[0].accuracy_95, None if test is None else (done[1].number, done[1].score or 0.0, test)


def open_study(settings: TuneSettings) -> tuple[Study, Search, Recipe]:
    """The study (created if missing), its search space, and the recipe. Raises as `tune`."""
    out, space = settings.out, read_search(settings.recipe, settings.overrides)
    base = load_recipe(settings.recipe, settings.overrides)
    make_folder(out)
    return _study(base, space, settings.storage or f"sqlite:///{(out / DATABASE).resolve()}"), space, base


def _study(base: Recipe, space: Search, url: str) -> Study:
    import_extra("optuna", "tune", "tuning")
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    definition = f"{to_toml(replace(base, description=''))}\n{space}"
    place = urlsplit(url)
    shown = f"{place.scheme}://{place.hostname}{place.path}" if place.hostname else url  # no password in a message
    # Whoever began well is judged from a quarter of the epochs on, and only by others at the same epoch.
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=_RANDOM_TRIALS // 2, n_warmup_steps=max(1, base.optimizer.epochs // 4)
    )
    try:
        study = optuna.create_study(
            study_name=base.name, storage=url, direction="maximize", load_if_exists=True, pruner=pruner
        )
        before = study.user_attrs.get("definition")
        if before is None:
            study.set_user_attr("definition", definition)
    except ImportError as error:
        raise TrainingError(
            f"{shown}: its driver is not installed ({error}); for PostgreSQL:  pip install 'psycopg[binary]'  and a "
            "URL that begins with postgresql+psycopg://"
        ) from error
    except (SQLAlchemyError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise TrainingError(f"{shown}: can't be used as a database of trials ({first})") from error
    if before not in (None, definition):
        raise TrainingError(
            f"{shown}: holds trials of another recipe or search called '{base.name}'; give another --out, or another "
            "name with  --set name=NAME"
        )
    return study


def _claim(study: Study, out: Path, wanted: int) -> tuple[Trial, ExitStack] | None:
    """The next trial to work on and its lock: one that was killed, else a new one; None where there are enough."""
    from optuna.trial import Trial, TrialState

    def running() -> list[FrozenTrial]:
        return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    for known in running():
        folder = _folder(out, known.number)
        # Without a folder it is on another machine.
        lock = hold(folder / LOCK, wait=False) if folder.is_dir() else None
        if lock is not None:
            if known.number in [t.number for t in running()]:
                return Trial(study, known._trial_id), lock
            lock.close()  # it ended in between
    with hold(out / LOCK, wait=True):  # so that two processes don't both begin the last trial
        if len(study.get_trials(deepcopy=False)) >= wanted:
            return None
        trial = study.ask()
        make_folder(_folder(out, trial.number))
        lock = hold(_folder(out, trial.number) / LOCK, wait=False)
    if lock is None:
        raise TrainingError(f"{out}: trial {trial.number} is locked by another process; tune in a folder of your own")
    trial.set_user_attr("machine", platform.node())
    return trial, lock


def _folder(out: Path, number: int) -> Path:
    return out / f"trial-{number:04d}"


def _sampler(seed: int, number: int) -> BaseSampler:
    """TPE (Bergstra et al. 2011), with a new seed for each trial, so that a resumed study draws no trial twice."""
    from optuna.samplers import TPESampler

    own = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    return TPESampler(seed=own, n_startup_trials=_RANDOM_TRIALS, multivariate=False)


def _suggest(trial: Trial, entry: Choice | Range) -> float | str:
    if isinstance(entry, Choice):
        return str(trial.suggest_categorical(entry.key, entry.options))
    if entry.whole:
        step = 1 if entry.step is None else int(entry.step)
        return trial.suggest_int(entry.key, int(entry.low), int(entry.high), step=step, log=entry.log)
    return trial.suggest_float(entry.key, entry.low, entry.high, step=entry.step, log=entry.log)


def _train(
    study: Study,
    trial: Trial,
    settings: TuneSettings,
    taken: Sequence[str],
    device: torch.device | None,
    training: Watcher,
) -> None:
    """Trains one trial, or the rest of it, and reports its result to the study."""
    from optuna.trial import TrialState

    reported = set(study.trials[trial.number].intermediate_values)

    def on_epoch(row: dict[str, float]) -> None:
        training.on_epoch(row)
        step = round(row["epoch"]) - 1
        if step not in reported:
            trial.report(mean_accuracy(row) or 0.0, step)
        if trial.should_prune():
            raise _GivenUp

    folder = _folder(settings.out, trial.number)
    try:
        run = train_run(
            load_recipe(settings.recipe, (*settings.overrides, *taken), warn=log_warning), settings.data, folder,
            resume=True, given=given_keys(settings.overrides), trackers=settings.trackers, device=device,
            watcher=replace(training, on_epoch=on_epoch),
        )  # fmt: skip
        study.tell(trial, max(mean_accuracy(row) or 0.0 for row in run.history))
    except _GivenUp:
        study.tell(trial, state=TrialState.PRUNED)
    except (DivergedError, RecipeError) as error:
        # Failed settings are a result too: the sampler then avoids them.
        trial.set_user_attr("problem", str(error))
        study.tell(trial, state=TrialState.PRUNED)
    for name in (CHECKPOINT, LAST):  # many trials fill a disk; the best weights and the model file stay
        (folder / name).unlink(missing_ok=True)


def _tried(trial: FrozenTrial, space: Search) -> Tried:
    from optuna.trial import TrialState

    values = trial.intermediate_values.values()
    problem = str(trial.user_attrs.get("problem", ""))
    state: Literal["complete", "pruned", "failed", "running"] = "pruned"
    if trial.state == TrialState.COMPLETE:
        state = "complete"
    elif trial.state == TrialState.RUNNING:
        state = "running"
    elif problem or trial.state == TrialState.FAIL:
        state = "failed"
    score = trial.value if state == "complete" else max(values, default=None)
    taken = [as_override(entry, trial.params[entry.key]) for entry in space if entry.key in trial.params]
    changes = tuple((key, value) for key, _, value in (t.partition("=") for t in taken))
    return Tried(trial.number, state, score, len(values), changes, problem)


def _importances(study: Study, done: Sequence[Tried]) -> tuple[tuple[str, float], ...]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if len(done) < 4 or len({t.score for t in done}) < 2:
        return ()  # there is nothing to tell it from
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its notes on few trials are not the user's business
        try:
            found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        except (ValueError, RuntimeError):  # all trials have the same settings
            return ()
    return tuple(found.items())
