"""How a face is framed. Apart from `mien.crop`, so that settings and help pages load without OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mien.config import Setting, check_ranges
from mien.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class CropSpec:
    """The framing of faces. The defaults frame a face as FER2013 does; docs/framing.md shows how they were found.

    margin: the square has the side of the box's longer edge times (1 + margin). align: turn the face until its eyes
    are level, where the detector gives landmarks. shift_y: how far the square's centre lies below the box's, as a
    share of the side. Raises ArgumentError for values that frame no face.
    """

    margin: Annotated[
        float, Setting("The crop's side is the face box's longer edge times 1 + MARGIN.", least=-0.5, most=3)
    ] = -0.05
    align: Annotated[bool, Setting("Turn each face until its eyes are level.")] = False
    shift_y: Annotated[
        float, Setting("Shift the crop down, as a share of its side.", least=-0.5, most=0.5, metavar="SHARE")
    ] = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)
        if not isinstance(self.align, bool):
            raise ArgumentError(f"align is {self.align!r}; expected true or false")
