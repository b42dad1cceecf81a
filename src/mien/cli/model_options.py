"""Options and arguments that name models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from mien.cli.completion import complete_model
from mien.config import settings_of
from mien.recognition.settings import RecognitionSettings

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A shipped model's name or a model file.", autocompletion=complete_model)
]
ModelOrRun = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A shipped model's name, a model file, or a training run's folder.",
        autocompletion=complete_model,
    ),
]
ModelArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...", help="Shipped models' names or model files, two or more.", autocompletion=complete_model
    ),
]
SomeModels = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL...",
        help="Shipped models' names or model files, side by side; A+B: the mean of both models' probabilities.",
        autocompletion=complete_model,
    ),
]
InstalledModels = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        help="Names or files. [default: all installed and fetched models]",
        autocompletion=complete_model,
    ),
]
OneModel = Annotated[
    str, typer.Option("--model", "-m", help="A shipped model's name or a file.", autocompletion=complete_model)
]
Model = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        help="A shipped model's name or a model file. A+B: the mean of both models' probabilities.",
        autocompletion=complete_model,
    ),
]
"""A list, so that a second `--model` is refused rather than dropped in silence; see `one_model`."""


_SETTINGS = settings_of(RecognitionSettings)

OwnBalance = Annotated[
    float | None,
    typer.Option(
        "--balance",
        min=0,
        max=1,
        metavar="B",
        help="The balance that the new file states. [default: the most macro recall for half a point of accuracy]",
    ),
]
Balance = Annotated[
    float | None,
    typer.Option(
        min=_SETTINGS["balance"].least,
        max=_SETTINGS["balance"].most,
        metavar=_SETTINGS["balance"].metavar,
        help=_SETTINGS["balance"].about,
    ),
]
Prior = Annotated[Path | None, typer.Option(metavar=_SETTINGS["prior"].metavar, help=_SETTINGS["prior"].about)]


def one_model(models: Iterable[str]) -> list[str]:
    """The parts of the one model that is named: `A+B` is [A, B]. Raises ModelFileError for several models."""
    from mien.errors import ModelFileError
    from mien.model_file import split_models

    first, *others = models
    if others:
        together = "+".join((first, *others))
        raise ModelFileError(f"--model: given {1 + len(others)} times; their mean is  --model {together}")
    return list(split_models(first))
