"""Shipped recipes and the ladder's steps, search spaces, the diagram, and `mien recipes`."""

import json
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.errors import MienError, OutputError, RecipeError
from mien.training.diagram import recipe_facts, write_diagram
from mien.training.ladder_steps import LADDER
from mien.training.recipe import load_recipe, recipe_names, recipe_table, recipe_text
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
def test_every_shipped_recipe_says_what_it_is_trains_for_one_epoch_and_can_be_tuned(name):
    assert 20 <= len(load_recipe(name).description) <= 120
    assert read_search(name)
    assert load_recipe(name, ["optimizer.epochs=1"]).optimizer.epochs == 1


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


def write(folder, **texts):
    """Recipes as files, `name="text"`; returns the folder."""
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
    return folder


def test_a_recipe_has_the_keys_of_those_that_it_extends(tmp_path):
    (tmp_path / "deep").mkdir()
    write(tmp_path, base='extends = "scratch-cnn4"\nseed = 5\n[optimizer]\nepochs = 9\nlearning_rate = 0.01\n')
    write(tmp_path / "deep", own='extends = "../base.toml"\nseed = 5\n[optimizer]\nepochs = 7\n')
    own, shipped = load_recipe(str(tmp_path / "deep/own.toml")), load_recipe("scratch-cnn4")
    assert (own.name, own.seed, own.optimizer.epochs, own.optimizer.learning_rate) == ("own", 5, 7, 0.01)
    assert own.description == shipped.description
    assert own.network == shipped.network
    assert own.augment == shipped.augment
    assert read_search(str(tmp_path / "deep/own.toml")) == read_search("scratch-cnn4")
    again = load_recipe(str(tmp_path / "deep/own.toml"), ["optimizer.epochs=3", "seed=1"])
    assert (again.seed, again.optimizer.epochs, again.optimizer.learning_rate) == (1, 3, 0.01)
    write(tmp_path, step='extends = "ladder-07"\n')
    assert load_recipe(str(tmp_path / "step.toml")).augment == load_recipe("ladder-07").augment


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"own": 'extends = "b.toml"', "b": 'extends = "own.toml"'}, r"b\.toml: 'extends' .*own.* -> .*b.* -> .*own"),
        ({"own": 'extends = "./own.toml"'}, r"own\.toml: 'extends' makes a circle"),
        ({"own": 'extends = "b.toml"'}, r"own\.toml: 'extends': .*b\.toml: can't read"),
        ({"own": 'extends = "mien-smal"'}, r"own\.toml: 'extends': no recipe 'mien-smal'; did you mean 'mien-small'"),
        ({"own": 'extends = ["toy"]'}, r"own\.toml: 'extends' is \['toy'\]; expected one recipe's"),
        ({"own": 'extends = "b.toml"', "b": "[optimizer]\nepoch = 3"}, r"/b\.toml: unknown key 'optimizer.epoch'"),
        ({"own": 'extends = "b.toml"\n[optimizer]\nema = 2', "b": "seed = 3"}, r"/own\.toml: optimizer.ema is 2"),
        ({"own": 'extends = "b.toml"', "b": '[augment]\nlevel = "lo"'}, r"/b\.toml: 'augment.level' is 'lo'"),
        ({"own": 'extends = "b.toml"\ninput = 3', "b": "[input]\nview = 44"}, r"/own\.toml: 'input' must be a table"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_chain_is_said_with_the_file_that_holds_the_key(texts, message, tmp_path):
    write(tmp_path, **texts)
    with pytest.raises(RecipeError, match=message) as refused:
        load_recipe(str(tmp_path / "own.toml"))
    assert "\n" not in str(refused.value)


def test_a_set_value_is_not_blamed_on_a_file_below(tmp_path):
    write(tmp_path, own='extends = "b.toml"', b="[optimizer]\nema = 0.9")
    with pytest.raises(RecipeError, match=r"/own\.toml: optimizer.ema is 3"):
        load_recipe(str(tmp_path / "own.toml"), ["optimizer.ema=3"])


@pytest.mark.parametrize("name", recipe_names())
def test_a_printed_recipe_is_whole_and_the_same(name, tmp_path):
    text = recipe_text(name)
    assert "extends" not in text
    write(tmp_path, **{name: text})
    copy = str(tmp_path / f"{name}.toml")
    assert load_recipe(copy) == load_recipe(name)
    assert ("[search" in text) == ("search" in recipe_table(name))


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
