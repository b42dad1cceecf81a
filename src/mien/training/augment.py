"""Random changes of whole batches of faces, as tensors on their device."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mien.training import spoiling
from mien.training.recipe_sections import AugmentSettings


def augment(
    faces: Tensor, settings: AugmentSettings, *, view: int, generator: torch.Generator, damage: bool = True
) -> Tensor:
    """Flipped, rotated, scaled, sheared, shifted, lit, spoilt and partly erased views of a batch.

    faces: uint8 (N, C, S, S). Returns float32 (N, C, view, view) of range 0-255: the central `view` pixels of each
    changed face. Equal generators on the CPU give equal views on every device. damage: False leaves the same views
    unspoilt and whole, as a teacher sees them.
    """
    n, _, size, _ = faces.shape
    device = faces.device

    def uniform(low: float, high: float) -> Tensor:
        return (torch.rand(n, generator=generator) * (high - low) + low).to(device)

    amounts = spoiling.amounts(settings, uniform)
    if "cover" in amounts:
        partly = spoiling.covered(faces, amounts["cover"], uniform)  # drawn in any case, so that views are the same
        faces = partly if damage else faces

    angle = uniform(-settings.rotate_deg, settings.rotate_deg) * (math.pi / 180)
    zoom = torch.exp(uniform(-1, 1) * math.log1p(settings.scale)) * (view / size)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0) if settings.flip else torch.ones(n, device=device)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    shift_x, shift_y = uniform(-2, 2) * settings.shift, uniform(-2, 2) * settings.shift
    xx, xy, yx, yy = cos * mirror, -sin, sin * mirror, cos
    if settings.shear_deg > 0:
        slant = torch.tan(uniform(-settings.shear_deg, settings.shear_deg) * (math.pi / 180))
        xy, yy = xy + xx * slant, yy + yx * slant
    theta = torch.stack((torch.stack((xx, xy, shift_x), 1), torch.stack((yx, yy, shift_y), 1)), 1)
    grid = F.affine_grid(theta, [n, faces.shape[1], view, view], align_corners=False)
    views = F.grid_sample(faces.to(torch.float32), grid, padding_mode="border", align_corners=False)

    contrast = torch.exp(uniform(-1, 1) * math.log1p(settings.contrast)).view(n, 1, 1, 1)
    brightness = (uniform(-1, 1) * settings.brightness * 127.5).view(n, 1, 1, 1)
    mean = views.mean((1, 2, 3), keepdim=True)
    views = ((views - mean) * contrast + mean + brightness).clamp_(0, 255)
    if settings.gamma > 0:
        power = torch.exp(uniform(-1, 1) * math.log1p(settings.gamma)).view(n, 1, 1, 1)
        views = 255 * (views / 255) ** power
    if not damage:
        return views
    views = _photographed(views, amounts, settings, size, generator)
    return _erase(views, settings.erase, uniform) if settings.erase > 0 else views


def _photographed(
    views: Tensor, damage: dict[str, Tensor], settings: AugmentSettings, size: int, generator: torch.Generator
) -> Tensor:
    """Views as a bad camera gives them: the lens, the distance, the light, the sensor, the file."""
    for name, all_amounts in damage.items():
        rows = torch.nonzero(all_amounts > 0).view(-1)  # the others stay as they are, at no cost
        if name == "cover" or len(rows) == 0:
            continue
        some, amount = views[rows], all_amounts[rows]
        if name == "blur":
            some = spoiling.blurred(some, amount * size)
        elif name == "low_resolution":
            some = spoiling.coarsened(some, amount)
        elif name == "jpeg":
            some = spoiling.jpeg(some, amount)
        else:
            drawn = torch.randn(some.shape, generator=generator).to(views.device)
            if name == "dim":
                some = spoiling.darkened(some, amount, settings.grain, drawn)
            else:
                some = some + drawn * amount.view(-1, 1, 1, 1)
        views[rows] = some.clamp_(0, 255)
    return views


def _erase(views: Tensor, probability: float, uniform) -> Tensor:  # type: ignore[no-untyped-def]
    """Random erasing (Zhong et al. 2017): a rectangle of 2 to 20 % of the face becomes its mean grey."""
    n, _, height, width = views.shape
    area, aspect = uniform(0.02, 0.20), torch.exp(uniform(-1, 1) * math.log(2.5))
    half_h, half_w = torch.sqrt(area * aspect) / 2, torch.sqrt(area / aspect) / 2
    y, x = uniform(0, 1), uniform(0, 1)
    rows = torch.arange(height, device=views.device).add(0.5).div(height).view(1, height, 1)
    columns = torch.arange(width, device=views.device).add(0.5).div(width).view(1, 1, width)
    inside = ((rows - y.view(n, 1, 1)).abs() < half_h.view(n, 1, 1)) & (
        (columns - x.view(n, 1, 1)).abs() < half_w.view(n, 1, 1)
    )
    inside &= (uniform(0, 1) < probability).view(n, 1, 1)
    mean = views.mean((1, 2, 3), keepdim=True)
    return torch.where(inside.unsqueeze(1), mean, views)


def blend(
    views: Tensor, targets: dict[str, Tensor], settings: AugmentSettings, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """A batch blended with itself in another order, targets alike: by mixup or by cutmix; with both, one by chance.

    views: float (N, C, H, W). targets: each head's, float (N, K). Mixup: Zhang et al. 2018; cutmix: Yun et al. 2019.
    """
    cut = settings.cutmix > 0
    if settings.mixup > 0 and settings.cutmix > 0:
        cut = bool(torch.rand(1, generator=generator) < 0.5)
    alpha = settings.cutmix if cut else settings.mixup
    seed = int(torch.randint(2**31, (1,), generator=generator))
    rng = np.random.default_rng(seed)
    share = float(rng.beta(alpha, alpha))
    other = torch.randperm(len(views), generator=generator).to(views.device)
    if cut:
        rows, columns = _rectangle(views.shape[2], views.shape[3], 1 - share, rng)
        blended = views.clone()
        blended[:, :, rows, columns] = views[other, :, rows, columns]
        taken = (rows.stop - rows.start) * (columns.stop - columns.start)
        share = 1 - taken / (views.shape[2] * views.shape[3])
    else:
        blended = share * views + (1 - share) * views[other]
    return blended, {head: share * t + (1 - share) * t[other] for head, t in targets.items()}


def _rectangle(height: int, width: int, area: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a rectangle of the image's form and of that share of its area, as far as it lies inside."""
    half = math.sqrt(area) / 2
    y, x = rng.uniform(0, height), rng.uniform(0, width)
    rows = slice(round(max(0.0, y - half * height)), round(min(float(height), y + half * height)))
    return rows, slice(round(max(0.0, x - half * width)), round(min(float(width), x + half * width)))


def central(faces: Tensor, view: int) -> Tensor:
    """The central `view` pixels of faces (N, C, S, S), as the network sees them unchanged."""
    start = (faces.shape[-1] - view) // 2
    return faces[..., start : start + view, start : start + view]
