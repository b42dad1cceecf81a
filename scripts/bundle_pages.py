"""Makes the bundled files of pages and images: uPlot (MIT), the emoji as SVG, and the font DejaVu Sans.

    python scripts/bundle_pages.py

The packages come from npm by name; their archives and files are verified. The emoji are the badges of drawn images,
as vectors. The files are committed; the same ones come out each time.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mien.exporting.web import npm_pack, read_archive
from mien.labels import EXPRESSIONS
from mien.results.badges import INK, UNSURE, Color, Pen, Point, draw_face

PACKAGE = Path(__file__).parent.parent / "src" / "mien"
DESIGN, LETTERING = PACKAGE / "pages" / "design", PACKAGE / "lettering"
UPLOT = (
    "uplot@1.6.32",
    "KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
)
DEJAVU = (
    "dejavu-fonts-ttf@2.37.3",
    "f1hd7jJbeQa1VWcw+K2KrTXS50zTMaHpVC4XIKJpNcDeYR5ajMtj/iLlQDYNvLOKamUB3ARVVCf79lNwNVztSQ==",
)
_PLACES = 3  # decimals of a coordinate; a badge has the radius 1


class SvgPen(Pen):
    """Draws a badge as the elements of an SVG."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.stroke = 0.11

    def line(
        self, points: Sequence[tuple[float, float]], color: Sequence[int] = (38, 28, 32), width: float = 1
    ) -> None:
        """A stroke with round ends."""
        self.parts.append(
            f'<path d="{_path(points)}" fill="none" stroke="{_hex(color)}" stroke-width="{self.stroke * width:.3g}" '
            'stroke-linecap="round" stroke-linejoin="round"/>'
        )

    def fill(self, points: Sequence[Point], color: Color) -> None:
        """A filled polygon."""
        self.parts.append(f'<path d="{_path(points)}z" fill="{_hex(color)}"/>')

    def disc(self, centre: Point, radius_x: float, radius_y: float, color: Color = INK) -> None:
        """A filled ellipse."""
        sizes = f'rx="{radius_x:.3g}" ry="{radius_y:.3g}"'
        self.parts.append(f'<ellipse cx="{centre[0]:.3g}" cy="{centre[1]:.3g}" {sizes} fill="{_hex(color)}"/>')


def main() -> None:
    """Writes the files."""
    uplot = _package(*UPLOT, ["dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE"])
    script = uplot["uPlot.iife.min.js"].decode().rstrip() + "\nexport default uPlot;\n"
    _write(DESIGN / "uplot.js", script.encode())
    _write(DESIGN / "uplot.css", uplot["uPlot.min.css"])
    _write(DESIGN / "LICENSE.uplot", uplot["LICENSE"])
    fonts = _package(*DEJAVU, ["ttf/DejaVuSans.ttf", "LICENSE"])
    _write(LETTERING / "DejaVuSans.ttf", fonts["DejaVuSans.ttf"])
    _write(LETTERING / "LICENSE.dejavu", fonts["LICENSE"])
    names = [*EXPRESSIONS, UNSURE]
    faces = {"unsure" if name == UNSURE else name: _svg(name) for name in names}
    text = "// The emoji of the expressions as SVG. Made by scripts/bundle_pages.py.\n\nexport const EMOJI = "
    _write(DESIGN / "emoji.js", f"{text}{json.dumps(faces, indent=2)};\n".encode())


def _svg(expression: str) -> str:
    pen = SvgPen()
    draw_face(pen, expression)
    return f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='-1 -1 2 2'>{''.join(pen.parts)}</svg>".replace('"', "'")


def _path(points: Sequence[Point]) -> str:
    shown = [" ".join(f"{round(v, _PLACES):g}" for v in point) for point in points]
    return "M" + "L".join(shown)


def _hex(color: Color) -> str:
    return "#" + "".join(f"{part:02x}" for part in color)


def _package(name: str, sha512: str, files: Sequence[str]) -> Mapping[str, bytes]:
    """Files of a package from npm by their names."""
    with tempfile.TemporaryDirectory() as folder:
        return read_archive(npm_pack(name, Path(folder)), name, sha512, files)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    print(f"{path.name}: {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()[:16]}")


if __name__ == "__main__":
    main()
