"""Numbers that stay with their faces, and boxes that go with the image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mien.data.toy import toy_faces
from mien.faces import make_detector
from mien.recognition.tracking import Tracker, overlaps
from mien.results import Detections
from places import SHARED

SIDE = 60
FACES = toy_faces(6, size=SIDE, seed=3, channels=3).images
BACKGROUND = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8), (0, 0), 3)
Image = NDArray[np.uint8]
Place = tuple[float, float]


def scene(*places: Place, faces: tuple[int, ...] = (0, 1, 2), side: int = SIDE) -> Image:
    """The background with a face at each place (its left and top)."""
    image = BACKGROUND.copy()
    for (x, y), face in zip(places, faces, strict=False):
        move = np.float32([[side / SIDE, 0, x], [0, side / SIDE, y]])
        cv2.warpAffine(FACES[face], move, (320, 240), dst=image, borderMode=cv2.BORDER_TRANSPARENT)
    return image


def seen(*places: Place, scores: tuple[float, ...] = (), side: int = SIDE) -> Detections:
    """What a perfect detector says of it."""
    boxes = np.array([[x, y, x + side, y + side] for x, y in places], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array(scores or [0.95] * len(places), np.float32))


def test_a_face_that_moves_and_grows_is_followed_between_detections() -> None:
    tracker = Tracker()
    tracker.update(seen((50, 60)), 0.0, scene((50, 60)))
    for step in range(1, 12):
        place, side = (50 + 6 * step, 60 + 3 * step), SIDE + step
        shown = tracker.follow(scene(place, side=side), step / 25)
        assert (shown.tracks, shown.detected) == ((1,), (False,))
        assert overlaps(shown.detections.boxes, seen(place, side=side).boxes)[0, 0] > 0.85
    assert not tracker.unsure


def test_where_the_image_says_nothing_the_box_goes_on_as_it_went() -> None:
    tracker = Tracker()
    for step in range(5):
        tracker.update(seen((50 + 8 * step, 60)), step / 25, scene((50 + 8 * step, 60)))
    rng = np.random.default_rng(1)
    shown = tracker.follow(rng.integers(0, 255, BACKGROUND.shape, np.uint8), 5 / 25)
    assert tracker.unsure
    assert shown.detections.boxes[0, 0] == pytest.approx(90, abs=4)


def test_two_faces_that_pass_each_other_keep_their_numbers() -> None:
    tracker = Tracker()
    for step in range(25):
        left, right = (20.0 + 8 * step, 40.0), (220.0 - 8 * step, 130.0)
        shown = tracker.update(seen(left, right), step / 25, scene(left, right))
        assert sorted(shown.tracks) == [1, 2]
        assert shown.detections.boxes[:, 0].tolist() == sorted(shown.detections.boxes[:, 0])
    boxes = dict(zip(shown.tracks, shown.detections.boxes.tolist(), strict=True))
    assert boxes[1][1] == pytest.approx(40, abs=3)
    assert boxes[2][1] == pytest.approx(130, abs=3)


def test_a_face_is_found_again_after_a_short_occlusion_and_is_new_after_a_long_one() -> None:
    for gap_s, expected in ((1.0, (1,)), (3.0, (2,))):
        tracker = Tracker(lost_s=2.0)
        tracker.update(seen((100, 80)), 0.0, scene((100, 80)))
        assert tracker.update(seen(), 0.1, BACKGROUND).tracks == ()
        assert tracker.follow(BACKGROUND, 0.2).tracks == ()
        place = (125.0, 85.0)
        assert tracker.update(seen(place), 0.1 + gap_s, scene(place)).tracks == expected


def test_after_a_gap_another_place_or_another_size_is_another_face() -> None:
    for place, side in (((240.0, 80.0), SIDE), ((120.0, 100.0), 16)):
        tracker = Tracker()
        tracker.update(seen((100, 80)), 0.0, scene((100, 80)))
        tracker.update(seen(), 0.1, BACKGROUND)
        assert tracker.update(seen(place, side=side), 0.3, scene(place, side=side)).tracks == (2,)


def test_after_a_cut_whoever_stands_in_the_same_place_is_another_face() -> None:
    tracker = Tracker()
    tracker.update(seen((100, 80)), 0.0, scene((100, 80)))
    other = np.random.default_rng(5).integers(0, 255, BACKGROUND.shape, np.uint8)
    other = cv2.GaussianBlur(other, (0, 0), 2)
    assert tracker.follow(other, 0.04).tracks == (1,)
    assert tracker.unsure
    assert tracker.update(seen((102, 82)), 0.08, other).tracks == (2,)


def test_numbers_are_never_given_twice() -> None:
    tracker = Tracker(lost_s=0.2)
    numbers = []
    for step in range(6):
        place = (20.0 + 40 * step, 80.0)
        numbers += tracker.update(seen(place), float(step), scene(place)).tracks
        tracker.update(seen(), step + 0.5, BACKGROUND)
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_flickers_of_the_detector_make_no_tracks() -> None:
    tracker = Tracker()
    image = scene((100, 80), (220, 20))
    # Not sure: nothing at the first sighting, a track at the second; and no number is used up by those that pass.
    assert tracker.update(seen((220, 20), scores=(0.7,)), 0.0, image).tracks == ()
    assert tracker.follow(image, 0.04).tracks == ()
    assert tracker.update(seen(), 0.1, image).tracks == ()
    assert tracker.update(seen((100, 80), scores=(0.7,)), 0.2, image).tracks == ()
    assert tracker.update(seen((100, 80), scores=(0.7,)), 0.3, image).tracks == (1,)


def test_a_low_score_continues_a_track_and_begins_none() -> None:
    tracker = Tracker(high_score=0.65)
    image = scene((100, 80))
    for step in range(3):
        assert tracker.update(seen((100, 80), scores=(0.62,)), step / 10, image).tracks == ()
    assert tracker.update(seen((100, 80)), 0.3, image).tracks == (1,)
    shown = tracker.update(seen((100, 80), scores=(0.62,)), 0.4, image)
    assert (shown.tracks, shown.detected) == ((1,), (True,))
    assert shown.detections.scores[0] == np.float32(0.62)


def test_boxes_tremble_less_than_detections_and_do_not_lag() -> None:
    rng = np.random.default_rng(2)
    still, moving = Tracker(), Tracker()
    rows = []
    for step in range(40):
        noise_x, noise_y = rng.normal(0, 1.5, 2)
        shown = still.update(seen((100 + noise_x, 80 + noise_y)), step / 25, scene((100, 80)))
        rows.append((shown.detections.boxes[0, 0], 100 + noise_x))
        place = (10.0 + 5 * step, 80.0)
        shown = moving.update(seen(place), step / 25, scene(place))
        assert abs(shown.detections.boxes[0, 0] - place[0]) < 2
    steadied, raw = np.abs(np.diff(np.array(rows), axis=0)).mean(axis=0)
    assert steadied < 0.7 * raw


def test_a_face_that_leaves_the_image_is_no_longer_shown() -> None:
    tracker = Tracker()
    tracker.update(seen((250, 80)), 0.0, scene((250, 80)))
    shown = [tracker.follow(scene((250 + 10 * step, 80)), step / 25).tracks for step in range(1, 15)]
    assert shown[0] == (1,)
    assert shown[-1] == ()


def test_landmarks_go_with_their_face() -> None:
    marks = np.float32([[[65, 80], [90, 80], [78, 95], [68, 108], [88, 108]]])
    tracker = Tracker()
    found = seen((50, 60))
    tracker.update(Detections(found.boxes, found.scores, marks), 0.0, scene((50, 60)))
    for step in range(1, 4):
        shown = tracker.follow(scene((50 + 5 * step, 60)), step / 25)
    assert shown.detections.landmarks is not None
    assert np.abs(shown.detections.landmarks[0] - marks[0] - [15, 0]).max() < 2


def test_a_image_that_changes_its_size_keeps_its_tracks() -> None:
    tracker = Tracker()
    tracker.update(seen((100, 80)), 0.0, scene((100, 80)))
    small = cv2.resize(scene((100, 80)), (160, 120), interpolation=cv2.INTER_AREA)
    shown = tracker.follow(small, 0.04)
    assert shown.tracks == (1,)
    assert np.allclose(shown.detections.boxes[0], [50, 40, 80, 70], atol=1.5)


def test_face_crops_are_one_track_and_left_alone() -> None:
    tracker = Tracker()
    image = scene()
    whole = make_detector("none").detect(image)
    for step in range(3):
        shown = tracker.update(whole, step / 10, image)
        assert shown.tracks == (1,)
        assert shown.detections.cropped


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (5, 5, 3)])
def test_tiny_images_and_boxes_over_the_border(shape: tuple[int, ...]) -> None:
    tracker = Tracker()
    image = np.zeros(shape, np.uint8)
    image.flags.writeable = False
    boxes = np.float32([[-50, -50, 80, 80], [0, 0, 0, 0], [1000, 1000, 1010, 1010]])
    for step in range(4):
        tracker.update(Detections(boxes, np.float32([0.9, 0.9, 0.9])), step / 10, image)
        shown = tracker.follow(image, step / 10 + 0.05)
        assert np.isfinite(shown.detections.boxes).all()


def test_values_out_of_range() -> None:
    for wrong in ({"lost_s": -1.0}, {"high_score": 2.0}, {"min_overlap": 0.0}):
        with pytest.raises(ValueError, match="between 0 and 1"):
            Tracker(**wrong)


@pytest.mark.parametrize("every", [1, 4, 10])
def test_a_real_face_is_one_track(every: int) -> None:
    clip = SHARED / "media/short-one-face.mp4"
    if not clip.exists():
        pytest.skip("needs the folder `shared` beside the repository")
    detector, tracker = make_detector("yunet"), Tracker()
    video = cv2.VideoCapture(str(clip))
    numbers, shown, frame = set(), 0, 0
    while (read := video.read())[0]:
        image = np.ascontiguousarray(read[1][..., ::-1])
        faces = (
            tracker.follow(image, frame / 30)
            if frame % every
            else tracker.update(detector.detect(image), frame / 30, image)
        )
        numbers |= set(faces.tracks)
        shown += len(faces) == 1
        frame += 1
    assert frame == 72
    assert numbers == {1}
    assert shown >= 0.95 * frame
