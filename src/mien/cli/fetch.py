"""`mien fetch`: downloads a third-party file that mien does not ship, because the user asked for it."""

from __future__ import annotations

from typing import Annotated, Literal

import typer


def fetch(
    what: Annotated[Literal["yunet"], typer.Argument(help="What to fetch: the weights of OpenCV's YuNet detector.")],
) -> None:
    """Fetch weights that mien does not ship, check them by sha256, and keep them in the cache.

    Example: `mien fetch yunet`, then `mien predict photo.jpg --detector yunet`.
    """
    from mien.faces.yunet import fetch_yunet

    typer.echo(f"{what}: {fetch_yunet()}")
