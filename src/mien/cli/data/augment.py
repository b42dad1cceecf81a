"""`mien data augment`: shows how training changes the faces of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mien.cli.completion import complete_recipe
from mien.cli.data.looking import open_counted
from mien.cli.output_options import DataSet, Seed, out_option
from mien.training.before_torch import require_training

_Level = Annotated[
    Literal["low", "mid", "high"] | None,
    typer.Option(help="How strong. [default: all three, unless a recipe is given]"),
]
_ShownRecipe = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Show what this recipe does: a name, or a TOML file.", autocompletion=complete_recipe
    ),
]


def augment(
    source: DataSet,
    out: Annotated[Path, out_option("The image to write, a PNG.")],
    level: _Level = None,
    recipe: _ShownRecipe = None,
    faces: Annotated[int, typer.Option(min=1, max=100, help="How many faces, one to a row.")] = 4,
    views: Annotated[int, typer.Option(min=1, max=50, help="How many changed views of each.")] = 9,
    seed: Seed = 0,
) -> None:
    """Draw faces beside their changed views, exactly as training would change them.

    Each row begins with the face as it is.

    Examples:

    - `mien data augment data/fer2013 --out levels.png`
    - `mien data augment data/fer2013 --level high --out high.png`
    - `mien data augment data/fer2013 --recipe mien-small --out mien-small.png`
    """
    from mien.errors import OutputError
    from mien.files import require_apart

    require_training("augmentation")
    from mien.training.preview import write_preview

    if out.suffix.lower() != ".png":
        raise OutputError(f"{out}: is no name of a PNG; expected one that ends in .png")
    require_apart(source, out)
    dataset, _ = open_counted(source)
    write_preview(dataset, out, level=level, recipe=recipe, faces=faces, views=views, seed=seed)
    typer.echo(str(out))
