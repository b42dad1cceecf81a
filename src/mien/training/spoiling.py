"""Random damage to whole batches of faces: what covers a face, the lens, the light, the sensor, and what stores it.

The amounts are a tensor for each face, so that one batch holds many amounts; 0 leaves a face as it is. Changes of rows
and columns (blur, low resolution, JPEG) are matrices on both sides of a face.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.evaluation.robustness import EYES_Y, MOUTH_Y
from mien.training.recipe_sections import DAMAGE, AugmentSettings

Uniform = Callable[[float, float], Tensor]
"""A number between two for each face, float32 (N,), on the faces' device."""

_BLOCK = 8
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""JPEG's table for luminance (ITU-T T.81, annex K) at quality 50, row by row."""


def amounts(settings: AugmentSettings, uniform: Uniform) -> dict[str, Tensor]:
    """How much of each damage every face gets, float32 (N,).

    With `spoilt` that share of the faces gets one of them, drawn for each face; otherwise each is for every other face.
    """
    largest = {name: getattr(settings, name) for name in DAMAGE}
    used = [name for name, value in largest.items() if value > 0]
    if settings.spoilt == 0:
        return {name: uniform(-1, 1).clamp_(min=0) * largest[name] for name in used}
    which = torch.floor(uniform(0, 1) / settings.spoilt * len(used))
    return {name: uniform(0, 1) * largest[name] * (which == number) for number, name in enumerate(used)}


def covered(faces: Tensor, height: Tensor, uniform: Uniform) -> Tensor:
    """Faces (N, C, S, S) with a bar of one random grey, of a height as a share of the side: mouth, eyes or anywhere."""
    n, _, size, _ = faces.shape
    kind = uniform(0, 3).floor()
    mouth, eyes = kind == 0, kind == 1
    y = torch.where(mouth, MOUTH_Y, EYES_Y) + uniform(-0.04, 0.04)
    y = torch.where(mouth | eyes, y, height / 2 + uniform(0, 1) * (1 - height))
    width = torch.where(mouth, 0.6, torch.where(eyes, 0.8, 2.0)) * torch.exp(uniform(-0.2, 0.2))
    at = torch.arange(size, device=faces.device).add(0.5).div(size)
    inside = ((at - y[:, None]).abs() < height[:, None] / 2)[:, :, None] & (
        (at - 0.5).abs() < width[:, None] / 2
    ).unsqueeze(1)
    upright = (kind == 2) & (uniform(0, 1) < 0.5)
    inside = torch.where(upright[:, None, None], inside.transpose(1, 2), inside)
    return torch.where(inside[:, None], uniform(0, 256).floor().view(n, 1, 1, 1), faces.to(torch.float32))


def blurred(views: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with a standard deviation in pixels, (N,); borders are repeated."""
    at = torch.arange(views.shape[-1], device=views.device, dtype=torch.float32)
    far = torch.arange(-views.shape[-1], 2 * views.shape[-1], device=views.device, dtype=torch.float32)
    weight = torch.exp(-0.5 * ((far - at[:, None]) / sigma.clamp(min=0.01)[:, None, None]) ** 2)
    weight = weight / weight.sum(-1, keepdim=True)
    side = views.shape[-1]
    inner = weight[:, :, side : 2 * side].clone()
    inner[:, :, 0] += weight[:, :, :side].sum(-1)
    inner[:, :, -1] += weight[:, :, 2 * side :].sum(-1)
    return _both_sides(inner, views)


def darkened(views: Tensor, missing: Tensor, grain: float, drawn: Tensor) -> Tensor:
    """Faces without a share of the light (N,), grainy as from few photons: `grain` at white. drawn: normal noise."""
    views = views * (1 - missing.view(-1, 1, 1, 1))
    return views + drawn * grain * torch.sqrt(views.clamp(min=0) / 255)


def coarsened(views: Tensor, lost: Tensor) -> Tensor:
    """Faces shrunk and enlarged again; lost: the share of the side that is missing in between, (N,)."""
    side = views.shape[-1]
    tables = _coarse(side).to(views.device)
    kept = ((1 - lost) * side).round().long().clamp(1, side)
    return _both_sides(tables[kept], views)


def jpeg(views: Tensor, loss: Tensor) -> Tensor:
    """Faces as a JPEG file of quality 100 * (1 - loss) keeps them, (N,)."""
    n, channels, side, _ = views.shape
    pad = -side % _BLOCK
    blocks = F.pad(views, (0, pad, 0, pad), mode="replicate").unfold(2, _BLOCK, _BLOCK).unfold(3, _BLOCK, _BLOCK)
    cosines = _cosines().to(views.device)
    quality = (100 * (1 - loss)).clamp(1, 99)
    factor = torch.where(quality < 50, 50 / quality, 2 - quality / 50).view(n, 1, 1, 1, 1, 1)
    table = torch.tensor(_LUMINANCE, dtype=torch.float32, device=views.device).view(_BLOCK, _BLOCK)
    steps = (table * factor).clamp(1, 255)
    kept = torch.round(cosines @ (blocks - 128) @ cosines.T / steps) * steps
    stored = (cosines.T @ kept @ cosines + 128).transpose(3, 4).reshape(n, channels, side + pad, side + pad)
    return stored[..., :side, :side]


def _both_sides(matrix: Tensor, views: Tensor) -> Tensor:
    """matrix (N, side, side) applied to the rows and the columns of views (N, C, side, side)."""
    matrix = matrix[:, None]
    return matrix @ views @ matrix.transpose(2, 3)


@cache
def _cosines() -> Tensor:
    """The orthonormal discrete cosine transform of a block's side, (8, 8)."""
    k, i = torch.arange(_BLOCK)[:, None], torch.arange(_BLOCK)
    table = torch.cos((i + 0.5) * k * math.pi / _BLOCK) * math.sqrt(2 / _BLOCK)
    table[0] /= math.sqrt(2)
    return table


@cache
def _coarse(side: int) -> Tensor:
    """float32 (side + 1, side, side): the change of a row that is shrunk to k pixels (areas) and enlarged (cubic)."""
    rows = torch.eye(side)[None, None]
    tables = [torch.eye(side)]
    for k in range(1, side):
        small = F.interpolate(rows, size=(k, side), mode="area")
        large = F.interpolate(small, size=(side, side), mode="bicubic", align_corners=False)
        tables.append(large[0, 0])
    return torch.stack([*tables, torch.eye(side)])
