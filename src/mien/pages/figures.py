"""Figures of matplotlib, which need no display."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from mien.errors import MissingExtraError
from mien.pages.text import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of matplotlib, in inches, that needs no display. Raises MissingExtraError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("data", "drawing figures") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_text(text: object) -> str:
    """A text for a figure: a `$` in it stays a dollar and begins no formula."""
    return plain(text).replace("$", r"\$")


def figure_png(figure: Figure) -> bytes:
    """A figure of matplotlib as the bytes of a PNG file."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for it
        figure.savefig(data, dpi=130, format="png", metadata={"Software": None})
    return data.getvalue()
