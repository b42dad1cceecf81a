"""What people look at: pages of one file with their charts, contact sheets, figures; `design/` is the style of all."""

from __future__ import annotations

from mien.pages.charts import Bars, Column, Lines, Mark, Matrix, Series
from mien.pages.drawing import draw, figure_pdf, figure_png, figure_svg, figure_text, new_figure
from mien.pages.files import DESIGN, design_names
from mien.pages.images import Image, contact_sheet, letterbox, png, rgb, shrink
from mien.pages.page import Choice, Page, Tile
from mien.pages.text import plain

__all__ = [
    "DESIGN",
    "Bars",
    "Choice",
    "Column",
    "Image",
    "Lines",
    "Mark",
    "Matrix",
    "Page",
    "Series",
    "Tile",
    "contact_sheet",
    "design_names",
    "draw",
    "figure_pdf",
    "figure_png",
    "figure_svg",
    "figure_text",
    "letterbox",
    "new_figure",
    "plain",
    "png",
    "rgb",
    "shrink",
]
