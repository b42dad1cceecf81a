"""Videos that were cut off are told from whole ones, whatever their length and container."""

from __future__ import annotations

import os
import random
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av")

from made_video import make_clip, noise, scene  # noqa: E402
from mien.errors import MienError, TruncatedVideoError  # noqa: E402
from mien.media.video.integrity import UNKNOWN, WHOLE, End, StreamEnd, file_end  # noqa: E402
from mien.media.video.opening import open_video  # noqa: E402
from mien.media.video.pipes import open_pipe  # noqa: E402

ALL = os.environ.get("MIEN_ALL_TESTS") == "1"
SECONDS = (1.0, 2.4, 7.0, 60.0) if ALL else (1.0, 2.4)
CUTS = (0.03, 0.1, 0.2, 0.33, 0.5, 0.66, 0.75, 0.9, 0.97, 0.995)
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}

# suffix, codec, codec of the sound, options of the container, whether the container states its end
CONTAINERS: dict[str, tuple[str, str, str | None, dict[str, str], bool]] = {
    "mp4": (".mp4", "libx264", "aac", {}, True),
    "mp4, index first": (".mp4", "libx264", "aac", {"movflags": "faststart"}, True),
    "mp4, fragmented": (".mp4", "libx264", "aac", FRAGMENTS, True),
    "mov": (".mov", "mjpeg", None, {}, True),
    "mkv": (".mkv", "libx264", "aac", {}, True),
    "mkv, live": (".mkv", "libx264", "aac", {"live": "1"}, False),
    "webm": (".webm", "libvpx", "libopus", {}, True),
    "avi": (".avi", "mpeg4", "libmp3lame", {}, True),
    "avi, mjpeg": (".avi", "mjpeg", None, {}, True),
    "flv": (".flv", "libx264", "aac", {}, True),
    "wmv": (".wmv", "wmv2", "libmp3lame", {}, True),
    "ogg": (".ogv", "libvpx", "libopus", {}, True),
    "ts": (".ts", "libx264", "aac", {}, False),
    "mpg": (".mpg", "mpeg2video", "mp2", {}, False),
    "mjpeg": (".mjpeg", "mjpeg", None, {}, False),
    "y4m": (".y4m", "wrapped_avframe", None, {}, False),
}


def clip(folder: Path, kind: str, frames: int, **other: object) -> Path:
    suffix, codec, sound, options, _ = CONTAINERS[kind]
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    wanted = {"sound": sound, "options": {"bf": "2"} if codec == "libx264" else {}} | other
    return make_clip(
        folder / f"whole{suffix}", frames=frames, codec=codec, pixels=pixels, rate=30, image_of=noise,
        container_options=options, **wanted,  # type: ignore[arg-type]
    )  # fmt: skip


def count(source: Path) -> tuple[int, bool | None]:
    """The frames of a video that is whole, and whether its container says so."""
    opened = open_video(source)
    return sum(1 for _ in opened), getattr(opened, "end_verified", None)


def off_the_grid(size: int, share: float, kind: str) -> int:
    """Where to cut. MPEG streams can be cut between two packets, which leaves a file that lacks nothing: not there."""
    at = max(64, int(size * share))
    return at + 1 if {"ts": at % 188, "mpg": at % 2048}.get(kind, 1) == 0 else at


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_cut_is_told_at_any_length_and_place(kind: str, seconds: float, tmp_path: Path) -> None:
    frames = round(30 * seconds)
    whole = clip(tmp_path, kind, frames)
    assert count(whole) == (frames, CONTAINERS[kind][4])
    data, cut = whole.read_bytes(), whole.with_stem("cut")
    for share in CUTS:
        cut.write_bytes(data[: off_the_grid(len(data), share, kind)])
        seen = 0
        with pytest.raises(TruncatedVideoError, match="truncated"):
            for _ in open_video(cut):
                seen += 1
        assert seen <= frames


def all_kinds_of_whole_files(folder: Path) -> Sequence[Path]:
    files = []
    for kind in CONTAINERS:
        for name, more in {
            "one": {"frames": 1},
            "two": {"frames": 2},
            "sound longer": {"frames": 8, "sound_s": 1.0},
            **(
                {"sound shorter": {"frames": 30, "sound_s": 0.3}, "silent": {"frames": 8, "sound": None}} if ALL else {}
            ),
        }.items():
            if "sound" in name and CONTAINERS[kind][2] is None:
                continue
            if kind == "mjpeg" and name == "one":  # this is a JPEG
                continue
            (place := folder / f"{kind}, {name}").mkdir()
            files.append(clip(place, kind, **more))  # type: ignore[arg-type]
    times = [0.0, 0.04, 0.1, 0.5, 0.51, 1.7, 9.0]
    for suffix in (".mp4", ".mkv", ".mov", ".ts", ".flv"):
        files.append(make_clip(folder / f"uneven{suffix}", frames=7, times_s=times, image_of=noise))
        bframes = {"bf": "5", "g": "20", "x264-params": "open-gop=1"}
        files.append(make_clip(folder / f"bframes{suffix}", frames=40, options=bframes, image_of=noise))
    for number, flags in enumerate(("dash+frag_keyframe+global_sidx", "cmaf", "frag_keyframe+skip_trailer")):
        options = {"movflags": flags}
        files.append(make_clip(folder / f"{number}.mp4", frames=60, container_options=options, image_of=noise))
    for suffix in (".mp4", ".mkv", ".ts", ".hevc"):
        quiet = {"x265-params": "log-level=none"}
        files.append(make_clip(folder / f"hevc{suffix}", frames=15, codec="libx265", options=quiet, image_of=noise))
    files.append(make_clip(folder / "raw.h264", frames=40, options={"bf": "2"}, image_of=noise))
    for suffix, code in ((".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "mp4v"), (".mov", "mp4v")):
        path = folder / f"opencv{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 25, (96, 64))
        for number in range(20):
            writer.write(noise(number))
        writer.release()
        files.append(path)
    return files


def test_whole_files_are_never_called_truncated(tmp_path: Path) -> None:
    for path in all_kinds_of_whole_files(tmp_path):
        frames, _ = count(path)
        assert frames > 0, path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts", ".flv"])
def test_parts_that_were_copied_out_are_whole(suffix: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "long.mp4", frames=100, sound="aac", options={"g": "30", "bf": "2"}, image_of=noise)
    for number, (begin, end) in enumerate(((0.0, 1.5), (1.3, 3.1), (2.2, 2.4))):
        part = tmp_path / f"part{number}{suffix}"
        with av.open(str(source)) as old, av.open(str(part), "w") as new:
            copies = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
            old.seek(int(begin * 1e6))
            for packet in old.demux():
                if packet.dts is None or packet.dts * packet.time_base >= end:
                    continue
                offset = round(begin / packet.time_base)
                packet.pts, packet.dts = packet.pts - offset, packet.dts - offset  # below 0: an edit list hides them
                packet.stream = copies[packet.stream.index]
                new.mux(packet)
        assert count(part)[0] > 0


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".flv", ".wmv", ".ts", ".mpg"])
@pytest.mark.parametrize("appended", [bytes(100), b"notes of some program\n", b"SEFHk\0\0\0\x01\0\0\0SEFT"])
def test_something_appended_to_a_whole_file_is_no_cut(suffix: str, appended: bytes, tmp_path: Path) -> None:
    codec = {".avi": "mpeg4", ".wmv": "wmv2", ".mpg": "mpeg2video"}.get(suffix, "libx264")
    path = make_clip(tmp_path / f"a{suffix}", frames=20, codec=codec, image_of=noise)
    path.write_bytes(path.read_bytes() + appended)
    assert count(path)[0] == 20


def test_a_stream_cut_between_two_packets_within_a_frame_is_told(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.ts", frames=40, size_wh=(320, 240), image_of=noise, options={"crf": "5"})
    data = path.read_bytes()
    middle = next(
        at
        for at in range(len(data) // 376 * 188, len(data), 188)
        if all(data[p + 1] & 0x1F == 1 and not data[p + 1] & 0x40 for p in (at - 188, at, at + 188))
    )
    path.write_bytes(data[:middle])
    with pytest.raises(TruncatedVideoError, match="last frame is incomplete"):
        list(open_video(path))


def through_a_pipe(data: bytes) -> int:
    reader, writer = os.pipe()

    def feed() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        return sum(1 for _ in open_pipe(reader, "pipe", raw=None, rate=None, live=False))
    finally:
        thread.join()
        os.close(reader)


@pytest.mark.parametrize("kind", ["mp4, fragmented", "mkv", "mkv, live", "webm", "ts", "flv", "mjpeg", "y4m"])
def test_pipes_whole_and_cut(kind: str, tmp_path: Path) -> None:
    data = clip(tmp_path, kind, 45).read_bytes()
    assert through_a_pipe(data) == 45
    for share in (0.4, 0.66, 0.9):
        with pytest.raises(TruncatedVideoError):
            through_a_pipe(data[: off_the_grid(len(data), share, kind)])


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_pipe_is_judged_like_a_file(kind: str, tmp_path: Path) -> None:
    path = clip(tmp_path, kind, 40)
    data, chance = path.read_bytes(), random.Random(0)
    for size in (len(data), *(chance.randrange(40, len(data)) for _ in range(8))):
        path.write_bytes(data[:size])
        stream, at = StreamEnd(), 0
        while at < size:
            step = chance.choice((1, 50, 5000, 70000))
            stream.feed(data[at : min(size, at + step)])
            at += step
        assert stream.end() == file_end(path)


def test_a_cut_within_the_header_of_a_program_streams_picture_is_told(tmp_path: Path) -> None:
    """Its decoder gives neither a frame nor an error for it."""
    whole = clip(tmp_path, "mpg", 30)
    with av.open(str(whole)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data, picture = whole.read_bytes(), packets[-1][:12]
    (cut := tmp_path / "cut.m2v").write_bytes(b"".join(packets[:-1]) + picture)
    assert data.count(picture[:4])
    with pytest.raises(TruncatedVideoError, match="its last frame is incomplete"):
        list(open_video(cut))


def _box(kind: bytes, body: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I4s", 8 + len(body) if size is None else size, kind) + body


def index(*sizes: int) -> bytes:
    """A segment index of parts of these sizes, which follow it."""
    parts = b"".join(struct.pack(">III", size, 1, 0) for size in sizes)
    return _box(b"sidx", bytes(20) + struct.pack(">HH", 0, len(sizes)) + parts)


FRAGMENTED = _box(b"ftyp") + _box(b"moov", _box(b"mvex"))
FRAGMENT = _box(b"moof") + _box(b"mdat", b"123456789012")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", UNKNOWN),
        (b"no video\n" * 100, UNKNOWN),
        (_box(b"ftyp", b"isom") + _box(b"moov", _box(b"trak")) + _box(b"mdat", b"12345678"), WHOLE),
        (_box(b"ftyp", b"isom") + _box(b"mdat", b"12345678"), End("its index (moov) is missing")),
        (
            2 * (_box(b"ftyp") + _box(b"mdat", b"1234") + _box(b"moov", _box(b"trak"))),
            End("a second video is joined to its end"),
        ),
        (_box(b"ftyp", b"isom") + _box(b"moov", _box(b"trak")) + _box(b"mdat", b"12345678", 0), UNKNOWN),
        (_box(b"ftyp") + _box(b"moov", _box(b"mvex")) + _box(b"moof") + _box(b"mdat", b"1234"), UNKNOWN),
        (FRAGMENTED + index(28) + FRAGMENT, UNKNOWN),  # the index of one segment; more may follow
        (FRAGMENTED + index(28, 28) + 2 * FRAGMENT, WHOLE),
        (FRAGMENTED + index(28, 28) + FRAGMENT, End("its index describes 136 bytes")),
        (
            _box(b"ftyp") + _box(b"moov", _box(b"mvex")) + _box(b"moof"),
            End("the data that its index describes is missing"),
        ),
        (_box(b"ftyp") + struct.pack(">I4sQ", 1, b"moov", 2**64 - 1), End("it ends within its index")),
        (b"RIFF" + bytes(4) + b"AVI " + b"00dc\4\0\0\0abcd", UNKNOWN),
        (b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\xff" + b"\xec\x82ab", UNKNOWN),
        (b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\xff" + b"\xec\x82a", End("it ends within a block")),
        (b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\x84abcd", WHOLE),
    ],
)
def test_structures_by_hand(data: bytes, expected: End, tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(data)
    assert file_end(path) == expected


@pytest.mark.parametrize("kind", CONTAINERS)
def test_no_bytes_break_the_check(kind: str, tmp_path: Path) -> None:
    path = clip(tmp_path, kind, 10)
    data, chance = path.read_bytes(), np.random.default_rng(0)
    for _ in range(100):
        wrong = np.frombuffer(data, np.uint8).copy()
        places = chance.integers(0, min(len(wrong), chance.choice((64, 1024, len(wrong)))), 8)
        wrong[places] = chance.choice(np.uint8([0, 1, 127, 255]), 8)
        path.write_bytes(wrong.tobytes())
        assert isinstance(file_end(path), End)
        path.write_bytes(data[: chance.integers(0, 64)] + chance.bytes(200))
        assert isinstance(file_end(path), End)


# Animated images

DURATIONS = [50, 100, 200, 40, 1000, 30, 80, 500]


def animation(path: Path, frames: int = 8) -> Path:
    images = [Image.fromarray(scene(8 * number)) for number in range(frames)]
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    more = {"save_all": True, "append_images": images[1:], "duration": DURATIONS[:frames]} if frames > 1 else {}
    images[0].save(path, **more, **lossless)
    return path


needs_avif = pytest.mark.skipif(".avif" not in Image.registered_extensions(), reason="this Pillow reads no AVIF")
SUFFIXES = [".gif", ".png", ".webp", pytest.param(".avif", marks=needs_avif)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_animated_images_give_every_frame_at_its_time(suffix: str, tmp_path: Path) -> None:
    source = open_video(animation(tmp_path / f"a{suffix}"))
    frames = list(source)
    assert (source.frames, source.live, len(frames)) == (8, False, 8)
    assert [frame.time_s for frame in frames] == pytest.approx(np.cumsum([0, *DURATIONS[:-1]]) / 1000)
    for frame in frames:
        assert np.abs(frame.image.astype(int) - scene(8 * frame.number)).mean() < 4
        assert not frame.image.flags.writeable


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_still_images_are_no_videos_and_cut_animations_are_told(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(MienError, match="is an image, not a video"):
        open_video(animation(tmp_path / f"still{suffix}", frames=1))
    path = animation(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(TruncatedVideoError, match="truncated"):
            list(open_video(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_animations_above_the_limit_are_refused(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = animation(tmp_path / f"a{suffix}")
    monkeypatch.setattr("mien.media.video.image_frames.WHOLE_PIXELS", 96 * 64 - 1)
    with pytest.raises(MienError, match="the limit is"):
        open_video(path)


def test_an_animation_can_be_closed_early(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.webp")
    source = open_video(path)
    source.close()
    assert list(source) == []
    closing: Callable[[], None] = (source := open_video(path)).close
    assert len([closing() for _ in source]) == 1
