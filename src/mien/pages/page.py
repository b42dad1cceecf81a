"""HTML pages of one file that need no network: what reports are written with.

Every text may come from a file name or a data set: the templates escape it, without exception.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from mien.errors import ArgumentError
from mien.files import atomic_text, cannot_write, make_folder, write_bytes
from mien.pages import drawing
from mien.pages.charts import Chart, on_page
from mien.pages.files import DESIGN
from mien.pages.images import Image, difference, png, same_length, shrink
from mien.pages.text import plain

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

_NUMBER = re.compile(r"[-+<]?\s?[\d,.]+(e[-+]?\d+)?(\s?(%|s|min|h|M|MB|GB|points))?(\s–\s[\d,.]+(\s%)?)?|[-–]?")
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Choice:
    """A tick below an image, with a list of values; cells: further cells of the row that is saved, column -> text.

    options: pairs of value and text; chosen: the value that is chosen at first.
    """

    cells: Mapping[str, str]
    options: Sequence[tuple[str, str]]
    chosen: str


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure that matters, at the top of a page: its name, its value, and a note below, as its interval."""

    name: str
    value: str
    note: str = ""


@dataclass(slots=True)
class _Section:
    title: str
    anchor: str
    blocks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class Page:
    """An HTML page in one file: a verdict, then sections with texts, tables, charts and galleries, top to bottom.

    Everything is inlined. The page's own policy forbids requests, and scripts but its own. It follows the reader's
    light or dark theme, fits a phone, and prints. A section that stays empty is left out.
    """

    def __init__(self, title: str, verdict: str = "", *, kind: str = "") -> None:
        """A page. verdict: two sentences with the figures that matter. kind: what the page is, above its title."""
        self._title, self._verdict, self._kind = title, verdict, kind
        self._tiles: list[Tile] = []
        self._sections = [_Section("", "")]
        self._figures: dict[str, Figure | Sequence[Chart]] = {}
        self._decides = False

    def tiles(self, tiles: Iterable[Tile]) -> None:
        """The figures that matter, below the verdict."""
        self._tiles.extend(tiles)

    def section(self, title: str, text: str = "") -> None:
        """Begins a section; its heading is listed in the contents."""
        slug = re.sub(r"[^a-z0-9]+", "-", plain(title).lower()).strip("-") or "section"
        taken = {section.anchor for section in self._sections}
        anchor, copy = slug, 2
        while anchor in taken:
            anchor, copy = f"{slug}-{copy}", copy + 1
        self._sections.append(_Section(title, anchor))
        self.text(text)

    def heading(self, title: str, text: str = "") -> None:
        """A heading inside a section; it is not in the contents."""
        self._add("heading", title=title)
        self.text(text)

    def text(self, text: str) -> None:
        """Paragraphs, with an empty line between them."""
        for paragraph in filter(str.strip, text.split("\n\n")):
            self._add("text", text=paragraph)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> None:
        """A table; none without rows. Columns of numbers stand right; integers get thousands separators."""
        for row in rows:
            if len(row) != len(header):
                raise ArgumentError(f"a row of {len(row)} cells below {len(header)} headings")
        cells = [[_cell(value) for value in row] for row in rows]
        numeric = [all(_NUMBER.fullmatch(row[i]) for row in cells) for i in range(len(header))]
        if rows:
            self._add("table", header=header, rows=cells, numeric=numeric, caption=caption)

    def facts(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Names and what they are, as a list of terms."""
        self._add("facts", pairs=[(name, _cell(value)) for name, value in pairs])

    def links(self, items: Sequence[tuple[str, str]]) -> None:
        """A list of links to other files, (text, path), each path relative to this page's folder."""
        self._add("links", links=[(text, quote(path)) for text, path in items])

    def chart(self, charts: Chart | Sequence[Chart], name: str = "", caption: str = "") -> None:
        """Charts side by side, if any. name: that of their file in `write_figures`; none without."""
        panels = list(charts) if isinstance(charts, Sequence) else [charts]
        if panels:
            self._figures |= {name: panels} if name else {}
            self._add("charts", charts=[on_page(panel) for panel in panels], caption=caption)

    def keep(self, figure: Figure, name: str) -> None:
        """A figure of matplotlib that only `write_figures` writes."""
        self._figures[name] = figure

    def gallery(
        self,
        images: Sequence[Image],
        captions: Sequence[str] = (),
        *,
        alts: Sequence[str] = (),
        tile: int = 96,
        choices: Sequence[Choice] = (),
        columns: int = 0,
    ) -> None:
        """Images of any sizes in rows, each `tile` pixels wide with its caption; large ones are made smaller.

        captions, alts: none, or one for each image. An alternative text (without any: the caption) also shows where
        the mouse rests. choices: none, or a tick for each image, which `decisions` saves. columns: images in a row; 0:
        as many as fit.
        """
        shown = _shown(images, captions, alts, tile)
        ticked = list(zip(shown, _ticks(choices, len(shown)), strict=True))
        self._add("gallery", images=ticked, tile=tile, columns=columns)

    def pairs(
        self,
        pairs: Sequence[tuple[Image, Image]],
        captions: Sequence[str],
        alts: Sequence[tuple[str, str]],
        *,
        choices: Sequence[Choice] = (),
    ) -> None:
        """Images and their copies: each pair in a frame above its caption, with a third image where pixels differ.

        alts: a text for each image. choices: none, or a tick for each pair, which `decisions` saves.
        """
        frames = []
        for (one, other), names in zip(pairs, alts, strict=True):
            shown = _shown((one, other), (), names, 96)
            if not np.array_equal(one, other):
                shown += _shown((difference(one, other),), (), ("what differs, darker",), 96)
            frames.append(shown)
        self._add("pairs", pairs=list(zip(frames, captions, _ticks(choices, len(frames)), strict=True)))

    def behind(
        self,
        anchor: str,
        title: str,
        images: Sequence[Image],
        captions: Sequence[str],
        alts: Sequence[str],
        back: str,
    ) -> None:
        """Images that only show when a link to their anchor is followed, as from a cell of a matrix.

        back: the anchor of where the link is.
        """
        self._add("behind", anchor=anchor, title=title, images=_shown(images, captions, alts, 96), back=back)

    def anchor(self) -> str:
        """The anchor of the section that is being written."""
        return self._sections[-1].anchor

    def decisions(self, text: str, file: str) -> None:
        """A button that saves what is ticked in galleries as the CSV `file`, a row for each tick."""
        self._decides = True
        self._add("decisions", text=text, file=file)

    def html(self) -> str:
        """The whole page."""
        from markupsafe import Markup

        sections = [section for section in self._sections if section.blocks]
        plotted = any(
            chart["kind"] == "lines" for s in sections for _, data in s.blocks for chart in data.get("charts", ())
        )
        names = ["uplot.js", "plot.js", "charts.js"] * plotted + ["decisions.js"] * self._decides
        script = _script(["parts.js", *names] if names else [])
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        style = "".join(_design(name) for name in ("tokens.css", *["uplot.css"] * plotted, "report.css"))
        return _templates().get_template("page.html").render(
            title=self._title,
            kind=self._kind,
            verdict=self._verdict,
            tiles=self._tiles,
            sections=sections,
            style=Markup(style),
            script=Markup(script),
            policy=Markup(f"; script-src 'sha256-{digest}'" if script else ""),
        )  # fmt: skip

    def write(self, path: Path) -> None:
        """Writes the page, whole or not at all. Raises OutputError."""
        with atomic_text(path) as file:
            file.write(self.html())

    def write_figures(self, folder: Path, *, replaced: Iterable[str] = (), vector: bool = True) -> None:
        """Writes every chart that has a name as PNG; with `vector`, also as SVG and PDF.

        replaced: patterns of names; older figures of these names are removed. Raises MissingExtraError without
        matplotlib, OutputError.
        """
        kinds = {"png": drawing.figure_png, "svg": drawing.figure_svg, "pdf": drawing.figure_pdf}
        make_folder(folder)
        for old in (path for name in replaced for kind in kinds for path in folder.glob(f"{name}.{kind}")):
            try:
                old.unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(old, error) from error
        for name, charts in self._figures.items():
            figure = drawing.draw(charts) if isinstance(charts, Sequence) else charts
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # each format would compute the same layout again
            for kind in kinds if vector else ("png",):
                write_bytes(folder / f"{name}.{kind}", kinds[kind](figure))

    def _add(self, kind: str, **data: Any) -> None:
        self._sections[-1].blocks.append((kind, data))


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def harmless(value: object) -> object:
        return value if isinstance(value, Markup) else "" if value is None else plain(value)

    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        finalize=harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _design(name: str) -> str:
    return (DESIGN / name).read_text("utf-8")


def _script(names: Sequence[str]) -> str:
    """Modules of `design` as one: they know each other by the names that they import."""
    lines = "".join(_design(name) for name in names).splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("import ", "export default ")))


def _shown(images: Sequence[Image], captions: Sequence[str], alts: Sequence[str], tile: int) -> list[dict[str, Any]]:
    same_length(images, captions)
    same_length(images, alts)
    names = alts or captions or [f"image {i + 1}" for i in range(len(images))]
    below = captions or [""] * len(images)
    return [
        {"image": _image(png(shrink(image, 2 * tile)), name), "caption": caption}
        for image, name, caption in zip(images, names, below, strict=True)
    ]


def _ticks(choices: Sequence[Choice], count: int) -> list[dict[str, Any] | None]:
    found = [{"cells": json.dumps(dict(c.cells)), "options": c.options, "chosen": c.chosen} for c in choices]
    return [*found] if choices else [None] * count


def _image(png_bytes: bytes, alt: str) -> dict[str, Any]:
    height, width = int.from_bytes(png_bytes[20:24], "big"), int.from_bytes(png_bytes[16:20], "big")
    return {"data": base64.b64encode(png_bytes).decode(), "width": width, "height": height, "alt": alt}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        number = float(value)
        if math.isnan(number):
            return "–"
        return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"
    return str(value)
