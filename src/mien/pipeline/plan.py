"""Turns settings into stages: their order, their inputs, the settings that decide their output, and what runs them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.config import suggested
from mien.data.reading.reading import make_choices
from mien.errors import RecipeError
from mien.faces import DetectorChoice
from mien.pipeline import data_stages, model_stages
from mien.pipeline.settings import CompareTable, Settings, TrainTable
from mien.pipeline.state import FLAGS, MODELS, TOY, WEIGHTS, Context, Outcome

if TYPE_CHECKING:
    from mien.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a pipeline.

    settings: all that decides the outcome apart from the inputs, as JSON. inputs: the stages whose output it reads.
    files: the user's files that it reads. run: builds the stage in a folder.
    """

    name: str
    settings: Mapping[str, Any]
    run: Callable[[Path, Context], Outcome]
    inputs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    needs_training: bool = False


def make_plan(settings: Settings) -> tuple[Stage, ...]:
    """The stages of a mien.toml, each after its inputs.

    Raises RecipeError for a missing input, a wrong recipe or an unknown name.
    """
    return _Planner(settings).stages()


def chosen_stages(plan: Sequence[Stage], *, only: str | None, start: str | None, file: Path) -> tuple[Stage, ...]:
    """The stages that may run. `train` selects every run. Raises RecipeError for a stage that is not in the plan."""
    names = [stage.name for stage in plan]
    for option, wanted in (("--only", only), ("--from", start)):
        if wanted is not None and not any(_is(name, wanted) for name in names):
            known = list(dict.fromkeys((*names, *(name.partition("/")[0] for name in names))))
            raise RecipeError(f"{option} {wanted}: no such stage in {file}; {suggested(wanted, known)}")
    if only is not None:
        return tuple(stage for stage in plan if _is(stage.name, only))
    first = next((i for i, name in enumerate(names) if start is not None and _is(name, start)), 0)
    return tuple(plan[first:])


def _is(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}/")


class _Planner:
    """Collects stages in order, and keeps track of the one with the current data set."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.name, self.seed = settings, settings.general.name, settings.general.seed
        self.planned: list[Stage] = []
        self.data_stage = ""
        self.heads: dict[str, set[str]] = {}  # name of a run -> its heads
        self.runs: dict[str, str] = {}  # name of a run -> stage
        self.models: dict[str, str] = {}  # name of a run with a model, or of the ensemble -> stage

    def stages(self) -> tuple[Stage, ...]:
        self._start()
        self._clean()
        self._look()
        self._train()
        self._finish()
        if not self.planned:
            raise RecipeError(f"{self.settings.file}: names no stage; add [import] with a source")
        return tuple(self.planned)

    def _start(self) -> None:
        s = self.settings
        if s.toy:
            seed = self.seed or 0
            run = partial(data_stages.draw_toy, settings=s.toy, seed=seed)
            self._add("toy", {**asdict(s.toy), "seed": seed}, run)
        if s.import_ is None:
            if s.toy:
                raise RecipeError(f"{s.file}: [toy] draws images that no stage reads; add [import]")
            return
        if bool(s.import_.source) == bool(s.toy):
            what = (
                "remove it: [toy] is the source" if s.toy else "name the data to import, as in  source = 'fer2013.csv'"
            )
            raise RecipeError(f"{s.file}: 'import.source': {what}")
        source = s.path(s.import_.source) if s.import_.source else s.out / "toy" / TOY
        ferplus = s.path(s.import_.ferplus) if s.import_.ferplus else None
        choices = make_choices(
            **{key: value for key, value in asdict(s.import_).items() if key not in ("source", "root", "ferplus")},
            root=s.path(s.import_.root) if s.import_.root else None, ferplus=ferplus,
        )  # fmt: skip
        self._add(
            "import",
            {"name": self.name, **choices.to_dict(), "ferplus": ferplus is not None},
            partial(data_stages.import_data, source=source, choices=choices, name=self.name),
            inputs=("toy",) if s.toy else (),
            files=tuple(path for path in (None if s.toy else source, ferplus) if path),
        )
        self.data_stage = "import"

    def _clean(self) -> None:
        s = self.settings
        if s.crop:
            choice, files = self._detector(s.crop.detector, s.crop.cascade)
            self._add_data("crop", data_stages.crop_data, s.crop, files=files, detector=choice)
        if s.screen:
            found = [self._detector(name, s.screen.cascade) for name in s.screen.detectors]
            files = tuple(dict.fromkeys(file for _, files in found for file in files))
            choices = [choice for choice, _ in found]
            self._add_data("screen", data_stages.screen_data, s.screen, files=files, detectors=choices)
        if s.dedupe:
            self._add_data("dedupe", data_stages.dedupe_data, s.dedupe)
        if s.audit:
            self._audit()
        if s.drop:
            self._drop()
        if s.split:
            split = s.split if self.seed is None else replace(s.split, seed=self.seed)
            self._add_data("split", data_stages.split_data, split)

    def _audit(self) -> None:
        audit = self.settings.audit
        assert audit
        choice: DetectorChoice | None = None
        files: tuple[Path, ...] = ()
        if audit.detector:
            choice, files = self._detector(audit.detector, audit.cascade)
        self._add(
            "audit",
            asdict(audit),
            partial(data_stages.audit_data, source=self._data("audit"), settings=audit, detector=choice),
            inputs=(self.data_stage,),
            files=files,
        )

    def _drop(self) -> None:
        s, drop = self.settings, self.settings.drop
        assert drop
        if not drop.flags and not s.audit:
            raise RecipeError(
                f"{s.file}: [drop] needs [audit], or 'drop.flags' that names a flags.csv; add one of them"
            )
        flags = s.path(drop.flags) if drop.flags else s.out / "audit" / "audit" / FLAGS
        also, files = ((), (flags,)) if drop.flags else (("audit",), ())
        self._add_data("drop", data_stages.drop_data, drop, also=also, files=files, flags=flags)

    def _look(self) -> None:
        s = self.settings
        if s.explore:
            seed = self.seed or 0
            run = partial(data_stages.explore_data, source=self._data("explore"), settings=s.explore, seed=seed)
            self._add("explore", {**asdict(s.explore), "seed": seed}, run, inputs=(self.data_stage,))

    def _train(self) -> None:
        from mien.training.recipe import load_recipe

        for run in self.settings.train:
            weights = [self._of_run(run, "weights", one, WEIGHTS[0]) for one in run.weights]
            teachers = [self._of_run(run, "teachers", one, "") for one in run.teachers]
            seed = [] if self.seed is None else [f"seed={self.seed}"]
            changes = [*seed, *self._crop_changes(), *_run_changes(run, weights, teachers)]
            notes: list[str] = []  # logged when the stage runs
            place = str(self.settings.path(run.recipe)) if run.recipe.endswith(".toml") else run.recipe
            recipe = load_recipe(place, changes, warn=notes.append)
            stage = partial(
                model_stages.train_model, source=self._data("train"), recipe=recipe, run=run, changes=changes,
                notes=notes,
            )  # fmt: skip
            self._add(
                f"train/{run.run}",
                _run_settings(run, recipe),
                stage,
                inputs=tuple(dict.fromkeys((self.data_stage, *(stage for stage, _ in (*weights, *teachers))))),
                files=_recipe_files(run, recipe),
                needs_training=True,
            )
            self.runs[run.run] = f"train/{run.run}"
            if not run.stop_after:
                self.models[run.run] = f"train/{run.run}"
            shares = {"label": recipe.targets.label, "votes": recipe.targets.votes}
            self.heads[run.run] = {head for head, share in shares.items() if share > 0}

    def _of_run(self, run: TrainTable, key: str, text: str, usual: str) -> tuple[str, Path]:
        """What an earlier run wrote, `RUN/FILE` or `RUN` for the usual file: its stage, and the path."""
        name, _, file = text.partition("/")
        known = self.models if key == "teachers" else self.runs
        if name not in known:
            raise RecipeError(
                f"{self.settings.file}: '{key}' of the run '{run.run}': no run '{name}' before it"
                f"{' that has a model' if name in self.runs else ''}; {suggested(name, known)}"
            )
        return known[name], self.settings.out / known[name] / MODELS / (file or usual)

    def _finish(self) -> None:
        s = self.settings
        if s.compare:
            names = s.compare.models or tuple(self.models)
            self._add_models("compare", model_stages.compare_models, s.compare, names=names)
            self._check_heads(s.compare, names)
        if s.ensemble:
            if {s.ensemble.name, "ensemble"} & set(self.models):
                raise RecipeError(f"{s.file}: a run has the name of the ensemble; rename that [[train]] table")
            if len(s.ensemble.models or self.models) < 2:
                raise RecipeError(f"{s.file}: [ensemble] needs two models; add [[train]] tables")
            self._add_models("ensemble", model_stages.join_models, s.ensemble)
            self.models["ensemble"] = "ensemble"
        final = ("ensemble",) if s.ensemble else ()
        if s.evaluate:
            self._add_models("evaluate", model_stages.evaluate_models, s.evaluate, final)
        if s.export:
            self._add_models("export", model_stages.export_all, s.export, final, needed=not s.export.data)
        if s.card:
            self._add_models("card", model_stages.write_cards, s.card, final)

    # Parts

    def _add(
        self,
        name: str,
        settings: Mapping[str, Any],
        run: Callable[[Path, Context], Outcome],
        *,
        inputs: tuple[str, ...] = (),
        files: tuple[Path, ...] = (),
        needs_training: bool = False,
    ) -> None:
        plain = json.loads(json.dumps(settings))  # as state.json returns it
        self.planned.append(Stage(name, plain, run, inputs, files, needs_training))

    def _add_data(
        self,
        name: str,
        run: Callable[..., Outcome],
        settings: Any,
        *,
        also: tuple[str, ...] = (),
        files: tuple[Path, ...] = (),
        **arguments: Any,
    ) -> None:
        """A stage that turns the current data set into a new one. arguments: more of `run`."""
        stage = partial(run, source=self._data(name), settings=settings, name=self.name, **arguments)
        self._add(name, asdict(settings), stage, inputs=(self.data_stage, *also), files=files)
        self.data_stage = name

    def _add_models(
        self,
        name: str,
        run: Callable[..., Outcome],
        settings: Any,
        usual: Sequence[str] = (),
        *,
        needed: bool = True,
        **arguments: Any,
    ) -> None:
        """A stage on trained models and the data. usual: those that it reads if its table names none; empty: all."""
        file, data, chosen = self.settings.file, self._data(name), settings.models or usual
        if needed and not self.models:
            raise RecipeError(f"{file}: [{name}] needs a model; add a [[train]] table with a recipe")
        for model in chosen:
            if model not in self.models:
                raise RecipeError(f"{file}: '{name}.models': no run '{model}'; {suggested(model, self.models)}")
        inputs = tuple(self.models[model] for model in chosen or self.models)
        folders = [self.settings.out / stage / MODELS for stage in inputs]
        stage = partial(run, models=folders, data=data, settings=settings, **arguments)
        self._add(name, asdict(settings), stage, inputs=(*inputs, self.data_stage))

    def _check_heads(self, compare: CompareTable, names: Sequence[str]) -> None:
        """Raises RecipeError for runs that cannot be compared, before they are trained."""
        common = set.intersection(*(self.heads[name] for name in names))
        if not common or (compare.head and compare.head not in common):
            held = "; ".join(f"{name}: {', '.join(sorted(self.heads[name]))}" for name in names)
            expected = f"the head '{compare.head}' in all runs" if compare.head else "a head that all runs have"
            raise RecipeError(
                f"{self.settings.file}: [compare]: expected {expected} ({held}); choose runs with 'compare.models'"
            )

    def _data(self, stage: str) -> Path:
        if not self.data_stage:
            raise RecipeError(f"{self.settings.file}: [{stage}] needs data; add [import] with a source")
        return self.settings.out / self.data_stage / self.name

    def _detector(self, name: str, cascade: str) -> tuple[DetectorChoice, tuple[Path, ...]]:
        """A detector, and the user's files that it reads."""
        path = self.settings.path(cascade) if cascade and name == "haar" else None
        return DetectorChoice(name, path), (path,) if path else ()

    def _crop_changes(self) -> list[str]:
        """The model file must request the framing of the faces that it was trained on."""
        crop = self.settings.crop
        if crop is None or crop.detector == "none":
            return []
        framing = asdict(crop.spec)
        return [f"crop.{key}={str(value).lower()}" for key, value in framing.items()]


_Outputs = Sequence[tuple[str, Path]]  # stages of runs, and a file or folder of each


def _run_changes(run: TrainTable, weights: _Outputs, teachers: _Outputs) -> list[str]:
    """What the table says about its recipe. Paths are relative, to stay short in models, if that is possible."""
    changes = [f'name="{run.model or run.run}"', *run.set]
    if weights:
        changes.append(f"network.weights={json.dumps(','.join(_short(path) for _, path in weights))}")
    if teachers:
        changes.append(f"distill.teachers={json.dumps([_short(path) for _, path in teachers])}")
    return changes


def _short(path: Path) -> str:
    try:
        return Path(os.path.relpath(path)).as_posix()
    except ValueError:  # Windows: another drive
        return path.absolute().as_posix()


def _run_settings(run: TrainTable, recipe: Recipe) -> dict[str, Any]:
    """What decides a run's outcome. Earlier runs by name, as the path to them depends on the working folder."""
    settings = asdict(recipe)
    if run.weights:
        settings["network"]["weights"] = run.weights
    if run.teachers:
        settings["distill"]["teachers"] = run.teachers
    extra = {"stop_after": run.stop_after, "calibrate": run.calibrate}
    return settings | {key: value for key, value in extra.items() if value}


def _recipe_files(run: TrainTable, recipe: Recipe) -> tuple[Path, ...]:
    """The weights and teachers that are not of earlier runs in the file; they also decide the outcome."""
    weights = () if run.weights else recipe.network.weights.split(",")
    teachers = () if run.teachers else recipe.distill.teachers
    return tuple(Path(name) for name in (*weights, *teachers) if name)
