from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.errors import DetectorError
from mien.faces import DETECTORS, make_detector
from mien.faces.geometry import nms, shrunk, square
from mien.faces.mtcnn import Mtcnn, patches
from mien.faces.one_pass import YuNet
from places import ASTRONAUT, SHARED

MEDIA = SHARED / "media"
OPENCV_YUNET = SHARED / "models/face_detection_yunet_2023mar.onnx"
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request):
    return make_detector(request.param, threads=1)


@pytest.fixture(scope="module")
def astronaut():
    path = ASTRONAUT
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


def photo(name):
    if not (MEDIA / name).is_file():
        pytest.skip(f"needs {name} in the folder shared")
    return cv2.imread(str(MEDIA / name), cv2.IMREAD_COLOR_RGB)


def inside(box, found):
    """Whether a landmark-free point, the box's centre, lies in one of the found boxes."""
    x, y = (box[:2] + box[2:]) / 2
    return ((found[:, 0] < x) & (x < found[:, 2]) & (found[:, 1] < y) & (y < found[:, 3])).any()


def checked(detector, image):
    before = image.copy()
    found = detector.detect(image)
    np.testing.assert_array_equal(image, before)
    n = len(found)
    assert found.boxes.shape == (n, 4) and found.boxes.dtype == np.float32
    assert found.scores.shape == (n,) and found.scores.dtype == np.float32
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    if detector.name in ("auto", "mtcnn", "yunet", "centerface"):
        assert found.landmarks.shape == (n, 5, 2) and found.landmarks.dtype == np.float32
    else:
        assert found.landmarks is None
    assert found.cropped == (detector.name == "none")
    return found


def test_one_face_in_a_photograph(detector, astronaut):
    found = checked(detector, astronaut)
    assert len(found) == 1
    if detector.name != "none":
        assert inside(np.array([223, 118, 223, 118]), found.boxes)
    if found.landmarks is not None:
        left, right, nose, mouth_left, mouth_right = found.landmarks[0]
        assert left[0] < nose[0] < right[0] and mouth_left[0] < mouth_right[0]
        assert max(left[1], right[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
        np.testing.assert_allclose([left, right], [[204, 101], [246, 103]], atol=6)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 400), (400, 1), (5, 3000), (12, 12), (11, 50), (13, 700), (32, 320), (64, 64)]
)
def test_tiny_and_narrow_images_have_no_faces(detector, shape):
    for value in (0, 128, 255):
        image = np.full((*shape, 3), value, np.uint8)
        assert len(checked(detector, image)) == (detector.name == "none")


def test_an_empty_image_has_no_faces(detector):
    for shape in ((0, 0, 3), (0, 40, 3), (40, 0, 3)):
        assert len(checked(detector, np.zeros(shape, np.uint8))) == 0


def test_a_large_face_in_a_large_image(detector, astronaut):
    if detector.name == "none":
        pytest.skip("finds nothing")
    large = cv2.resize(astronaut[20:240, 110:340], (3300, 3156), interpolation=cv2.INTER_CUBIC)
    found = checked(detector, large)
    assert inside(np.array([1620, 1400, 1620, 1400]), found.boxes[:1])
    assert (found.boxes[0, 2:] - found.boxes[0, :2]).max() > 1000


def test_min_face_leaves_small_faces_out(astronaut):
    for name in ("auto", "mtcnn", "yunet", "centerface", "haar"):
        assert len(make_detector(name, min_face=200, threads=1).detect(astronaut)) == 0


@pytest.mark.parametrize(
    ("name", "least", "most_false"),
    [("auto", 29, 0), ("mtcnn", 27, 1), ("yunet", 28, 1), ("centerface", 29, 0), ("haar", 26, 4)],
)
def test_solvay_conference(name, least, most_false):
    found = make_detector(name, threads=1).detect(photo("solvay-1927.jpg"))
    right = [any((b[0] < x < b[2]) and (b[1] < y < b[3]) for b in found.boxes) for x, y in SOLVAY]
    assert sum(right) >= least
    assert len(found) - sum(right) <= most_false


# The noses of the 29, from left to right in three rows: found by hand on the image.
SOLVAY = [
    (270, 435), (388, 475), (470, 506), (600, 497), (752, 512), (871, 480), (1005, 487), (1133, 482), (1243, 478),
    (1329, 430), (1408, 479), (96, 582), (241, 604), (403, 586), (584, 586), (771, 573), (912, 582), (1065, 591),
    (1236, 594), (1398, 605), (147, 637), (314, 646), (481, 639), (659, 645), (870, 634), (1018, 636), (1148, 637),
    (1332, 644), (1459, 664),
]  # fmt: skip


def test_mtcnn_finds_all_of_a_group():
    assert len(Mtcnn(threads=1).detect(photo("several-faces.jpg"))) == 5


def test_mtcnn_gives_the_same_twice(astronaut):
    one, two = (Mtcnn(threads=1).detect(astronaut) for _ in range(2))
    np.testing.assert_array_equal(one.boxes, two.boxes)
    np.testing.assert_array_equal(one.landmarks, two.landmarks)


def test_mtcnn_finds_a_mirrored_face_mirrored(astronaut):
    detector = Mtcnn(threads=1)
    plain, mirrored = detector.detect(astronaut), detector.detect(np.ascontiguousarray(astronaut[:, ::-1]))
    expected = plain.landmarks[0, [1, 0, 2, 4, 3]] * [-1, 1] + [512, 0]
    np.testing.assert_allclose(mirrored.landmarks[0], expected, atol=5)


@pytest.mark.parametrize("wrong", [{"min_face": 0}, {"scale_factor": 1}, {"max_side": 5}])
def test_mtcnn_refuses_impossible_values(wrong):
    with pytest.raises(ValueError, match="mtcnn"):
        Mtcnn(**wrong)


def brute_force_nms(boxes, scores, threshold, by_smaller):
    keep = []
    for i in sorted(range(len(boxes)), key=lambda k: -scores[k]):
        for j in keep:
            a, b = boxes[i], boxes[j]
            shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
            area_a, area_b = ((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
            if shared > threshold * (min(area_a, area_b) if by_smaller else area_a + area_b - shared):
                break
        else:
            keep.append(i)
    return keep


@pytest.mark.parametrize("by_smaller", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 200])
def test_nms_against_the_definition(count, by_smaller):
    corner, size = RNG.uniform(0, 100, (count, 2)), RNG.uniform(5, 40, (count, 2))
    boxes = np.hstack([corner, corner + size]).astype(np.float32)
    scores = RNG.random(count).astype(np.float32)
    kept = nms(boxes, scores, 0.3, by_smaller=by_smaller)
    assert kept.tolist() == brute_force_nms(boxes.astype(float), scores, 0.3, by_smaller)


def test_squares_keep_centre_and_longer_edge():
    np.testing.assert_array_equal(square(np.array([[0, 0, 10, 20]], np.float32)), [[-5, 0, 15, 20]])
    assert square(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_patches_are_grey_outside_the_image():
    image = np.zeros((10, 10, 3), np.uint8)
    out = patches(image, np.array([[-10, 0, 10, 20], [50, 50, 60, 60], [0, 0, 10, 10]], np.float32), 20)
    assert (out[0, :10, 10:] == 0).all() and (out[0, 10:] == 128).all() and (out[0, :, :10] == 128).all()
    assert (out[1] == 128).all() and (out[2] == 0).all()


def test_shrinking_tells_the_way_back():
    small, grow = shrunk(np.zeros((1000, 333, 3), np.uint8), 100)
    assert small.shape == (100, 33, 3)
    np.testing.assert_allclose(grow, [333 / 33, 10], rtol=1e-6)
    assert shrunk(np.zeros((2, 90000, 3), np.uint8), 100)[0].shape == (1, 100, 3)


def test_unknown_names_and_sizes_are_refused():
    with pytest.raises(DetectorError, match="'retina'; known: auto, mtcnn, yunet, centerface, haar, none"):
        make_detector("retina")
    with pytest.raises(DetectorError, match="min_face is -3"):
        make_detector("none", min_face=-3)


@pytest.mark.parametrize("text", ["", "garbage", '<?xml version="1.0"?><a>1</a>'])
def test_haar_refuses_what_is_not_a_cascade(tmp_path, text):
    path = tmp_path / "cascade.xml"
    path.write_text(text)
    with pytest.raises(DetectorError, match=r"cascade\.xml: not an OpenCV cascade"):
        make_detector("haar", cascade=path)
    with pytest.raises(DetectorError, match="no such cascade file"):
        make_detector("haar", cascade=tmp_path / "missing.xml")


def test_haar_says_what_it_needs_where_opencv_has_no_cascades(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    with pytest.raises(DetectorError, match=r"has no cascades \(installed: opencv-python.*opencv-python-headless<5"):
        make_detector("haar")


def test_haar_takes_any_cascade(astronaut):
    profile = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
    assert len(make_detector("haar", cascade=profile).detect(astronaut)) == 1


@pytest.mark.parametrize("name", ["astronaut.png", "several-faces.jpg", "solvay-1927.jpg"])
def test_yunet_agrees_with_the_file_of_opencv(name):
    if not OPENCV_YUNET.is_file():
        pytest.skip("needs OpenCV's file of YuNet in the folder shared")
    image = photo(name)
    image = image[: image.shape[0] // 32 * 32, : image.shape[1] // 32 * 32].copy()  # OpenCV pads others its own way
    theirs = cv2.FaceDetectorYN.create(str(OPENCV_YUNET), "", image.shape[1::-1], 0.6, 0.3)
    _, rows = theirs.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    ours = YuNet(threads=1, min_face=1)
    ours.second_side = 10_000  # one search, as OpenCV makes it
    found = ours.detect(image)
    assert len(found) == len(rows)
    boxes = np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:4]])
    order = [int(np.abs(boxes - box).max(1).argmin()) for box in found.boxes]
    np.testing.assert_allclose(found.scores, rows[order, 14], atol=0.003)
    np.testing.assert_allclose(found.boxes, boxes[order], atol=3)
    np.testing.assert_allclose(found.landmarks.reshape(-1, 10), rows[order, 4:14], atol=3)
