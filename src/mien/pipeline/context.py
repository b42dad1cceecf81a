"""What every stage is given, and the names of the files that one stage writes and another reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mien.reporting import Progress

TOY, FLAGS, MODELS, INDEX = "faces", "flags.csv", "models", "index.html"
WEIGHTS = ("best.safetensors", "last.safetensors", "interpolated.safetensors")
"""What a run may start from; the first is the usual one."""


@dataclass(frozen=True, slots=True)
class Context:
    """Callbacks and resources of a stage.

    progress: how many items of the stage are done, and of how many. log: lines worth reading. device, threads: for
    training, as in `mien train`.
    """

    progress: Progress
    log: Callable[[str], None]
    device: str = "auto"
    threads: int = 0


def clear(folder: Path) -> None:
    """Removes what a killed run left, where the stage cannot resume from it."""
    if folder.exists():
        shutil.rmtree(folder)
