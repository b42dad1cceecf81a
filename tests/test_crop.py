import dataclasses
import json

import cv2
import numpy as np
import pytest

from mien.crop import CropSpec, crop_faces, fit_face
from mien.results import Detections

PLAIN = CropSpec(margin=0)
RNG = np.random.default_rng(7)


def faces(*boxes, landmarks=None, cropped=False):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(count, 4),
        np.ones(count, np.float32),
        None if landmarks is None else np.array([landmarks] * count, np.float32),
        cropped,
    )


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / width, 255 * y / height
    return np.stack([red, green, 128 + 0 * red], axis=-1).astype(np.uint8)


def test_a_square_of_the_wanted_size_is_copied_exactly():
    image = noise(60, 80)
    crop = crop_faces(image, faces([10, 5, 42, 37]), PLAIN, size=32, channels=3)
    assert crop.shape == (1, 32, 32, 3) and crop.dtype == np.uint8
    np.testing.assert_array_equal(crop[0], image[5:37, 10:42])


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_shrinking_averages_areas(factor):
    image = noise(300, 300)
    side = 32 * factor
    crop = crop_faces(image, faces([20, 12, 20 + side, 12 + side]), PLAIN, size=32, channels=3)[0]
    part = image[12 : 12 + side, 20 : 20 + side].astype(float)
    areas = part.reshape(32, factor, 32, factor, 3).mean(axis=(1, 3))
    if factor == 2:
        np.testing.assert_allclose(crop, areas, atol=1)
    # The first averaging of larger faces starts some pixels outside the square: the same but for that offset.
    assert crop.std() < areas.std() * 1.15


def test_stripes_finer_than_the_crop_turn_grey_and_not_to_moire():
    image = np.zeros((700, 700, 3), np.uint8)
    image[:, ::2] = 255
    for side in (400, 437, 611):
        crop = crop_faces(image, faces([30, 30, 30 + side, 30 + side]), PLAIN, size=48, channels=1)
        assert np.ptp(crop.astype(int)) < 60


def test_place_is_kept_when_shrinking_and_enlarging():
    image = smooth(400, 400)
    for box in ([100, 100, 300, 300], [100.5, 90.25, 120.5, 110.25], [3, 3, 399, 399]):
        crop = crop_faces(image, faces(box), PLAIN, size=40, channels=3)[0].astype(float)
        centres = (np.arange(40) + 0.5) / 40
        x, y = (box[k] + centres * (box[k + 2] - box[k]) - 0.5 for k in (0, 1))
        np.testing.assert_allclose(crop[:, :, 0], np.tile(x * 255 / 400, (40, 1)), atol=1.6)
        np.testing.assert_allclose(crop[:, :, 1], np.tile(y[:, None] * 255 / 400, (1, 40)), atol=1.6)


def test_the_longer_edge_margin_and_shift_make_the_square():
    image = smooth(400, 400)
    tall = crop_faces(image, faces([180, 150, 220, 250]), CropSpec(margin=0.2, shift_y=0.1), size=30, channels=3)
    same = crop_faces(image, faces([140, 152, 260, 272]), PLAIN, size=30, channels=3)
    np.testing.assert_array_equal(tall, same)


def test_the_border_is_repeated_outside_the_image():
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 0] = (200, 0, 0)
    image[:, -1] = (0, 100, 0)
    crop = crop_faces(image, faces([-40, 0, 0, 20], [20, -10, 60, 30]), PLAIN, size=16, channels=3)
    assert (crop[0] == (200, 0, 0)).all()
    assert (crop[1] == (0, 100, 0)).all()
    far = crop_faces(image, faces([500, 500, 540, 540]), PLAIN, size=16, channels=3)
    assert (far == (0, 100, 0)).all()


@pytest.mark.parametrize("turn_deg", [-30, 20, 75])
def test_alignment_turns_the_eyes_level(turn_deg):
    upright = np.zeros((300, 300, 3), np.uint8)
    for x, y, color in ((120, 130, (255, 0, 0)), (180, 130, (0, 255, 0)), (150, 190, (0, 0, 255))):
        cv2.circle(upright, (x, y), 9, color, -1)
    matrix = cv2.getRotationMatrix2D((149.5, 149.5), -turn_deg, 1)
    turned = cv2.warpAffine(upright, matrix, (300, 300))
    points = np.array([[120, 130], [180, 130], [150, 160], [135, 190], [165, 190]], float)
    marks = points @ matrix[:, :2].T + matrix[:, 2]
    box = [90, 90, 210, 210]
    spec = CropSpec(margin=0, align=True, shift_y=0.05)
    level = crop_faces(turned, faces(box, landmarks=marks), spec, size=60, channels=3)
    expected = crop_faces(upright, faces(box, landmarks=points), spec, size=60, channels=3)
    assert np.abs(level.astype(int) - expected).mean() < 3
    unturned = crop_faces(turned, faces(box), spec, size=60, channels=3)  # no landmarks: not turned
    assert np.abs(unturned.astype(int) - expected).mean() > 6


def test_grey_is_luma_and_a_batch_keeps_its_order():
    image = noise(64, 64)
    found = faces([0, 0, 16, 16], [16, 0, 32, 16], [3, 20, 35, 52])
    color = crop_faces(image, found, PLAIN, size=16, channels=3)
    grey = crop_faces(image, found, PLAIN, size=16, channels=1)
    assert grey.shape == (3, 16, 16, 1)
    np.testing.assert_allclose(grey[..., 0], color @ [0.299, 0.587, 0.114], atol=1)
    for i in range(3):
        one = crop_faces(image, faces(found.boxes[i]), PLAIN, size=16, channels=1)
        np.testing.assert_array_equal(one[0], grey[i])


def test_a_face_crop_is_only_resized():
    image = noise(48, 48)
    spec = CropSpec(margin=0.5, align=True, shift_y=0.2)
    whole = faces([0, 0, 48, 48], cropped=True)
    np.testing.assert_array_equal(crop_faces(image, whole, spec, size=48, channels=3)[0], image)
    half = crop_faces(image, whole, spec, size=24, channels=3)[0]
    np.testing.assert_allclose(half, image.reshape(24, 2, 24, 2, 3).mean(axis=(1, 3)), atol=1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 2)])
def test_tiny_images_and_faces(shape):
    image = noise(*shape)
    found = faces([0, 0, shape[1], shape[0]], [0.2, 0.2, 0.2, 0.2])
    assert crop_faces(image, found, CropSpec(), size=8, channels=1).shape == (2, 8, 8, 1)


def test_no_faces_give_an_empty_batch():
    assert crop_faces(noise(9, 9), faces(), CropSpec(), size=48, channels=3).shape == (0, 48, 48, 3)


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="channels is 4"):
        crop_faces(noise(9, 9), faces(), CropSpec(), size=48, channels=4)


def test_spec_travels_as_json_and_refuses_nonsense():
    spec = CropSpec(margin=0.1, align=True, shift_y=-0.05)
    assert CropSpec(**json.loads(json.dumps(dataclasses.asdict(spec)))) == spec
    for wrong in ({"margin": -0.9}, {"margin": float("nan")}, {"shift_y": 2}, {"align": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CropSpec(**wrong)


SIZES = [
    (60, 48), (48, 60), (48, 48), (47, 49), (49, 47), (96, 96), (96, 48), (48, 96), (24, 96), (20, 20),
    (1, 48), (48, 1), (7, 200), (200, 7), (300, 400), (100, 47), (47, 100), (64, 64), (33, 35), (224, 224),
]  # fmt: skip


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_training_and_recognition_resize_a_face_crop_alike(height, width):
    colour = smooth(height, width) // 2 + noise(height, width) // 2
    for image in (colour, colour[..., :1]):
        for channels in (1, 3):
            trained = fit_face(image, 48, channels)
            rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image  # as recognition decodes it
            whole = faces([0, 0, width, height], cropped=True)
            recognised = crop_faces(rgb, whole, CropSpec(), size=48, channels=channels)[0]
            np.testing.assert_array_equal(trained, recognised)
