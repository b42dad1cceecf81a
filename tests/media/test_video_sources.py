"""Frames in: files whole and damaged, folders and pipes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from places import SHARED

av = pytest.importorskip("av")

from made_video import assert_ends_when_closed, container_times, is_scene, make_clip, scene, turn_clip  # noqa: E402
from mien.errors import MissingExtraError, VideoError  # noqa: E402
from mien.media.sources import is_video_file  # noqa: E402
from mien.media.video import decoding  # noqa: E402
from mien.media.video.decoding import FrameTimes  # noqa: E402
from mien.media.video.frames import Frame  # noqa: E402
from mien.media.video.image_frames import natural_order  # noqa: E402
from mien.media.video.opening import RawFormat, open_video  # noqa: E402
from mien.media.video.pipes import open_pipe  # noqa: E402

MEDIA = SHARED / "media"


def read_until_error(source: str | Path) -> tuple[list[Frame], str]:
    frames: list[Frame] = []
    with pytest.raises(VideoError) as error:
        for frame in open_video(source):
            frames.append(frame)
    return frames, str(error.value)


@pytest.mark.parametrize(("name", "count"), [("one-face-pexels.mp4", 472), ("no-face.mp4", 98)])
def test_real_clips_give_every_frame_at_the_containers_time(name: str, count: int) -> None:
    path = MEDIA / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with av.open(str(path)) as container:
        packets = container.demux(video=0)
        stamps = sorted(float(p.pts * p.time_base) for p in packets if p.pts is not None)
    source = open_video(path)
    assert (source.frames, source.live) == (count, False)
    times = []
    for number, frame in enumerate(source):
        assert frame.number == number
        assert not frame.image.flags.writeable
        times.append(frame.time_s)
    assert len(times) == count
    assert np.abs(np.subtract(times, np.subtract(stamps, stamps[0]))).max() < 1e-6


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [
        (".mp4", "libx264", "yuv420p"),
        (".mkv", "libx264", "yuv420p10le"),
        (".webm", "libvpx-vp9", "yuv420p"),
        (".avi", "mpeg4", "yuv420p"),
        (".avi", "mjpeg", "yuvj420p"),
        (".ts", "libx264", "yuv420p"),
        (".h264", "libx264", "yuv420p"),
        (".mjpeg", "mjpeg", "yuvj420p"),
        (".y4m", "wrapped_avframe", "yuv420p"),
        (".mov", "qtrle", "rgb24"),
    ],
)
def test_containers_and_codecs(suffix: str, codec: str, pixels: str, tmp_path: Path) -> None:
    path = make_clip(tmp_path / f"clip{suffix}", codec=codec, pixels=pixels)
    frames = list(open_video(path))
    assert len(frames) == 25
    assert [f.time_s for f in frames] == pytest.approx([i / 25 for i in range(25)])
    assert all(is_scene(frame, frame.number) for frame in frames)
    assert is_video_file(path)
    assert not is_video_file("photo.jpg")


def test_grey_and_transparent_and_odd_sizes(tmp_path: Path) -> None:
    grey = next(iter(open_video(make_clip(tmp_path / "grey.mkv", codec="ffv1", pixels="gray16le", frames=3))))
    assert grey.image.shape == (64, 96, 3)
    assert (grey.image[..., 0] == grey.image[..., 2]).all()
    clear = next(iter(open_video(make_clip(tmp_path / "clear.mov", codec="qtrle", pixels="argb", frames=3))))
    assert (clear.image[5, 5] == 255).all()  # as in photographs, on white
    assert np.abs(clear.image[5, 40].astype(int) - (200, 30, 30)).max() < 4
    for size_wh in ((97, 65), (33, 1), (2, 2)):
        path = make_clip(tmp_path / "odd.mkv", codec="ffv1", pixels="bgr0", frames=2, size_wh=size_wh)
        for frame in open_video(path):
            assert frame.image.shape == (size_wh[1], size_wh[0], 3)
            assert (frame.image == scene(frame.number, *size_wh)).all()


def test_variable_frame_rate(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.1, 0.5, 0.51, 1.7]
    path = make_clip(tmp_path / "vfr.mkv", frames=6, times_s=times)
    assert [f.time_s for f in open_video(path)] == pytest.approx(times, abs=1e-3)


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((0, 1, 1, 0), lambda p: np.swapaxes(p, 0, 1)),
    ],
)
def test_phone_videos_are_turned_upright(
    matrix: tuple[int, int, int, int],
    turned: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    tmp_path: Path,
) -> None:
    path = make_clip(tmp_path / "phone.mp4", frames=2)
    turn_clip(path, matrix)
    frame = next(iter(open_video(path)))
    expected = turned(scene(0))
    assert frame.image.shape == expected.shape
    assert np.abs(frame.image.astype(int) - expected).mean() < 4


def test_another_size_in_mid_stream(tmp_path: Path) -> None:
    small = make_clip(tmp_path / "small.ts", frames=10)
    large = make_clip(tmp_path / "large.ts", frames=10, size_wh=(160, 120))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames = list(open_video(both))
    shapes = [f.image.shape[:2] for f in frames]
    assert shapes[0] == (64, 96)
    assert shapes[-1] == (120, 160)
    assert len(frames) >= 18
    times = [f.time_s for f in frames]
    assert all(b > a for a, b in itertools.pairwise(times))
    assert times[-1] < 1.0  # the second part's clock starts anew; it is not a jump


def test_truncated_and_damaged_files(tmp_path: Path) -> None:
    noisy = {"crf": "1", "g": "10"}
    path = make_clip(tmp_path / "whole.mp4", frames=50, options=noisy, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 6 // 10])
    frames, message = read_until_error(cut)
    assert 10 <= len(frames) < 50
    assert f"truncated or damaged, ends after {len(frames)} frames" in message
    matroska = make_clip(tmp_path / "whole.mkv", frames=100, codec="mjpeg", pixels="yuvj420p")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(matroska.read_bytes()[: matroska.stat().st_size // 2])
    frames, message = read_until_error(cut)
    assert 20 <= len(frames) < 60
    assert "ends after" in message
    headless = tmp_path / "headless.mp4"
    headless.write_bytes(make_clip(tmp_path / "late.mp4").read_bytes()[:-400])  # its index stands at the end
    assert "truncated" in read_until_error(headless)[1]


def test_damaged_packets_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make_clip(tmp_path / "clip.avi", frames=30, codec="mjpeg", pixels="yuvj420p")
    with av.open(str(path)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    data = path.read_bytes()
    for number in (7, 8, 20):
        data = data.replace(packets[number], bytes(len(packets[number])))
    path.write_bytes(data)
    source = open_video(path)
    frames = list(source)
    assert (len(frames), source.skipped) == (27, 3)
    assert f"{path}: 3 packets that can't be decoded are left out" in caplog.text
    assert [f.number for f in frames] == list(range(27))
    assert frames[-1].time_s == pytest.approx(29 / 25)
    assert is_scene(frames[7], 9)


def test_images_of_a_folder_that_cannot_be_read_are_left_out_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        Image.fromarray(scene(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_text("no image")
    assert [frame.number for frame in open_video(tmp_path)] == [0, 2]
    assert f"1 of 3 images can't be read and are left out; the first: {tmp_path / '1.png'}" in caplog.text


def test_files_without_video_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video\n" * 500)
    Image.fromarray(scene(0)).save(tmp_path / "photo.png")
    Image.fromarray(scene(0)).save(tmp_path / "photo.jpg")
    (tmp_path / "folder").mkdir()
    make_clip(tmp_path / "odd.mp4", frames=3)
    unknown = (tmp_path / "odd.mp4").read_bytes().replace(b"avc1", b"zzzz")
    (tmp_path / "unknown.mp4").write_bytes(unknown)
    make_clip(tmp_path / "av.mkv", frames=3, sound="aac")
    with av.open(str(tmp_path / "av.mkv")) as source, av.open(str(tmp_path / "sound.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    expected = {
        "gone.mp4": "no such file",
        "empty.mp4": "is empty",
        "text.mp4": "no video that can be read",
        "photo.png": "is an image",
        "photo.jpg": "is an image",
        "folder": "no images in this folder",
        "unknown.mp4": "codec is not known",
        "sound.mkv": "has no video",
    }
    for name, message in expected.items():
        with pytest.raises(VideoError, match=message) as error:
            list(open_video(tmp_path / name))
        assert str(tmp_path / name) in str(error.value)


def test_frames_above_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=3)
    monkeypatch.setattr(decoding, "WHOLE_PIXELS", 96 * 64 - 1)
    with pytest.raises(VideoError, match="the limit is"):
        open_video(path)
    small = make_clip(tmp_path / "small.ts", frames=20, size_wh=(64, 48))
    path.write_bytes(small.read_bytes() + make_clip(tmp_path / "large.ts", frames=5).read_bytes())
    source = open_video(path)  # grows on the way
    frames = list(source)
    assert len(frames) >= 15  # a few are lost in the decoder's threads
    assert source.skipped >= 1
    assert {f.image.shape for f in frames} == {(48, 64, 3)}


def test_times_that_are_missing_or_out_of_order_still_grow() -> None:
    times = FrameTimes(rate=10)
    base = decoding.Fraction(1, 100)
    stamps = [500, 510, None, 530, 530, 525, 540, 20, 30, None]
    got = [times.seconds(stamp, base) for stamp in stamps]
    assert all(b > a for a, b in itertools.pairwise(got))
    assert got[:4] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert got[6:] == pytest.approx([0.4, 0.5, 0.6, 0.7])
    without = FrameTimes(rate=10)
    assert [without.seconds(None, base) for _ in range(3)] == pytest.approx([0, 0.1, 0.2])


def test_folder_of_frames(tmp_path: Path) -> None:
    for number in (0, 1, 2, 10, 11):
        Image.fromarray(scene(number)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "frame3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "notes.txt").write_text("x")
    source = open_video(tmp_path, rate=10)
    frames = list(source)
    assert [f.number for f in frames] == [0, 1, 2, 4, 5]
    assert [f.time_s for f in frames] == pytest.approx([0, 0.1, 0.2, 0.4, 0.5])
    assert all((f.image == scene(n)).all() for f, n in zip(frames, (0, 1, 2, 10, 11), strict=True))
    assert (source.skipped, source.frames, source.rate) == (1, 6, 10)
    assert sorted(["b2", "b10", "a", "b1x", "B3"], key=natural_order) == ["a", "b1x", "b2", "B3", "b10"]


def test_folder_of_damaged_frames(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    assert "none of its 1 images" in read_until_error(tmp_path)[1]


@contextmanager
def pipe_with(data: bytes, *, end: bool = True) -> Iterator[int]:
    """The reading end of a pipe into which a thread writes `data`."""
    reader, writer = os.pipe()
    left = threading.Event()

    def feed() -> None:
        with os.fdopen(writer, "wb") as file:
            try:
                file.write(data)
                file.flush()
            except BrokenPipeError:
                return
            if not end:
                left.wait(20)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield reader
    finally:
        left.set()
        os.close(reader)
        thread.join()


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("a.mkv", "libx264", "yuv420p", {}),
        ("a.ts", "libx264", "yuv420p", {}),
        ("a.mjpeg", "mjpeg", "yuvj420p", {}),
        ("a.y4m", "wrapped_avframe", "yuv420p", {}),
        ("a.mp4", "libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
def test_containers_from_a_pipe(name: str, codec: str, pixels: str, options: dict[str, str], tmp_path: Path) -> None:
    path = make_clip(tmp_path / name, codec=codec, pixels=pixels, container_options=options)
    with pipe_with(path.read_bytes()) as reader:
        source = open_pipe(reader, "standard input", raw=None, rate=None, live=False)
        frames = list(source)
    assert len(frames) == 25
    assert all(is_scene(frame, frame.number) for frame in frames)


def test_a_pipe_with_something_else_says_what_is_expected(tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "plain.mp4").read_bytes()  # its index comes last
    for data in (b"", b"hello\n" * 1000, plain[:-400]):
        with pipe_with(data) as reader, pytest.raises(VideoError, match="front to back"):
            open_pipe(reader, "standard input", raw=None, rate=None, live=False)


@pytest.mark.parametrize("pixels", ["rgb24", "bgr24", "gray"])
def test_raw_frames_from_a_pipe(pixels: str) -> None:
    images = [scene(n, 31, 17) for n in range(5)]
    coded = {
        "rgb24": lambda p: p,
        "bgr24": lambda p: p[..., ::-1],
        "gray": lambda p: p[..., 1],
    }[pixels]
    data = b"".join(coded(p).tobytes() for p in images)
    raw = RawFormat.parse(f"31x17:{pixels}@12.5")
    with pipe_with(data) as reader:
        frames = list(open_pipe(reader, "standard input", raw=raw, rate=None, live=True))
    assert [f.time_s for f in frames] == pytest.approx([n / 12.5 for n in range(5)])
    for frame, image in zip(frames, images, strict=True):
        expected = image if pixels != "gray" else np.repeat(image[..., 1:2], 3, axis=2)
        assert (frame.image == expected).all()
    with pipe_with(data[:-1]) as reader, pytest.raises(VideoError, match="ends within frame 4"):
        list(open_pipe(reader, "standard input", raw=raw, rate=None, live=False))


def test_raw_formats() -> None:
    assert RawFormat.parse("640x360") == RawFormat(640, 360, "rgb24", 25)
    for wrong in ("640", "640x360:yuv420p@25", "0x5:gray", "640x360:gray@0", "99999x99999:gray@25", "-3x4"):
        with pytest.raises(VideoError, match="raw frames"):
            RawFormat.parse(wrong)
    with pytest.raises(VideoError, match="standard input only"):
        open_video("clip.mp4", raw=RawFormat(4, 4))


def test_standard_input_by_its_name() -> None:
    script = (
        "from mien.media.video.opening import RawFormat, open_video\n"
        "s = open_video('-', raw=RawFormat.parse('4x2:gray@5'), live=True)\n"
        "print(s.name, s.live, [(f.number, f.time_s, int(f.image.sum())) for f in s])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=bytes(16), capture_output=True, check=True)
    assert done.stdout.decode().strip() == "standard input True [(0, 0.0, 0), (1, 0.2, 0)]"


def test_closing_from_another_thread_ends_a_waiting_pipe(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.ts", frames=50)
    for raw in (None, RawFormat(4, 4)):
        with pipe_with(path.read_bytes() if raw is None else bytes(48), end=False) as reader:
            source = open_pipe(reader, "standard input", raw=raw, rate=None, live=True)
            assert_ends_when_closed(source)


def test_closing_a_file_early_lets_go_of_it(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=50)
    source = open_video(path)
    source.close()
    source.close()
    assert list(source) == []
    source = open_video(path)
    seen = 0
    for _ in source:
        seen += 1
        if seen == 3:
            source.close()
    assert seen == 3


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=2)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"mien\[video\]"):
        open_video(path)


def test_makers_times_are_true(tmp_path: Path) -> None:
    assert container_times(make_clip(tmp_path / "a.mp4", frames=5)) == pytest.approx([i / 25 for i in range(5)])
