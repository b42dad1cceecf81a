"""How the shipped models came to be: the graph of their training runs, and the recipes of its stages."""

import hashlib
import json
import tomllib
from dataclasses import asdict

import pytest

from mien.config import flat_items
from mien.model_file import ModelFile
from mien.pipeline.plan import make_plan
from mien.pipeline.settings import read_settings
from mien.releases import shipped_models
from mien.training.recipe import Recipe
from places import ROOT

FAMILY = ROOT / "scripts/family.toml"
RECIPES = sorted((ROOT / "scripts/family").glob("*.toml"))
SHIPPED = {"mien-base": "mien-base-2", "mien-small": "mien-small-11", "mien-nano": "mien-nano-7"}
"""A model, and the run that it comes from."""

WIRED = ("network.weights", "distill.teachers")

DIGESTS = {
    "faceres": "0267bd09",
    "dlib": "0b9da88e",
    "mien-small-1": "602ee4ed",
    "mien-nano-1": "2a7d24c7",
    "mien-small-finish": "c0d44037",
    "mien-small-2": "dddefc59",
    "mien-small-3": "b61dd3a9",
    "mien-small-4": "63ccbc24",
    "mien-nano-2": "ffb26b57",
    "mien-nano-3": "b443747d",
    "grown": "1a60d689",
    "grown-2": "87d7a417",
    "grown-2b": "19f0c5b3",
    "grown-3": "7c59a564",
    "mien-small-5": "86edc6d1",
    "mien-small-6": "bad58108",
    "mien-nano-4": "3cc40244",
    "mien-nano-5": "16ca5fba",
    "faceres-2": "9f60a343",
    "faceres-2-sixth": "ef3abc70",
    "faceres-2b": "0be27653",
    "faceres-3": "7beff816",
    "faceres-3b": "ede99eeb",
    "mien-small-7": "6de6f402",
    "mien-small-8": "48ef0d4a",
    "mien-nano-6": "29ffb4c8",
    "mien-nano-7": "d21757c4",
    "faceres-4": "8158811b",
    "faceres-4b": "43b1b01a",
    "faceres-5": "79e9a2d1",
    "mien-base": "8bb16773",
    "mien-small-9": "dcc178c0",
    "mien-small-10": "3a0cf9fd",
    "mien-small-11": "6c6804de",
    "mien-base-2": "aa4e385a",
}
"""The settings with which the shipped models were trained. A change of a recipe must not reach those that extend it."""


@pytest.fixture(scope="module")
def settings():
    return read_settings(FAMILY)


@pytest.fixture(scope="module")
def runs(settings):
    """Name of a run -> its stage."""
    return {stage.name.removeprefix("train/"): stage for stage in make_plan(settings) if stage.needs_training}


def digest(settings):
    """Of what a run's settings say beside the defaults, so that a new key with a default changes none."""
    usual = dict(flat_items(json.loads(json.dumps(asdict(Recipe("x"))))))
    own = {key: value for key, value in flat_items(settings) if value != usual.get(key)}
    text = json.dumps({key: own[key] for key in sorted(own) if key not in ("name", "description")})
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def test_the_runs_are_those_that_made_the_shipped_models(runs):
    assert {name: digest(stage.settings) for name, stage in runs.items()} == DIGESTS


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_model_has_the_recipe_of_its_run(name, runs):
    model = ModelFile(shipped_models()[name]).info
    trained = dict(flat_items(tomllib.loads(model.recipe)))
    declared = dict(flat_items(runs[SHIPPED[name.removesuffix("-fer2013")]].settings))
    assert {key: declared[key] for key in trained if key not in (*WIRED, "description")} == {
        key: value for key, value in trained.items() if key not in (*WIRED, "description")
    }


def test_every_run_says_what_it_reaches_and_every_recipe_is_used(settings, runs):
    assert len(runs) == 35  # 34, and the first epochs of one of them
    for run in settings.train:
        assert run.stop_after or (run.reach.votes and run.reach.label), run.run
        assert 20 <= len(runs[run.run].run.keywords["recipe"].description) <= 120
    assert {f"family/{path.name}" for path in RECIPES} == {r.recipe for r in settings.train if "/" in r.recipe}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_figures_of_the_shipped_models_are_those_in_the_files(name, settings):
    (run,) = (one for one in settings.train if one.run == SHIPPED[name])
    for head, file in (("votes", name), ("label", f"{name}-fer2013")):
        reached = ModelFile(shipped_models()[file]).info.scores["validation_accuracy"]
        assert getattr(run.reach, head) == pytest.approx(reached, abs=6e-4)
