"""All faces of a run as one sheet: each face in a tile, its expression and confidence below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import OutputError
from mien.files import write_bytes
from mien.pages import contact_sheet, shrink
from mien.results import Face, ImageResult
from mien.results.badges import UNSURE, draw_badge
from mien.results.draw import encode_image

MOST = 1000
"""Faces on a sheet: about 25 MB of pixels. The others are counted in the last tile's place."""

_TILE = 96  # pixels
_MARGIN = 0.15  # of a box's longer edge, around it


class FaceGrid:
    """Collects the faces of results, and draws them as one image at the end."""

    def __init__(self, path: Path, *, emoji: bool = False) -> None:
        """emoji: a badge of the expression in each tile. Raises OutputError unless the suffix is .png or .jpg."""
        if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise OutputError(f"{path}: a sheet of faces is an image; expected a name that ends in .png or .jpg")
        self._path, self._emoji = path, emoji
        self._tiles: list[NDArray[np.uint8]] = []
        self._captions: list[str] = []
        self.faces = 0

    def write(self, result: ImageResult) -> None:
        """Adds the faces of a result. Raises ImageError where its image is not available."""
        if not result.faces:
            return
        image = result.original()
        for face in result.faces:
            self.faces += 1
            if len(self._tiles) < MOST:
                self._tiles.append(self._tile(image, face))
                mark = "?" if face.abstained else ""
                self._captions.append(f"{face.expression}{mark} {100 * face.confidence:.0f}%")

    def finish(self) -> None:
        """Writes the sheet; of no faces it is one white tile. Raises OutputError."""
        if self.faces > MOST:
            self._tiles.append(np.full((_TILE, _TILE, 3), 255, np.uint8))
            self._captions.append(f"and {self.faces - MOST:,} more")
        sheet = contact_sheet(self._tiles, self._captions, tile=_TILE)
        write_bytes(self._path, encode_image(sheet, self._path.suffix.lower()))

    def _tile(self, image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """A copy of the face with a margin, RGB, at most `_TILE` pixels a side."""
        box, (height, width) = face.box, image.shape[:2]
        margin = _MARGIN * max(box.x2 - box.x1, box.y2 - box.y1)
        x1, y1 = max(0, int(box.x1 - margin)), max(0, int(box.y1 - margin))
        x2, y2 = min(width, int(box.x2 + margin) + 1), min(height, int(box.y2 + margin) + 1)
        area = image[min(y1, height - 1) : max(y2, 1), min(x1, width - 1) : max(x2, 1)]
        tile: NDArray[np.uint8] = np.ascontiguousarray(shrink(area, _TILE)).copy()
        if self._emoji:
            corner = (0, 0, tile.shape[1] - 1, tile.shape[0] - 1)
            draw_badge(tile, UNSURE if face.abstained else face.expression, corner, _TILE // 3)
        return tile
