"""`mien explain`: which parts of a face a prediction depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mien.cli.completion import complete_model
from mien.cli.detector_options import Cascade, Detector, YunetWeights
from mien.cli.exit_codes import NOT_ALL_READ


def explain(
    model: Annotated[
        str,
        typer.Argument(
            help="A shipped model's name, a model file, or a training run's folder.", autocompletion=complete_model
        ),
    ],
    sources: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Files, folders or quoted patterns.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for sheet.png, explain.json and an image per face.")],
    expression: Annotated[
        str | None, typer.Option(help="The expression to explain. [default: each face's most likely one]")
    ] = None,
    method: Annotated[
        Literal["auto", "occlusion", "gradcam"],
        typer.Option(help="Occlusion works for any model file, Grad-CAM for a run's folder; auto chooses."),
    ] = "auto",
    detector: Detector = "mtcnn",
    cascade: Cascade = None,
    yunet_weights: YunetWeights = None,
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
    from mien.cli.training_options import require_training
    from mien.errors import MienError
    from mien.faces import make_detector

    is_run = Path(model).is_dir()
    if method == "gradcam" and not is_run:
        raise MienError(f"{model}: Grad-CAM needs a training run's folder; a model file takes --method occlusion")
    maps_of = None
    name = model
    if is_run:
        require_training("Grad-CAM")
        from mien.training.gradcam import RunMaps

        run = RunMaps(Path(model))
        name, maps_of = str(run.model_file), run.maps if method != "occlusion" else None
    explanation = mien.explain(
        name,
        sources,
        out,
        expression=expression,
        detector=make_detector(detector, cascade=cascade, yunet_weights=yunet_weights),
        maps_of=maps_of,
        warn=lambda line: typer.echo(f"mien: {line}", err=True),
    )
    for problem in explanation.problems:
        typer.echo(problem, err=True)
    areas = explanation.test.areas()
    typer.echo(
        f"{len(explanation.faces)} faces, {explanation.method}; area under deletion {areas['deletion']:.3f} (chance "
        f"{areas['random_deletion']:.3f}), insertion {areas['insertion']:.3f} (chance {areas['random_insertion']:.3f})"
    )
    typer.echo(str(out / "sheet.png"))
    if explanation.problems:
        raise typer.Exit(NOT_ALL_READ)
