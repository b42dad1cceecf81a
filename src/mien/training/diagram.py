"""How recipes differ, as an image: a row for each, a column for each thing that any of them does in its own way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import OutputError
from mien.files import write_bytes
from mien.pages import figure_png, figure_svg, figure_text, new_figure
from mien.training.ladder_steps import LADDER
from mien.training.recipe import Recipe
from mien.training.recipe_sections import DAMAGE, LEVELS, AugmentSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CHANGED, _SAME, _INK, _LINE = "#cfe0f5", "#ffffff", "#1d2129", "#c9ced6"


def write_diagram(recipes: Sequence[Recipe], path: Path) -> None:
    """Draws the recipes into an SVG or PNG file.

    The steps of the ladder have their own table, with differences from the step before coloured: a
    staircase. The other table colours differences from most recipes. Raises MissingExtraError without matplotlib,
    OutputError.
    """
    if path.suffix.lower() not in (".svg", ".png"):
        raise OutputError(f"{path}: diagrams are written as .svg or .png")
    steps = {step.name for step in LADDER}
    groups = [
        group
        for group in ([r for r in recipes if r.name not in steps], [r for r in recipes if r.name in steps])
        if group
    ]
    tables = [_table(group, ladder=group[0].name in steps) for group in groups]
    widths = [[max(len(row[i][0]) for row in table) for i in range(len(table[0]))] for table in tables]
    letters = max(sum(own) + 3 * len(own) for own in widths)
    lines = [len(table) + 1.5 for table in tables]
    figure = new_figure(max(6.0, 0.082 * letters), 0.27 * sum(lines) + 0.3)
    panels = figure.subplots(len(tables), 1, squeeze=False, height_ratios=lines).ravel()
    for axes, table, own, group in zip(panels, tables, widths, groups, strict=True):
        title = "the ladder: coloured is what a step changes" if group[0].name in steps else (
            "recipes: coloured is what differs from most" if len(group) > 1 else "recipe"
        )  # fmt: skip
        _draw(axes, table, own, letters, title)
    write_bytes(path, figure_svg(figure) if path.suffix.lower() == ".svg" else figure_png(figure))


Cell = tuple[str, bool]
"""A text, and whether it is highlighted."""


def _table(recipes: Sequence[Recipe], *, ladder: bool) -> list[list[Cell]]:
    """The heading, then a row for each recipe. Columns with equal values are left out."""
    facts = [recipe_facts(recipe) for recipe in recipes]
    # The ladder's columns are in the order in which they first change: that makes the staircase.
    names = [name for name in facts[0] if len({f[name] for f in facts}) > 1] or list(facts[0])
    if ladder:
        first = {n: next((i for i, f in enumerate(facts) if f[n] != facts[0][n]), 0) for n in names}
        names.sort(key=lambda n: first[n])
    usual = {name: Counter(f[name] for f in facts).most_common(1)[0][0] for name in names}
    rows: list[list[Cell]] = [[("recipe", False), *((name, False) for name in names)]]
    for i, (recipe, own) in enumerate(zip(recipes, facts, strict=True)):
        before = (facts[i - 1] if i else own) if ladder else usual
        rows.append([(recipe.name, False), *((own[n], len(facts) > 1 and own[n] != before[n]) for n in names)])
    return rows


def recipe_facts(recipe: Recipe) -> dict[str, str]:
    """What a recipe does, in a few words for each thing that recipes differ in; always the same keys."""
    network, optimizer, targets = recipe.network, recipe.optimizer, recipe.targets
    heads = [name for name, weight in (("label", targets.label), ("votes", targets.votes)) if weight > 0]
    stages = {-1: "all", 0: "head"}.get(recipe.finetune.stages, f"last {recipe.finetune.stages}")
    if recipe.finetune.head_epochs:
        stages = f"head, then {stages}"
    blends = [
        f"{name} {value:g}"
        for name, value in (("mixup", recipe.augment.mixup), ("cutmix", recipe.augment.cutmix))
        if value
    ]
    loss = recipe.loss.kind + (f" {recipe.loss.gamma:g}" if recipe.loss.kind == "focal" else "")
    shape = f" {network.stem}/{'-'.join(map(str, network.widths))}" if network.kind == "resnet" else ""
    colour = " colour" if recipe.input.channels == 3 else ""
    return {
        "network": network.kind + shape,
        "sees": f"{recipe.input.enlarged} px{colour}",
        "starts from": Path(network.weights).name if network.weights else "-",
        "learns": stages,
        "layer decay": "-" if recipe.finetune.layer_decay == 1 else f"{recipe.finetune.layer_decay:g}",
        "augmentation": _level(recipe.augment),
        "blends": ", ".join(blends) or "-",
        "heads": "+".join(heads),
        "taught by": f"{len(recipe.distill.teachers)} at {recipe.distill.weight:g}" if recipe.distill.teachers else "-",
        "loss": loss,
        "class weights": recipe.loss.class_weights,
        "smoothing": f"{targets.label_smoothing:g}",
        "dense": str(network.dense or "-"),
        "dropout": f"{network.dropout:g}",
        "optimizer": optimizer.kind,
        "rate": f"{optimizer.learning_rate:g}",
        "schedule": optimizer.schedule,
        "batch": str(optimizer.batch_size * optimizer.accumulate),
        "decay": f"{optimizer.weight_decay:g}",
        "EMA": f"{optimizer.ema:g}" if optimizer.ema else "-",
        "SAM": f"{optimizer.sam_rho:g}" if optimizer.sam_rho else "-",
        "epochs": str(optimizer.epochs),
    }  # fmt: skip


def _level(settings: AugmentSettings) -> str:
    """The level that the settings are, with what they add to it, but for blending; `own` where they are none."""
    for name, level in LEVELS.items():
        keys = ("flip", "rotate_deg", "scale", "shift", "shear_deg", "brightness", "contrast")
        if all(getattr(settings, key) == getattr(level, key) for key in keys):
            single = [key for key in (*DAMAGE, "erase") if getattr(settings, key) > getattr(level, key)]
            return " + ".join([name, *single])
    return "own"


def _draw(axes: Axes, table: list[list[Cell]], widths: Sequence[int], letters: int, title: str) -> None:
    from matplotlib.patches import Rectangle

    axes.set(xlim=(0, letters), ylim=(len(table), 0))
    axes.set_axis_off()
    axes.set_title(title, loc="left", fontsize=9, color=_INK)
    for line, row in enumerate(table):
        left = 0.0
        for (text, stands_out), width in zip(row, widths, strict=True):
            color = _CHANGED if stands_out else _SAME
            axes.add_patch(Rectangle((left, line), width + 3, 1, facecolor=color, edgecolor=_LINE, linewidth=0.5))
            bold = "bold" if line == 0 or left == 0 or stands_out else "normal"
            axes.text(left + 1, line + 0.5, figure_text(text), va="center", fontsize=7, color=_INK, fontweight=bold)
            left += width + 3
