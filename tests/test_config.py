"""Recipes and configuration: what is refused, how it is named, and that what is written reads back the same."""

from dataclasses import replace

import pytest

from mien.config import to_toml
from mien.errors import RecipeError
from mien.training.recipe import Recipe, load_recipe, recipe_names, same_training


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_reads_back_the_same(name, tmp_path):
    recipe = load_recipe(name)
    path = tmp_path / "copy.toml"
    path.write_text(to_toml(recipe), "utf-8")
    assert load_recipe(str(path)) == recipe
    assert recipe.name == name


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.epoch=3", "unknown key 'optimizer.epoch'; did you mean 'optimizer.epochs'?"),
        ("optimiser.epochs=3", "unknown key 'optimiser'; did you mean 'optimizer'?"),
        ("optimizer.epochs=0", "optimizer.epochs is 0"),
        ("optimizer.epochs=1.5", "'optimizer.epochs' is 1.5; expected int"),
        ("optimizer.kind=lion", "'optimizer.kind' is 'lion'; allowed: 'sgd', 'adam', 'adamw'"),
        ("optimizer=3", "'optimizer' must be a table"),
        ("network.widths=48", "'network.widths' must be a list"),
        ("network.widths=[]", "network.widths has 0 entries"),
        ("augment.flip=1", "'augment.flip' is 1; expected bool"),
        ("targets.label=0", None),
        ("input.view=60", "input.view is 60"),
        ("epochs", "expected key=value"),
    ],
)
def test_wrong_values_are_named(override, said):
    if said is None:
        assert load_recipe("mien-small", [override]).targets.label == 0
        return
    with pytest.raises(RecipeError) as error:
        load_recipe("mien-small", [override])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_to_learn_is_refused():
    with pytest.raises(RecipeError, match="both 0"):
        load_recipe("mien-small", ["targets.label=0", "targets.votes=0"])


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(RecipeError, match=r"no recipe 'mien-huge'; .*shipped: .*mien-small"):
        load_recipe("mien-huge")
    with pytest.raises(RecipeError, match="can't read the recipe"):
        load_recipe(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = = 1", "utf-8")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(str(broken))


@pytest.mark.parametrize("text", ['a "quoted" \\ text', "two\nlines\n", "a\ttab", "\x7f \x00 \r\n", "ü 😀"])
def test_any_description_survives(text, tmp_path):
    recipe = replace(load_recipe("mien-small"), description=text)
    path = tmp_path / "r.toml"
    path.write_text(to_toml(recipe), "utf-8")
    assert load_recipe(str(path)) == recipe


def test_same_training_ignores_what_only_describes():
    recipe = Recipe(name="a")
    assert same_training(recipe, replace(recipe, description="other"))
    assert not same_training(recipe, replace(recipe, seed=3))
