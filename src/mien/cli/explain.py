"""`mien explain`: which parts of a face a prediction depends on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mien.cli.model_options import Detector, DetectorFiles, ModelOrRun
from mien.cli.option_groups import grouped
from mien.cli.output_options import NOT_ALL_READ, out_option, warn

if TYPE_CHECKING:
    from mien.evaluation.explain import MapMaker

_Expression = Annotated[
    str | None, typer.Option(help="The expression to explain. [default: each face's most likely one]")
]
_Method = Annotated[
    Literal["auto", "occlusion", "gradcam"],
    typer.Option(help="Occlusion works for any model file, Grad-CAM for a run's folder; auto chooses."),
]


@grouped
def explain(
    model: ModelOrRun,
    sources: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Files, folders or quoted patterns.")],
    *,
    out: Annotated[Path, out_option("Folder for sheet.png, explain.json and an image per face.")],
    expression: _Expression = None,
    method: _Method = "auto",
    detector: Detector = "auto",
    files: DetectorFiles,
) -> None:
    """Show which parts of a face a prediction depends on, and test whether the map is meaningful.

    Each face is drawn under a map, red where the prediction depends on it most. Deletion and insertion measure how the
    probability changes while pixels are removed, or restored, in the map's order; a random order is given beside them.

    Exit code: 0 all images were read, 3 some were not (each is named with its reason), 2 wrong usage.

    Examples:

    - `mien explain mien-small photo.jpg --out explained`
    - `mien explain runs/small crops/ --detector none --expression fear --out explained`
    """
    import mien

    name, maps_of = _run_maps(model, method)
    found = files.choice(detector).make(min_face=20, threads=0)
    explanation = mien.explain(
        name, sources, out, expression=expression, detector=found, maps_of=maps_of
    )  # fmt: skip
    for problem in explanation.problems:
        warn(problem)
    areas, count = explanation.test.areas(), len(explanation.faces)
    typer.echo(
        f"{count} face{'' if count == 1 else 's'}, {explanation.method}; area under deletion {areas['deletion']:.3f} "
        f"(chance {areas['random_deletion']:.3f}), insertion {areas['insertion']:.3f} "
        f"(chance {areas['random_insertion']:.3f})"
    )
    typer.echo(str(out / "sheet.png"))
    if explanation.problems:
        raise typer.Exit(NOT_ALL_READ)


def _run_maps(model: str, method: str) -> tuple[str, MapMaker | None]:
    """The model file, and what makes Grad-CAM's maps: only for the folder of a training run."""
    from mien.errors import MienError

    if not Path(model).is_dir():
        if method == "gradcam":
            raise MienError(f"{model}: Grad-CAM needs a training run's folder; a model file takes --method occlusion")
        return model, None
    from mien.training.before_torch import require_training

    require_training("Grad-CAM")
    from mien.training.gradcam import RunMaps

    run = RunMaps(Path(model))
    return str(run.model_file), run.maps if method != "occlusion" else None
