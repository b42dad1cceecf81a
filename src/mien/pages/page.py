"""HTML pages of one file that need no network.

Every text may come from a file name or a data set: it is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from mien.errors import ArgumentError
from mien.files import atomic_text
from mien.pages.images import Image, png, same_length, shrink
from mien.pages.text import plain

_NUMBER = re.compile(r"[-+]?[\d,.]+(e[-+]?\d+)?( ?(%|s|h|MB|GB))?|[-–]?")


@dataclass(frozen=True, slots=True)
class Choice:
    """A tick below an image, with a list of values; cells: further cells of the row that is saved, column -> text."""

    cells: Mapping[str, str]
    options: Sequence[tuple[str, str]]
    chosen: str

    def html(self) -> str:
        """The tick and the list; options are pairs of value and text."""
        options = "".join(
            f'<option value="{_escape(value)}"{" selected" if value == self.chosen else ""}>{_escape(text)}</option>'
            for value, text in self.options
        )
        cells = _escape(json.dumps(dict(self.cells)))
        return f'<label class="pick"><input type="checkbox" data-cells="{cells}"><select>{options}</select></label>'


class Page:
    """An HTML page in one file: sections with texts, tables, figures and galleries, written top to bottom.

    Everything is inlined. The page's own policy forbids requests, and scripts but the one of `decisions`. It follows
    the reader's light or dark theme, fits a phone, and prints.
    """

    def __init__(self, title: str, intro: str = "") -> None:
        self._title, self._intro = title, intro
        self._sections: list[tuple[str, str]] = []  # anchor, title
        self._parts: list[str] = []
        self._script = ""

    def section(self, title: str, text: str = "") -> None:
        """Begins a section; its heading is listed in the contents."""
        slug = re.sub(r"[^a-z0-9]+", "-", plain(title).lower()).strip("-") or "section"
        taken = {anchor for anchor, _ in self._sections}
        anchor, number = slug, 2
        while anchor in taken:
            anchor, number = f"{slug}-{number}", number + 1
        self._sections.append((anchor, title))
        self._parts.append(f'<h2 id="{anchor}"><a href="#{anchor}">{_escape(title)}</a></h2>\n')
        self.text(text)

    def heading(self, title: str) -> None:
        """A heading inside a section; it is not in the contents."""
        self._parts.append(f"<h3>{_escape(title)}</h3>\n")

    def text(self, text: str) -> None:
        """Paragraphs, with an empty line between them."""
        self._parts.extend(f"<p>{_escape(p)}</p>\n" for p in text.split("\n\n") if p.strip())

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> None:
        """A table. Columns of numbers stand right; integers get thousands separators, fractions four digits."""
        for row in rows:
            if len(row) != len(header):
                raise ArgumentError(f"a row of {len(row)} cells below {len(header)} headings")
        cells = [[_cell(value) for value in row] for row in rows]
        numeric = [all(_NUMBER.fullmatch(row[i]) for row in cells) and bool(cells) for i in range(len(header))]
        marks = [' class="n"' if n else "" for n in numeric]
        head = "".join(f'<th scope="col"{m}>{_escape(name)}</th>' for name, m in zip(header, marks, strict=True))
        body = "".join(
            "<tr>" + "".join(f"<td{m}>{_escape(c)}</td>" for c, m in zip(row, marks, strict=True)) + "</tr>\n"
            for row in cells
        )
        title = f"<caption>{_escape(caption)}</caption>" if caption else ""
        # The box can be scrolled with the keyboard where the table is wider than the screen.
        self._parts.append(
            f'<div class="table" tabindex="0"><table>{title}<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}</tbody></table></div>\n"
        )

    def links(self, items: Sequence[tuple[str, str]]) -> None:
        """A list of links to other files, (text, path), each path relative to this page's folder."""
        rows = "".join(f'<li><a href="{_escape(quote(path))}">{_escape(text)}</a></li>\n' for text, path in items)
        self._parts.append(f"<ul>\n{rows}</ul>\n")

    def figure(self, png_bytes: bytes, alt: str, caption: str = "") -> None:
        """One image as wide as the page allows. alt: what it shows, for those who can't see it."""
        below = f"<figcaption>{_escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f"<figure>{_image(png_bytes, alt)}{below}</figure>\n")

    def gallery(
        self,
        images: Sequence[Image],
        captions: Sequence[str] = (),
        *,
        alts: Sequence[str] = (),
        tile: int = 96,
        choices: Sequence[Choice] = (),
    ) -> None:
        """Images of any sizes in rows, each `tile` pixels wide with its caption; large ones are made smaller.

        captions, alts: none, or one for each image. An alternative text (without any: the caption) also shows where
        the mouse rests. choices: none, or a tick for each image, which `decisions` saves.
        """
        same_length(images, captions)
        same_length(images, alts)
        names = alts or captions or [f"image {i + 1}" for i in range(len(images))]
        parts = [f'<div class="gallery" style="--tile:{tile}px">']
        for i, (image, name) in enumerate(zip(images, names, strict=True)):
            below = f"<figcaption>{_escape(captions[i])}</figcaption>" if captions else ""
            tick = choices[i].html() if choices else ""
            parts.append(f"<figure>{_image(png(shrink(image, 2 * tile)), name)}{tick}{below}</figure>")
        self._parts.append("\n".join((*parts, "</div>\n")))

    def decisions(self, text: str, file: str) -> None:
        """A button that saves what is ticked in galleries as the CSV `file`, a row for each tick."""
        self._script = _SAVE
        self._parts.append(
            f'<p><button id="save" data-file="{_escape(file)}">{_escape(text)}</button> <output></output></p>\n'
        )

    def write(self, path: Path) -> None:
        """Writes the page, whole or not at all. Raises OutputError."""
        links = "".join(f'<li><a href="#{anchor}">{_escape(title)}</a></li>' for anchor, title in self._sections)
        contents = f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n' if len(self._sections) > 1 else ""
        intro = "".join(f'<p class="intro">{_escape(p)}</p>\n' for p in self._intro.split("\n\n") if p.strip())
        with atomic_text(path) as file:
            digest = base64.b64encode(hashlib.sha256(self._script.encode()).digest()).decode()
            policy = f"; script-src 'sha256-{digest}'" if self._script else ""
            file.write(_HEAD.format(title=_escape(self._title), style=_STYLE, policy=policy))
            file.write(f"<header><h1>{_escape(self._title)}</h1>\n{intro}</header>\n{contents}<main>\n")
            file.writelines(self._parts)
            file.write(f"</main>\n{f'<script>{self._script}</script>' if self._script else ''}</body>\n</html>\n")


def _escape(text: object) -> str:
    return html.escape(plain(text))


def _image(png_bytes: bytes, alt: str) -> str:
    height, width = int.from_bytes(png_bytes[20:24], "big"), int.from_bytes(png_bytes[16:20], "big")
    data = base64.b64encode(png_bytes).decode()
    name = _escape(alt)
    return f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{name}" title="{name}">'


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


_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
style-src 'unsafe-inline'{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""

# Saves a row for each tick; choosing a value ticks its box.
_SAVE = """
const boxes = [...document.querySelectorAll(".pick input")];
const done = () => boxes.filter(box => box.checked);
const show = () => document.querySelector("output").textContent = done().length + " ticked";
boxes.forEach(box => box.onchange = show);
boxes.forEach(box => box.nextElementSibling.onchange = () => { box.checked = true; show(); });
document.getElementById("save").onclick = event => {
  const rows = done().map(box => ({ ...JSON.parse(box.dataset.cells), new_label: box.nextElementSibling.value }));
  const columns = ["row", "source", "split", "label", "new_label", "reason"];
  const line = cells => cells.map(cell => '"' + String(cell).replaceAll('"', '""') + '"').join(",") + "\\n";
  const lines = [columns, ...rows.map(row => columns.map(name => row[name]))].map(line);
  const href = URL.createObjectURL(new Blob(lines, { type: "text/csv" }));
  Object.assign(document.createElement("a"), { href, download: event.target.dataset.file }).click();
};
"""

_STYLE = """
:root { --paper: #fff; --ink: #1d2129; --soft: #5b6470; --line: #d9dde3; --tint: #f5f6f8; --link: #0b57b0 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181d; --ink: #e4e7ec; --soft: #9aa4b2; --line: #343b45; --tint: #1d2229; --link: #7db4ff }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem }
h2 a { color: inherit; text-decoration: none }
p { margin: .5rem 0; max-width: 46rem }
.intro, figcaption, caption { color: var(--soft) }
a { color: var(--link) }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 1rem 0 0; padding: 0 }
.table { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal }
caption { text-align: left; padding: .25rem 0 }
th, td { padding: .3rem .75rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { background: var(--tint); white-space: nowrap }
td { max-width: 32rem; overflow-wrap: break-word }
.n { text-align: right; white-space: nowrap }
figure { margin: 1rem 0 }
figure img { max-width: 100%; height: auto; display: block; background: #fff; border-radius: 4px }
figcaption { font-size: .85rem; line-height: 1.35; margin-top: .25rem }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--tile), 1fr)); gap: .75rem .5rem;
  margin: 1rem 0 }
.gallery figure { margin: 0 }
.gallery img { width: 100%; aspect-ratio: 1; object-fit: contain; background: none }
.gallery figcaption { font-size: .75rem }
.pick { display: flex; gap: .25rem } .pick select { min-width: 0; flex: 1; font-size: .75rem }
@media (max-width: 40rem) {
  main > figure { overflow-x: auto }
  main > figure img { max-width: max(100%, 40rem) }
}
@media screen and (prefers-color-scheme: dark) { main > figure img { filter: brightness(.85) } }
@media print {
  :root { --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --tint: #fff; --link: #000 }
  body { max-width: none; padding: 0; font-size: 11pt }
  nav { display: none }
  figure, tr { break-inside: avoid }
  h2, h3 { break-after: avoid }
  .table { overflow: visible }
}
"""
