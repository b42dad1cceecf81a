"""The default detector: faces at any angle, close-ups, tight crops, and what is not a face."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from mien.crop import rolls
from mien.faces import make_detector
from mien.images import read_image
from mien.results import Detections
from places import ASTRONAUT, SHARED
from turned import turned

PHOTOS = SHARED / "cases" / "photos"
FACES = {
    "01-angry-called-neutral.jpg": 1, "03-crying-called-neutral.jpg": 1, "05-disgust-side-called-neutral.jpg": 1,
    "11-tilted-face-missed.jpg": 5, "13-mask-missed.jpg": 1, "13b-mask-missed.jpg": 1,
    "18-dog-called-a-face-by-yunet.jpg": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def detector():
    return make_detector("auto", threads=1)


@pytest.fixture(scope="module")
def astronaut():
    return read_image(ASTRONAUT)


def centres(found: Detections):
    return (found.boxes[:, :2] + found.boxes[:, 2:]) / 2


def found_again(upright: Detections, matrix, found: Detections) -> int:
    """How many of the faces have a face of about the same place and size in the turned image, and none has two."""
    places = centres(upright) @ matrix[:, :2].T + matrix[:, 2]
    half = (upright.boxes[:, 2:] - upright.boxes[:, :2]).max(axis=1) / 2
    near = np.abs(places[:, None] - centres(found)).max(axis=2) < half[:, None]
    assert near.sum(axis=1).max(initial=0) <= 1
    return int(near.any(axis=1).sum())


@pytest.mark.parametrize("angle", [15, 30, 45, 60, 90, 135, 180, 225, 270, 315])
def test_a_face_is_found_at_any_angle_and_its_landmarks_show_it(detector, astronaut, angle):
    image, matrix = turned(astronaut, angle)
    upright, found = detector.detect(astronaut), detector.detect(image)
    assert len(found) == found_again(upright, matrix, found) == 1
    off = np.degrees(rolls(found.landmarks) - rolls(upright.landmarks)) - angle
    assert abs((off[0] + 180) % 360 - 180) < 30  # landmarks understate the turn of a face that scores high


@pytest.mark.parametrize("angle", [15, 30, 45, 90, 180, 270])
def test_a_turned_group_is_found_again(detector, angle):
    path = SHARED / "media" / "solvay-1927.jpg"
    if not path.is_file():
        pytest.skip("the shared photographs are not here")
    upright = detector.detect(read_image(path))
    image, matrix = turned(read_image(path), angle)
    assert found_again(upright, matrix, detector.detect(image)) >= 28


@pytest.mark.parametrize("name", FACES)
def test_photographs_on_which_other_detectors_fail(detector, name):
    if not (PHOTOS / name).is_file():
        pytest.skip("the shared photographs are not here")
    assert len(detector.detect(read_image(PHOTOS / name))) == FACES[name]


def test_a_face_that_fills_the_image_or_is_cut_by_its_border_is_found(detector, astronaut):
    x1, y1, x2, y2 = detector.detect(astronaut).boxes[0].astype(int).tolist()
    width, height = x2 - x1, y2 - y1
    cuts = [(0, 0, 1, 1), (0.1, 0.05, 0.9, 0.95), (0, 0.1, 1, 0.9), (0.25, 0, 1, 1), (0, 0, 0.75, 1)]
    for left, top, right, bottom in cuts:
        cut = astronaut[
            y1 + round(top * height) : y1 + round(bottom * height), x1 + round(left * width) : x1 + round(right * width)
        ]
        for grow in (0.5, 1, 6):
            assert len(detector.detect(cv2.resize(cut, None, fx=grow, fy=grow, interpolation=cv2.INTER_AREA))) == 1


def test_what_is_no_face_is_not_found(detector):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    for image in (noise, np.zeros((480, 640, 3), np.uint8), cv2.GaussianBlur(noise, (0, 0), 20)):
        assert len(detector.detect(image)) == len(detector.detect_upright(image)) == 0


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (3, 4000), (5000, 9), (40_000, 30)])
def test_images_of_any_shape_are_searched(detector, shape):
    assert len(detector.detect(np.full((*shape, 3), 90, np.uint8))) == 0


def test_an_upright_search_does_not_find_what_lies_on_its_side(detector, astronaut):
    assert len(detector.detect_upright(astronaut)) == 1
    sideways = np.ascontiguousarray(np.rot90(astronaut))
    assert len(detector.detect_upright(sideways)) <= len(detector.detect(sideways)) == 1


def test_min_face_counts_in_pixels_of_the_image(astronaut):
    edge = max(np.diff(make_detector("auto", threads=1).detect(astronaut).boxes[0].reshape(2, 2), axis=0)[0])
    found = [
        len(make_detector("auto", min_face=edge * share, threads=1).detect(astronaut)) for share in (0.2, 0.9, 1.2)
    ]
    assert found == [1, 1, 0]
    assert all(a >= b for a, b in pairwise(found))
