"""What people look at: pages of one file, contact sheets, figures; and `design/`, the style of all pages."""

from __future__ import annotations

from mien.pages.figures import figure_png, figure_text, new_figure
from mien.pages.files import DESIGN, design_names
from mien.pages.images import Image, contact_sheet, letterbox, png, rgb, shrink
from mien.pages.page import Choice, Page
from mien.pages.text import plain

__all__ = [
    "DESIGN",
    "Choice",
    "Image",
    "Page",
    "contact_sheet",
    "design_names",
    "figure_png",
    "figure_text",
    "letterbox",
    "new_figure",
    "plain",
    "png",
    "rgb",
    "shrink",
]
