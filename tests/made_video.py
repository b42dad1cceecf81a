"""Small real clips for tests, encoded by PyAV: any codec that its wheel has, with or without sound."""

from __future__ import annotations

import io
import struct
import threading
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.images import read_image
from mien.media.video.frames import Frame
from places import ASTRONAUT

TONE_RATE = 48000


def scene(number: int, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3): red left, green right, blue below; the blue part grows brighter with the frame's number."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = (200, 30, 30)
    image[:, width // 2 :] = (30, 180, 30)
    image[height // 2 :] = (30, 30, 60 + 3 * (number % 60))
    return image


def noise(number: int, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3): what no encoder makes small, so that a file's bytes are spread over its frames."""
    coarse = np.random.default_rng(number).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


def make_clip(
    path: Path,
    *,
    frames: int = 25,
    size_wh: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: int = 25,
    times_s: Sequence[float] | None = None,
    sound: str | None = None,
    sound_s: float | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    image_of: Callable[[int, int, int], NDArray[np.uint8]] = scene,
) -> Path:
    """A clip of `scene`s or other images. times_s: of each frame; None: evenly. sound: the codec of a 440 Hz tone as
    long as the video.

    The container goes by the path's suffix.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        video = container.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height, video.pix_fmt = *size_wh, pixels
        unit = video.codec_context.time_base = Fraction(1, 1000) if times_s else Fraction(1, rate)
        audio = container.add_stream(sound, rate=TONE_RATE) if sound else None
        for number in range(frames):
            image = image_of(number, *size_wh)
            if "a" in pixels.replace("gray", "") and pixels != "yuvj420p":
                alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
                alpha[:, : size_wh[0] // 4] = 0
                frame = av.VideoFrame.from_ndarray(np.concatenate([image, alpha], axis=2), format="rgba")
            else:
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = round(times_s[number] * 1000) if times_s else number
            frame.time_base = unit
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            _tone(container, audio, sound_s if sound_s is not None else frames / rate)
    return path


def _tone(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    total = round(seconds * TONE_RATE)
    wave = (0.3 * 32767 * np.sin(np.arange(total) * (2 * np.pi * 440 / TONE_RATE))).astype(np.int16)
    for start in range(0, total, 960):
        block = np.repeat(wave[start : start + 960], 2)[None]
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = TONE_RATE, start, Fraction(1, TONE_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def turn_clip(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Writes a display matrix (a, b, c, d) into the video track of an MP4 file, as phones do."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (65536 * value for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))


def container_times(path: Path, stream_type: str = "video") -> list[float]:
    """Seconds of each decoded frame since the first, by a bare PyAV loop."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == stream_type)
        stamps = [float(frame.pts * frame.time_base) for frame in container.decode(stream)]
    return [stamp - stamps[0] for stamp in stamps]


def astronaut_clip(path, frames=30, rate=15, size=256):
    """A smiling face that moves a little to the right, H.264 with a tone."""
    image = read_image(ASTRONAUT)[:size, 90 : 90 + size + frames]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate)
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=44100)
        for i in range(frames):
            shown = np.ascontiguousarray(image[:, frames - i : frames - i + size])
            container.mux(video.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(video.encode(None))
        wave = np.sin(np.arange(44100 * frames // rate) / 10).astype(np.float32)[None]
        for start in range(0, wave.shape[1], 1024):
            part = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 1024]), "fltp", "mono")
            part.sample_rate, part.pts = 44100, start
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
    return path


def animated(kind: str, frames: int) -> bytes:
    """An animated image with a frame every 40 ms."""
    images = [Image.fromarray(noise(index)) for index in range(frames)]
    buffer = io.BytesIO()
    images[0].save(buffer, kind, save_all=True, append_images=images[1:], duration=40)
    return buffer.getvalue()


def is_scene(frame: Frame, number: int) -> bool:
    expected = scene(number, *frame.image.shape[1::-1])
    return bool(np.abs(frame.image.astype(int) - expected)[2:-2, 2:-2].mean() < 4)


def assert_ends_when_closed(source: object) -> None:
    ended = threading.Event()

    def read() -> None:
        for _ in source:  # type: ignore[attr-defined]
            pass
        ended.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    time.sleep(0.3)
    assert not ended.is_set()
    source.close()  # type: ignore[attr-defined]
    assert ended.wait(5)
