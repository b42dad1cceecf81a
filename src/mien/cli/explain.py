"""`mien explain`: which parts of a face an answer hangs on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mien.cli.detector_options import Detector, YunetWeights
from mien.cli.exit_codes import NOT_ALL_READ


def explain(
    model: Annotated[str, typer.Argument(help="A shipped model's name, a model file, or a training run's folder.")],
    sources: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Files, folders or quoted patterns.")],
    out: Annotated[Path, typer.Option(help="Folder for sheet.png, explain.json and a picture per face.")],
    expression: Annotated[
        str | None, typer.Option(help="The expression to explain. [default: each face's likeliest]")
    ] = None,
    method: Annotated[
        Literal["auto", "occlusion", "gradcam"],
        typer.Option(help="Occlusion works for any model file, Grad-CAM for a run's folder. [auto: by what MODEL is]"),
    ] = "auto",
    detector: Detector = "mtcnn",
    yunet_weights: YunetWeights = None,
) -> None:
    """Show which parts of a face an answer hangs on, and whether the map means anything.

    The faces are drawn under a map, red where the answer hangs most. The deletion and insertion figures say how the
    probability goes when pixels are taken away, or brought back, in the map's order; beside them stands chance.

    Exit code: 0 all pictures were read, 3 some were not (each is named with its reason), 2 wrong usage.

    Examples:

    - `mien explain mien-small photo.jpg --out explained`

    - `mien explain runs/small crops/ --detector none --expression fear --out explained`
    """
    from mien.cli.training_options import require_training
    from mien.errors import MienError
    from mien.evaluation.explain import crop_pictures, explain_faces, write_explanation
    from mien.faces import make_detector
    from mien.media.skipped import SkippedFiles
    from mien.media.sources import expand_sources
    from mien.model_file import open_model

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
    opened = open_model(name)
    finder = make_detector(detector, yunet_weights=yunet_weights)
    skipped = SkippedFiles()
    images = list(expand_sources(sources, exclude=out, skipped=skipped))
    if line := skipped.line():
        typer.echo(f"mien: {line}", err=True)
    faces, names, problems = crop_pictures(images, finder, opened.info)
    for problem in problems:
        typer.echo(problem, err=True)
    explanation = explain_faces(opened, faces, names, expression=expression, maps_of=maps_of)
    write_explanation(explanation, out)
    areas = explanation.test.areas()
    typer.echo(
        f"{len(faces)} faces, {explanation.method}; area under deletion {areas['deletion']:.3f} (chance "
        f"{areas['random_deletion']:.3f}), insertion {areas['insertion']:.3f} (chance {areas['random_insertion']:.3f})"
    )
    typer.echo(str(out / "sheet.png"))
    if problems:
        raise typer.Exit(NOT_ALL_READ)
