"""The files of `design/`: style and scripts that the pages of servers load, and that pages of one file inline."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

DESIGN = Path(str(resources.files("mien.pages"))) / "design"


def design_names() -> tuple[str, ...]:
    """The names of its scripts and styles."""
    return tuple(sorted(path.name for path in DESIGN.iterdir() if path.suffix in (".js", ".css")))
