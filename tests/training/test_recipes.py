"""Shipped recipes and the ladder's steps, search spaces, the diagram, and `mien recipes`."""

import json
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.errors import MienError, OutputError, RecipeError
from mien.training.diagram import recipe_facts, write_diagram
from mien.training.ladder_steps import LADDER
from mien.training.recipe import load_recipe, recipe_names, recipe_text
from mien.training.search import Choice, Range, as_override, read_search


def flat(table, prefix=""):
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_each_step_of_the_ladder_changes_what_it_says_and_nothing_else():
    steps = [dict(flat(asdict(load_recipe(step.name)))) for step in LADDER]
    assert [step.name for step in LADDER] == [f"ladder-{i:02d}" for i in range(12)]
    for before, now, step in zip(steps, steps[1:], LADDER[1:], strict=False):
        changed = {k for k in now if now[k] != before[k]} - {"name", "description"}
        named = {pair.partition("=")[0] for pair in step.overrides}
        assert changed == {k for k in now if k in named} | ({k for k in changed if k.startswith("augment.")}
                                                            if "augment.level" in named else set())  # fmt: skip
        assert changed
    last = load_recipe("ladder-11")
    assert (last.finetune.stages, last.optimizer.batch_size, last.optimizer.learning_rate) == (-1, 128, 1e-5)
    assert (last.loss.class_weights, last.network.dense) == ("balanced", 128)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_says_what_it_is_and_can_be_tuned_where_it_has_a_search(name):
    recipe = load_recipe(name)
    assert 20 <= len(recipe.description) <= 120
    if "[search]" in recipe_text(name):
        assert read_search(name)


def test_a_search_is_read_from_quoted_and_from_nested_keys(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(
        '[search]\n"optimizer.learning_rate" = { low = 1e-3, high = 0.1, log = true }\n'
        "network.widths = [[8, 8], [8, 16]]\n[search.optimizer]\nbatch_size = { low = 16, high = 64, step = 16 }\n"
    )
    rate, widths, batch = read_search(str(path))
    assert rate == Range("optimizer.learning_rate", 1e-3, 0.1, whole=False, log=True)
    assert widths == Choice("network.widths", ("[8, 8]", "[8, 16]"))
    assert batch == Range("optimizer.batch_size", 16, 64, whole=True, step=16)
    taken = [as_override(rate, 0.01234567), as_override(widths, "[8, 16]"), as_override(batch, 32)]
    recipe = load_recipe(str(path), taken)  # a recipe with a search trains as any other
    assert (recipe.optimizer.learning_rate, recipe.network.widths, recipe.optimizer.batch_size) == (
        0.0123457,
        (8, 16),
        32,
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"optimizer.rate" = [0.1, 0.2]', r"unknown key 'optimizer\.rate'"),
        ('"network.dropout" = { low = 0.0, high = 1.5 }', "dropout is 1.5"),
        ('"network.dropout" = { low = 0.5, high = 0.1 }', "expected low < high"),
        ('"optimizer.ema" = { low = 0.0, high = 0.9, log = true }', "needs low above 0"),
        ('"network.dropout" = { low = 0.1 , hi = 0.2 }', "unknown hi"),
        ('"augment.level" = ["low"]', "two or more different choices"),
        ('"augment.level" = "low"', "expected a list of choices"),
        ("", r"no \[search\] table"),
    ],
)
def test_an_impossible_search_is_refused_by_its_key(line, message, tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(f"[search]\n{line}\n")
    with pytest.raises(RecipeError, match=message):
        read_search(str(path))


def test_the_diagram_draws_every_recipe(tmp_path):
    recipes = [load_recipe(name) for name in ("toy", "mien-small", "ladder-00", "ladder-01", "ladder-02")]
    write_diagram(recipes, tmp_path / "d.svg")
    svg = (tmp_path / "d.svg").read_text()
    assert "<!-- ladder-01 -->" in svg
    assert "<!-- heads -->" in svg
    with pytest.raises(OutputError, match=r"\.svg or \.png"):
        write_diagram(recipes, tmp_path / "d.pdf")
    assert recipe_facts(load_recipe("ladder-03"))["augmentation"] == "high"
    assert recipe_facts(load_recipe("mien-small"))["augmentation"] == "mid + erase"


def test_recipes_are_listed_printed_and_drawn(tmp_path):
    runner = CliRunner()
    listed = runner.invoke(app, ["recipes"])
    assert all(name in listed.stdout for name in recipe_names())
    printed = runner.invoke(app, ["recipes", "ladder-07"]).stdout
    (tmp_path / "my.toml").write_text(printed)
    copy = asdict(load_recipe(str(tmp_path / "my.toml"))) | {"name": "ladder-07"}
    assert copy == asdict(load_recipe("ladder-07"))
    found = json.loads(runner.invoke(app, ["recipes", "ladder-*", "--format", "json"]).stdout)
    assert [r["name"] for r in found] == [step.name for step in LADDER]
    drawn = runner.invoke(app, ["recipes", "toy", "--out", str(tmp_path / "one.png")])
    assert drawn.exit_code == 0
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(MienError, match="no recipe 'ladder'"):
        runner.invoke(app, ["recipes", "ladder"], catch_exceptions=False)
