"""Random changes of whole batches of faces, as tensors on their device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.training.recipe import AugmentSettings


def augment(faces: Tensor, settings: AugmentSettings, *, view: int, generator: torch.Generator) -> Tensor:
    """Flipped, rotated, scaled, shifted, lit and partly erased views of a batch.

    faces: uint8 (N, C, S, S). Returns float32 (N, C, view, view) of range 0-255: the central `view` pixels of each
    changed face. Equal generators on the CPU give equal views on every device.
    """
    n, _, size, _ = faces.shape
    device = faces.device

    def uniform(low: float, high: float) -> Tensor:
        return (torch.rand(n, generator=generator) * (high - low) + low).to(device)

    angle = uniform(-settings.rotate_deg, settings.rotate_deg) * (math.pi / 180)
    zoom = torch.exp(uniform(-1, 1) * math.log1p(settings.scale)) * (view / size)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0) if settings.flip else torch.ones(n, device=device)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    shift_x, shift_y = uniform(-2, 2) * settings.shift, uniform(-2, 2) * settings.shift
    theta = torch.stack(
        (torch.stack((cos * mirror, -sin, shift_x), 1), torch.stack((sin * mirror, cos, shift_y), 1)), 1
    )
    grid = F.affine_grid(theta, [n, faces.shape[1], view, view], align_corners=False)
    views = F.grid_sample(faces.to(torch.float32), grid, padding_mode="border", align_corners=False)

    contrast = torch.exp(uniform(-1, 1) * math.log1p(settings.contrast)).view(n, 1, 1, 1)
    brightness = (uniform(-1, 1) * settings.brightness * 127.5).view(n, 1, 1, 1)
    mean = views.mean((1, 2, 3), keepdim=True)
    views = ((views - mean) * contrast + mean + brightness).clamp_(0, 255)
    return _erase(views, settings.erase, uniform) if settings.erase > 0 else views


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


def central(faces: Tensor, view: int) -> Tensor:
    """The central `view` pixels of faces (N, C, S, S): what the network sees outside training."""
    start = (faces.shape[-1] - view) // 2
    return faces[..., start : start + view, start : start + view]
