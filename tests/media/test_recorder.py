"""Recordings out: exact times, any size, the source's sound, and files that survive a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from places import SHARED

av = pytest.importorskip("av")

from made_video import container_times, make_clip, scene  # noqa: E402
from mien.errors import OutputError, VideoError  # noqa: E402
from mien.media.video.opening import open_video  # noqa: E402
from mien.media.video.recorder import Recorder, open_recorder  # noqa: E402

MEDIA = SHARED / "media"


def record(source: Path, out: Path, *, frames: int | None = None, sound: bool = True) -> int:
    """Records the first frames of a clip; returns how many."""
    opened = open_video(source)
    with open_recorder(out, rate=opened.rate, sound_of=source if sound else None) as recorder:
        for frame in opened:
            recorder.write(frame.image, frame.time_s)
            if recorder.frames == frames:
                break
    return recorder.frames


def seconds(path: Path, kind: str) -> float:
    """Until the end of the last packet of a track."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        packets = [p for p in container.demux(stream) if p.pts is not None]
        return float(max(p.pts + p.duration for p in packets) * stream.time_base)


def loudness(path: Path) -> list[float]:
    """Of each 100 ms of the sound, and its codec's name."""
    with av.open(str(path)) as container:
        samples = [frame.to_ndarray().astype(float).mean(axis=0) for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].codec_context.sample_rate
    wave = np.concatenate(samples)
    return [float(np.sqrt((part**2).mean())) for part in np.array_split(wave, round(10 * len(wave) / rate))]


def test_what_comes_back_is_what_was_written(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.1, 0.5, 0.51, 1.7, 1.74]
    out = tmp_path / "out.mp4"
    with open_recorder(out, rate=25, quality=10) as recorder:
        for number, time_s in enumerate(times):
            recorder.write(scene(number), time_s)
    frames = list(open_video(out))
    assert [f.time_s for f in frames] == pytest.approx(times, abs=1e-4)
    for frame in frames:
        assert np.abs(frame.image.astype(int) - scene(frame.number))[2:-2, 2:-2].mean() < 4
    with av.open(str(out)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, container.streams.video[0].start_time) == ("h264", "yuv420p", 0)


def test_a_real_clip_keeps_times_duration_and_sound(tmp_path: Path) -> None:
    source = MEDIA / "short-one-face.mp4"
    if not source.is_file():
        pytest.skip(f"{source} is not there")
    out = tmp_path / "out.mp4"
    assert record(source, out) == 72
    assert np.abs(np.subtract(container_times(out), container_times(source))).max() < 1e-4
    assert seconds(out, "video") == pytest.approx(seconds(source, "video"), abs=1 / 30)
    assert seconds(out, "audio") == pytest.approx(min(seconds(source, "audio"), seconds(out, "video")), abs=0.03)


@pytest.mark.parametrize(
    ("name", "codec", "sound", "kept_as"),
    [
        ("a.mp4", "libx264", "aac", "aac"),
        ("a.mkv", "libx264", "libmp3lame", "mp3"),
        ("a.mkv", "libx264", "ac3", "ac3"),
        ("a.webm", "libvpx-vp9", "libopus", "opus"),
        ("a.mkv", "libx264", "pcm_s16le", "aac"),
        ("a.ts", "libx264", "aac", "aac"),
        ("a.mkv", "libx264", "flac", "aac"),
    ],
)
def test_sound_is_kept_and_cut_at_the_end(name: str, codec: str, sound: str, kept_as: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / name, frames=50, codec=codec, sound=sound, sound_s=4)
    out = tmp_path / "out.mp4"
    assert record(source, out) == 50
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == kept_as
    assert seconds(out, "video") == pytest.approx(2.0, abs=0.001)
    assert seconds(out, "audio") == pytest.approx(2.0, abs=0.04)
    loud = loudness(out)
    assert len(loud) == pytest.approx(20, abs=1)
    assert min(loud[1:-1]) > 0.5 * max(loud) > 0


def test_sound_stays_beside_its_image(tmp_path: Path) -> None:
    """A copying cutter's lead-in: three frames before the sound."""
    source = MEDIA / "no-face.mp4"
    if not source.is_file():
        pytest.skip(f"{source} is not there")
    out = tmp_path / "out.mp4"
    assert record(source, out, frames=40) == 40
    packets = []
    for path in (source, out):
        with av.open(str(path)) as container:
            packets.append([(bytes(p), float(p.pts * p.time_base)) for p in container.demux(audio=0) if p.size])
    old, new = (dict(part) for part in packets)
    shifts = [time_s - old[data] for data, time_s in new.items()]
    assert len(shifts) > 60
    assert shifts == pytest.approx([0.125] * len(shifts), abs=0.02)  # less than a packet


def test_a_source_without_sound_and_one_that_is_gone(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "mute.mp4", frames=5)
    assert record(source, tmp_path / "out.mp4") == 5
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio
    with pytest.raises(VideoError, match="no such file"):
        open_recorder(tmp_path / "b.mp4", rate=25, sound_of=tmp_path / "gone.mp4")
    assert not (tmp_path / "b.mp4").exists()


def test_odd_sizes_and_other_sizes(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with open_recorder(out, rate=10, quality=5) as recorder:
        recorder.write(scene(0, 97, 65), 0.0)
        recorder.write(scene(0, 97, 130), 0.1)
        recorder.write(scene(0, 49, 33), 0.2)
        recorder.write(np.ascontiguousarray(scene(0, 194, 132))[::2, ::2], 0.3)  # not contiguous
    images = [frame.image.astype(int) for frame in open_video(out)]
    assert {p.shape for p in images} == {(66, 98, 3)}
    assert np.abs(images[0][4:61, 4:93] - scene(0, 97, 65)[4:61, 4:93]).mean() < 6
    assert images[1][:, :20].max() < 24  # black bars
    assert np.abs(images[1][10, 35] - (200, 30, 30)).max() < 24
    assert np.abs(images[2][10, 20] - (200, 30, 30)).max() < 24


def test_times_that_do_not_grow_are_set_apart(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with open_recorder(out, rate=None) as recorder:
        for time_s in (5.0, 5.1, 5.1, 5.05, 5.2):
            recorder.write(scene(0), time_s)
    times = container_times(out)
    assert times == sorted(set(times))
    assert times[-1] == pytest.approx(0.2, abs=1e-4)


def test_a_killed_recording_plays_to_its_last_fragment(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=10, sound="aac", sound_s=8)
    out = tmp_path / "out.mp4"
    out.write_text("an older file")
    script = (
        "import sys, numpy as np\n"
        "from mien.media.video.recorder import open_recorder\n"
        "noise = np.random.default_rng(0).integers(0, 255, (8, 64, 96, 3), np.uint8)\n"
        "recorder = open_recorder(sys.argv[1], rate=25, sound_of=sys.argv[2])\n"
        "for number in range(150):\n"
        "    recorder.write(noise[number % 8], number / 25)\n"
        "print('there', flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, out, source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "there\n"
        child.send_signal(signal.SIGKILL)
    frames = list(open_video(out))
    assert 100 <= len(frames) <= 150
    assert frames[-1].time_s == pytest.approx((len(frames) - 1) / 25, abs=1e-4)
    assert seconds(out, "audio") > 3.5


def test_nothing_is_lost_when_the_block_fails(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt), open_recorder(out, rate=25) as recorder:
        for number in range(30):
            recorder.write(scene(number), number / 25)
        raise KeyboardInterrupt
    assert len(list(open_video(out))) == 30
    recorder.close()
    with pytest.raises(VideoError, match="is closed"):
        recorder.write(scene(0), 2.0)


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    open_recorder(out, rate=25).close()
    assert not out.exists()


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=5)
    (tmp_path / "folder.mp4").mkdir()
    before = source.read_bytes()
    for place, message in (
        (tmp_path / "gone" / "a.mp4", "can't be written"),
        (tmp_path / "folder.mp4", "can't be written"),
        (tmp_path / "a.avi", "ends in .mp4"),
        (source, "is the source itself"),
    ):
        with pytest.raises(OutputError, match=message) as error:
            open_recorder(place, rate=25, sound_of=source)
        assert str(place) in str(error.value)
    assert source.read_bytes() == before
    with pytest.raises(ValueError, match="expected 0 to 51"):
        open_recorder(tmp_path / "b.mp4", rate=25, quality=52)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (4, 64, 96, 3), np.uint8)
    recorder = open_recorder("/dev/full", rate=25)
    with pytest.raises(OutputError, match="/dev/full: can't be written on"):
        write_much(recorder, list(noise))


def write_much(recorder: Recorder, images: list[np.ndarray]) -> None:
    with recorder:
        for number in range(200):
            recorder.write(images[number % len(images)], number / 25)
