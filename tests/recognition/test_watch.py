"""Watching: order, nothing dropped of files, the newest of live sources, errors, ends, no threads left."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mien.errors import VideoError
from mien.faces import make_detector
from mien.media.video.frames import Frame
from mien.media.video.relay import Channel
from mien.recognition.recognizer import Recognizer
from mien.recognition.watch import _Pace
from mien.results import Detections
from places import SHARED, TESTS
from tiny_models import make_model

Image = NDArray[np.uint8]
STILL = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8), (0, 0), 2)
STILL.flags.writeable = False


class Frames:
    """A source of frames that are made when they are asked for."""

    name = "made"

    def __init__(
        self,
        count: int,
        *,
        live: bool = False,
        rate: float = 25.0,
        image: Callable[[int], Image] = lambda number: STILL,
        fails_at: int | None = None,
    ) -> None:
        self.frames: int | None = count
        self.live, self.rate = live, rate
        self.given = self.closed = 0
        self._count, self._image, self._fails_at = count, image, fails_at

    def __iter__(self) -> Iterator[Frame]:
        for number in range(self._count):
            if self.closed:
                return
            if number == self._fails_at:
                raise VideoError("made: broken here")
            if self.live:
                time.sleep(1 / self.rate)
            self.given += 1
            yield Frame(number, number / self.rate, self._image(number))

    def close(self) -> None:
        self.closed += 1


class Fixed:
    """Finds two faces everywhere, and says how often it was asked."""

    name = "fixed"

    def __init__(self, *, seconds: float = 0.0, fails: Callable[[int], Exception | None] = lambda call: None) -> None:
        self.calls, self._seconds, self._fails = 0, seconds, fails

    def detect(self, image: Image) -> Detections:
        self.calls += 1
        if (error := self._fails(self.calls - 1)) is not None:
            raise error
        time.sleep(self._seconds)
        boxes = np.float32([[60, 10, 100, 50], [5, 20, 45, 60]]) * np.float32(image.shape[1] / 120)
        return Detections(boxes, np.float32([0.9, 0.95]))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mien")]


def test_every_frame_of_a_file_in_order_with_its_faces(tiny: Path) -> None:
    detector, source = Fixed(), Frames(83)
    watch = Recognizer(tiny, detector=detector).watch(source, every=5)
    results = list(watch)
    assert [r.frame for r in results] == list(range(83))
    assert [r.time_s for r in results] == [n / 25 for n in range(83)]
    assert all([face.track for face in r.faces] == [1, 2] for r in results)
    assert [r.frame for r in results if r.faces[0].detected] == list(range(0, 83, 5))
    assert detector.calls == 17
    assert results[0].image is None
    assert results[0].latency_s is None
    face = results[40].faces[0]
    assert face.smoothed == pytest.approx(face.face.probabilities, abs=1e-4)  # nothing moves
    assert (results[0].width, results[0].height) == (120, 90)
    stats = watch.stats()
    assert (stats.decoded, stats.returned, stats.dropped, stats.faces, stats.detect_every) == (83, 83, 0, 166, 5)
    assert stats.latency_p95_s is None
    assert min(stats.stages.decode, stats.stages.detect, stats.stages.follow, stats.stages.classify) > 0
    assert source.closed
    assert list(watch) == []


def test_the_first_frame_is_answered_like_a_image(tiny: Path) -> None:
    recognizer = Recognizer(tiny, detector=Fixed())
    (result,) = recognizer.watch(Frames(1))
    assert tuple(face.face for face in result.faces) == recognizer.predict(STILL).faces


def test_a_slow_consumer_makes_a_file_wait(tiny: Path) -> None:
    source = Frames(500)
    ahead = []
    for result in Recognizer(tiny, detector=Fixed()).watch(source):
        if result.frame in {0, 5, 300}:
            time.sleep(0.5)
            ahead.append(source.given - result.frame)
    assert max(ahead) < 100
    assert source.given == 500


def test_large_images_that_are_kept_are_few(tiny: Path) -> None:
    large = np.zeros((2160, 3840, 3), np.uint8)
    source = Frames(40, image=lambda number: large)
    with Recognizer(tiny, detector=Fixed()).watch(source, keep_images=True) as watch:
        for result in watch:
            time.sleep(0.1)
            assert result.image is large
            assert source.given - result.frame < 16
            if result.frame == 8:
                break


def test_a_live_source_drops_what_comes_too_fast_and_counts_it(tiny: Path) -> None:
    source = Frames(60, live=True, rate=100.0)
    watch = Recognizer(tiny, detector=Fixed(seconds=0.05)).watch(source, every=1)
    numbers = [result.frame for result in watch]
    stats = watch.stats()
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 40
    assert stats.decoded == 60 == len(numbers) + stats.dropped
    assert numbers[-1] >= 58  # the newest wins
    assert stats.latency_p95_s is not None
    assert stats.latency_p50_s is not None
    assert 0.05 <= stats.latency_p50_s <= stats.latency_p95_s


def test_a_slow_consumer_gets_the_newest_of_a_live_source(tiny: Path) -> None:
    source = Frames(60, live=True, rate=100.0)
    for result in Recognizer(tiny, detector=Fixed()).watch(source):
        time.sleep(0.1)
        behind = source.given - result.frame
    assert behind < 60


def test_live_detection_is_as_frequent_as_the_frame_rate_allows() -> None:
    def settled(detect_s: float, follow_s: float, *, every: int | None = None, live: bool = True) -> int:
        pace = _Pace(every, live=live, rate=25.0)
        for number in range(200):
            if pace.due(Frame(number, number / 25, STILL), unsure=False):
                pace.detected(detect_s, whole=False)
            pace.followed(follow_s)
        return pace.every

    assert settled(0.005, 0.002) == 1
    assert settled(0.060, 0.004) == 3
    assert settled(0.115, 0.004) == 5
    assert settled(5.0, 0.004) == 15
    assert settled(0.010, 1.0) == 15
    assert settled(5.0, 1.0, every=2) == 2
    assert settled(5.0, 1.0, live=False) == 5


def test_an_error_of_the_source_comes_after_what_came_before(tiny: Path) -> None:
    numbers = []
    with pytest.raises(VideoError, match="broken here"):
        for result in Recognizer(tiny, detector=Fixed()).watch(Frames(100, fails_at=21)):
            numbers.append(result.frame)
    assert numbers == list(range(21))


def test_an_error_of_a_stage_is_raised_in_the_consumer(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Fixed(fails=lambda call: RuntimeError("out of order") if call == 4 else None)
    numbers = []
    with pytest.raises(RuntimeError, match="out of order"):
        for result in Recognizer(tiny, detector=detector).watch(Frames(5000), every=3):
            numbers.append(result.frame)
    assert numbers == list(range(12))

    recognizer = Recognizer(tiny, detector=Fixed())

    def broken(*_: object) -> None:
        raise RuntimeError("no model")

    monkeypatch.setattr(recognizer.classifier, "probabilities", broken)
    with pytest.raises(RuntimeError, match="no model"):
        list(recognizer.watch(Frames(5000)))


def test_a_frame_that_the_detector_cannot_take_is_followed_and_counted(tiny: Path) -> None:
    detector = Fixed(fails=lambda call: cv2.error("odd") if call in {0, 3} else None)
    watch = Recognizer(tiny, detector=detector).watch(Frames(12), every=2)
    shown = [len(result.faces) for result in watch]
    assert shown == [0, 0] + [2] * 10
    assert watch.stats().failed == 2


def test_leaving_early_ends_all_threads(tiny: Path) -> None:
    recognizer = Recognizer(tiny, detector=Fixed())
    for live in (False, True):
        source = Frames(10**6, live=live, rate=200.0)
        for result in recognizer.watch(source):
            if result.frame >= 3:
                break
        assert source.closed
    watch = recognizer.watch(Frames(10**6))
    with pytest.raises(KeyboardInterrupt):
        for _ in watch:
            raise KeyboardInterrupt
    watch.close()
    unused = Frames(5)
    with recognizer.watch(unused):
        pass
    assert (unused.given, unused.closed) == (0, 1)


def test_closing_from_another_thread_ends_the_loop(tiny: Path) -> None:
    watch = Recognizer(tiny, detector=Fixed()).watch(Frames(10**6, live=True, rate=50.0))
    alarm = threading.Timer(0.4, watch.close)
    alarm.start()
    assert len(list(watch)) > 0
    alarm.join()


def test_a_program_that_ends_without_leaving_the_loop_ends(tiny: Path) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from test_watch import Fixed, Frames\n"
        "from mien.recognition.recognizer import Recognizer\n"
        "results = iter(Recognizer(sys.argv[1], detector=Fixed()).watch(Frames(10**6)))\n"
        "print(next(results).frame)\n"
    )
    command = [sys.executable, "-c", script, str(tiny), str(TESTS), str(TESTS / "recognition")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_seconds(tiny: Path) -> None:
    recognizer = Recognizer(tiny, detector=Fixed())
    assert len(list(recognizer.watch(Frames(200), max_seconds=2.0))) == 50

    class Silent(Frames):
        def __iter__(self) -> Iterator[Frame]:
            while not self.closed:
                time.sleep(0.01)
            raise VideoError("made: taken away")
            yield

    assert list(recognizer.watch(Silent(1, live=True), max_seconds=0.3)) == []


def test_a_size_that_changes_and_images_as_they_are(tiny: Path) -> None:
    small = cv2.resize(STILL, (60, 45), interpolation=cv2.INTER_AREA)
    source = Frames(20, image=lambda number: STILL if number % 8 < 4 else small)
    results = list(Recognizer(tiny, detector=Fixed()).watch(source, keep_images=True))
    assert [r.width for r in results] == [120 if n % 8 < 4 else 60 for n in range(20)]
    assert results[0].image is STILL
    assert all(len(r.faces) == 2 for r in results)


def test_images_that_are_faces_already(tiny: Path) -> None:
    results = list(Recognizer(tiny, detector="none").watch(Frames(7), every=3))
    assert [[(f.track, f.detected, f.face.box.x2) for f in r.faces] for r in results] == [[(1, True, 120)]] * 7


class Recording(Fixed):
    """Remembers what it was shown."""

    def detect(self, image: Image) -> Detections:
        self.shown = image
        return super().detect(image)


@pytest.mark.parametrize("region", [(30, 10, 90, 70), (0.25, 10 / 90, 0.75, 70 / 90), "30,10,90,70"])
def test_a_region_is_like_a_video_of_that_part(tiny: Path, region: tuple[float, float, float, float] | str) -> None:
    whole, part = Recording(), Recording()
    moving = [np.roll(STILL, number, axis=1) for number in range(12)]
    cut = [np.ascontiguousarray(image[10:80, 30:120]) for image in moving]
    alone = list(Recognizer(tiny, detector=part).watch(Frames(12, image=lambda n: cut[n]), every=4))
    source = Frames(12, image=lambda n: moving[n])
    within = list(Recognizer(tiny, detector=whole).watch(source, every=4, region=region, keep_images=True))
    assert np.array_equal(whole.shown, part.shown)
    assert whole.calls == part.calls == 3
    for one, other in zip(alone, within, strict=True):
        assert (other.width, other.height, other.image is moving[other.frame]) == (120, 90, True)
        assert len(one.faces) == len(other.faces) == 2
        for face, moved in zip(one.faces, other.faces, strict=True):
            assert moved.face.probabilities == face.face.probabilities
            box, shifted = face.face.box, moved.face.box
            assert (shifted.x1 - 30, shifted.y2 - 10) == pytest.approx((box.x1, box.y2), abs=0.01)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ((60, 0, 70, 50), "60,0,70,50: is not within the frame, which is 120 x 90 pixels"),
        ((0.5, 0, 0.6, 1), "beyond the frame"),
        ((0, 0, 0, 5), "width and height above 0"),
        ((-1, 0, 5, 5), "x, y of 0 or more"),
        ((float("nan"), 0, 5, 5), "expected"),
        ("1,2,3", "expected x,y,width,height"),
        ("a,b,c,d", "expected x,y,width,height"),
    ],
)
def test_a_region_that_does_not_fit_is_refused(tiny: Path, region: str, message: str) -> None:
    source = Frames(3)
    with pytest.raises(VideoError, match=message):
        list(Recognizer(tiny, detector=Fixed()).watch(source, region=region))
    assert source.closed


@pytest.mark.parametrize("wrong", [{"every": 0}, {"smooth_s": -1.0}, {"max_seconds": 0.0}])
def test_numbers_out_of_range(tiny: Path, wrong: dict[str, float]) -> None:
    source = Frames(1)
    with pytest.raises(ValueError, match="expected"):
        Recognizer(tiny, detector=Fixed()).watch(source, **wrong)  # type: ignore[arg-type]
    assert source.closed


def test_a_channel_whose_next_item_does_not_fit_gives_what_it_has() -> None:
    channel: Channel[int] = Channel(8, budget=10)

    def give() -> None:
        for number in range(6):
            channel.put(number, 4)
        channel.end()

    giver = threading.Thread(target=give)
    giver.start()
    taken = []
    while some := channel.take(8, least=8):
        assert len(some) <= 2
        taken += some
    giver.join()
    assert taken == list(range(6))


def test_real_clips(tiny: Path) -> None:
    pytest.importorskip("av", reason="reading a video needs the extra [video]")
    if not (SHARED / "media").exists():
        pytest.skip("needs the folder `shared` beside the repository")
    recognizer = Recognizer(tiny, detector=make_detector("yunet"), threads=1)
    nobody = list(recognizer.watch(SHARED / "media/no-face.mp4"))
    assert len(nobody) == 98
    assert not any(result.faces for result in nobody)
    somebody = list(recognizer.watch(SHARED / "media/one-face-pexels.mp4", every=10))
    assert len(somebody) == 472
    assert {face.track for result in somebody for face in result.faces} == {1}
    assert sum(len(result.faces) for result in somebody) >= 0.95 * 472
