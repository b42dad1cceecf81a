"""Makes the two images of the README from the shipped photograph.

    python scripts/readme_images.py [--out docs/readme]

photo.webp: the photograph as `mien predict --annotate` draws it, beside the probabilities of the face.
turning.webp: an animation. The photograph turns full circle; each frame is recognised and drawn by itself.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import mien
from mien.labels import color_rgb

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "src/mien/examples/astronaut.png"
FRAMES, FRAME_MS, SIDE = 48, 110, 360
WHITE, BLACK, GREY = (255, 255, 255), (30, 30, 30), (232, 232, 232)


def panel_of(face: mien.Face, height: int, width: int) -> Image.Image:
    """The probabilities of a face as bars, the most likely first."""
    panel = Image.new("RGB", (width, height), WHITE)
    draw, rows = ImageDraw.Draw(panel), face.top(len(face.probabilities))
    step, font = height / len(rows), ImageFont.load_default(height // 26)
    left, right = round(width * 0.36), round(width * 0.82)
    for number, (label, probability) in enumerate(rows):
        middle = round(step * (number + 0.5))
        bar = (left, middle - height // 50, left + (right - left) * probability, middle + height // 50)
        draw.text((width * 0.04, middle), label, BLACK, font, anchor="lm")
        draw.rectangle((left, bar[1], right, bar[3]), GREY)
        draw.rectangle(bar, color_rgb(label))
        draw.text((right + width * 0.03, middle), f"{probability:.3f}", BLACK, font, anchor="lm")
    return panel


def photo_image() -> Image.Image:
    """The drawn photograph beside its panel."""
    result = mien.predict(PHOTO)
    drawn = Image.fromarray(result.plot())
    panel = panel_of(result[0], drawn.height, round(drawn.width * 0.75))
    whole = Image.new("RGB", (drawn.width + panel.width, drawn.height), WHITE)
    whole.paste(drawn, (0, 0))
    whole.paste(panel, (drawn.width, 0))
    return whole


def turned(photo: Image.Image, degrees: float) -> NDArray[np.uint8]:
    """The photograph turned about its middle, in a smaller frame, with grey corners."""
    small = photo.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(small.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=(96, 96, 96)))


def turning_frames() -> list[Image.Image]:
    """Frames of the turning photograph, each recognised and drawn by itself."""
    photo, recognizer = Image.open(PHOTO).convert("RGB"), mien.Recognizer()
    frames = []
    for number in range(FRAMES):
        result = recognizer.predict(turned(photo, 360 * number / FRAMES))
        frames.append(Image.fromarray(result.plot()))
        print(number, *(f"{face.expression} {face.confidence:.2f}" for face in result))
    return frames


def main() -> None:
    """Writes both files, and prints what was recognised and their sizes."""
    parser = argparse.ArgumentParser(description="Makes the two images of the README.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/readme")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    photo_image().save(out / "photo.webp", quality=88, method=6)
    first, *others = turning_frames()
    animation = io.BytesIO()
    first.save(animation, "WEBP", save_all=True, append_images=others, duration=FRAME_MS, loop=0, quality=60, method=6)
    (out / "turning.webp").write_bytes(animation.getvalue())
    for path in sorted(out.glob("*.webp")):
        print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
