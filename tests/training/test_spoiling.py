"""Damage to batches of faces in training, beside the same damage by OpenCV; and dark faces made bright again."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mien.training import spoiling  # noqa: E402
from mien.training.augment import augment  # noqa: E402
from mien.training.networks import build_network  # noqa: E402
from mien.training.recipe_sections import DAMAGE, LEVELS, InputSettings, NetworkSettings  # noqa: E402

MOST = {"cover": 0.45, "blur": 0.06, "low_resolution": 0.75, "dim": 0.95, "noise": 35.0, "jpeg": 0.9}
STILL = LEVELS["none"]


def _faces(count: int, side: int = 48) -> np.ndarray:
    """uint8 (count, side, side): smooth random blobs."""
    noise = np.random.default_rng(0).normal(128, 400, (count, side, side)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(one, (0, 0), 3) for one in noise]).clip(0, 255).astype(np.uint8)


def _tensor(faces: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(faces)[:, None].float()


def test_blur_is_that_of_opencv():
    faces = _faces(4)
    found = spoiling.blurred(_tensor(faces), torch.tensor([0.0, 0.6, 1.5, 2.9]))
    assert torch.equal(found[0, 0], _tensor(faces)[0, 0])
    for face, blurred, sigma in zip(faces[1:], found[1:, 0], (0.6, 1.5, 2.9), strict=True):
        expected = cv2.GaussianBlur(face.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        assert np.abs(blurred.numpy() - expected).max() < 0.5


@pytest.mark.parametrize("quality", [50, 25, 10])
def test_jpeg_is_near_that_of_opencv(quality: int):
    faces = _faces(8)
    found = spoiling.jpeg(_tensor(faces), torch.full((8,), 1 - quality / 100))[:, 0].numpy()
    files = [cv2.imencode(".jpg", face, (cv2.IMWRITE_JPEG_QUALITY, quality))[1] for face in faces]
    expected = np.stack([cv2.imdecode(file, cv2.IMREAD_GRAYSCALE) for file in files])
    lost, apart = np.abs(expected - faces.astype(float)).mean(), np.abs(found.clip(0, 255) - expected).mean()
    assert apart < 0.5 * lost


def test_low_resolution_keeps_the_mean_and_loses_detail():
    faces = _tensor(_faces(3))
    found = spoiling.coarsened(faces, torch.tensor([0.0, 0.5, 0.75]))
    assert torch.allclose(found[0], faces[0], atol=1e-3)
    change = (found - faces).abs().mean((1, 2, 3))
    assert 0 < change[1] < change[2]
    assert (found.mean((1, 2, 3)) - faces.mean((1, 2, 3))).abs().max() < 2


def test_with_a_share_each_spoilt_face_has_one_kind_of_damage():
    uniform = _uniform(4000)
    drawn = torch.stack(list(spoiling.amounts(replace(STILL, **MOST, spoilt=0.5), uniform).values()))
    kinds = (drawn > 0).sum(0)
    assert kinds.max() == 1
    assert kinds.float().mean() == pytest.approx(0.5, abs=0.03)
    assert (drawn > 0).float().mean(1).numpy() == pytest.approx(0.5 / 6, abs=0.02)
    assert bool((drawn.amax(1) <= torch.tensor([MOST[name] for name in DAMAGE])).all())


def test_without_a_share_every_kind_is_for_every_other_face():
    drawn = spoiling.amounts(replace(STILL, blur=0.03, noise=12.0), _uniform(4000))
    assert set(drawn) == {"blur", "noise"}
    assert [float((one > 0).float().mean()) for one in drawn.values()] == pytest.approx([0.5, 0.5], abs=0.03)


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_stays_in_range_and_repeats(kind: str):
    faces = torch.from_numpy(_faces(16))[:, None].repeat(1, 3, 1, 1)
    settings = replace(STILL, **{kind: MOST[kind]}, grain=8.0, spoilt=1.0)
    one, again = (augment(faces, settings, view=44, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, again)
    assert one.shape == (16, 3, 44, 44)
    assert one.min() >= 0
    assert one.max() <= 255
    clean = augment(faces, STILL, view=44, generator=torch.Generator().manual_seed(3))
    assert ((one - clean).abs().amax((1, 2, 3)) > 1).float().mean() > 0.8


def test_half_the_share_leaves_half_of_the_faces_as_they_are():
    faces = torch.from_numpy(_faces(200))[:, None]
    views = augment(faces, replace(STILL, **MOST, spoilt=0.5), view=48, generator=torch.Generator().manual_seed(0))
    same = ((views - faces).abs().amax((1, 2, 3)) < 0.01).float().mean()
    assert same == pytest.approx(0.5, abs=0.1)


def test_views_without_their_damage_are_otherwise_the_same():
    faces, settings = torch.from_numpy(_faces(200))[:, None], replace(LEVELS["mid"], **MOST, erase=0.2, spoilt=0.4)
    spoilt, whole = (
        augment(faces, settings, view=44, generator=torch.Generator().manual_seed(0), damage=damage)
        for damage in (True, False)
    )
    same = ((spoilt - whole).abs().amax((1, 2, 3)) < 0.01).float().mean()
    assert same == pytest.approx(0.6 * 0.8, abs=0.1)
    unlit = replace(settings, contrast=0.0)  # its pivot is the view's own mean
    small, large = (
        augment(faces, unlit, view=view, generator=torch.Generator().manual_seed(0), damage=False) for view in (44, 48)
    )
    assert torch.allclose(large[:, :, 2:46, 2:46], small, atol=0.1)


def test_least_contrast_makes_dark_faces_equal_to_bright_ones_and_leaves_the_others():
    network = build_network(NetworkSettings(widths=(8, 8)), InputSettings(least_contrast=40.0), {"votes": 8}, seed=0)
    bright = torch.linspace(0, 255, 44).expand(4, 1, 44, 44)
    dark = bright * 0.1
    plain = build_network(NetworkSettings(widths=(8, 8)), InputSettings(), {"votes": 8}, seed=0)
    assert torch.allclose(network.prepare(bright), plain.prepare(bright), atol=1e-4)
    spread = network.prepare(dark).std((1, 2, 3)) * network.std.view(-1)
    assert spread.numpy() == pytest.approx([40] * 4, rel=0.01)
    assert torch.isfinite(network.prepare(torch.zeros(1, 1, 44, 44))).all()


def _uniform(count: int):  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(0)
    return lambda low, high: torch.rand(count, generator=generator) * (high - low) + low
