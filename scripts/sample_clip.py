"""Makes the sample clip of the page from the astronaut: a call in which the camera moves and a second face joins.

    python scripts/sample_clip.py

The faces are one photo, whose second copy is mirrored; nothing of an expression is changed.
"""

from __future__ import annotations

import math
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from mien.images import read_image

EXAMPLES = Path(__file__).parent.parent / "src" / "mien" / "examples"
WIDTH, HEIGHT, RATE, SECONDS = 512, 288, 15, 8
FACE_X, FACE_Y = 224, 119  # in the photo
MOST_BYTES = 150_000


def main() -> None:
    """Writes the clip."""
    astronaut = read_image(EXAMPLES / "astronaut.png")
    path = EXAMPLES / "clip.mp4"
    options = {"crf": "33", "preset": "veryslow", "threads": "1"}
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(RATE * SECONDS):
            frame = av.VideoFrame.from_ndarray(scene(astronaut, number / RATE), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    size = path.stat().st_size
    print(f"{path.name}: {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"{path}: has more than {MOST_BYTES:,} bytes; raise crf")


def scene(astronaut: NDArray[np.uint8], time_s: float) -> NDArray[np.uint8]:
    """The image at a time, uint8 RGB (HEIGHT, WIDTH, 3)."""
    swing = math.sin(time_s * 1.1)
    joined = ease((time_s - 3) / 1.2) - ease((time_s - 6.6) / 1.2)
    middle = 0.42 * WIDTH * (1 - 0.4 * joined) + 0.04 * WIDTH * swing
    frame = placed(astronaut, FACE_X, WIDTH, middle, zoom=1.15 + 0.12 * swing, turn_deg=14 * swing)
    width = round(0.46 * WIDTH * joined)
    if width > 0:
        mirrored = np.ascontiguousarray(astronaut[:, ::-1])
        turn_deg = -11 * math.sin(time_s * 1.7)
        panel = placed(mirrored, astronaut.shape[1] - FACE_X, WIDTH // 2, 0.23 * WIDTH, zoom=0.95, turn_deg=turn_deg)
        frame[:, WIDTH - width :] = panel[:, :width]
        frame[:, WIDTH - width : WIDTH - width + 4] = 255
    dark = ease((time_s - 5) / 0.8) * (1 - ease((time_s - 6.2) / 0.8))
    return (frame * (1 - 0.5 * dark)).astype(np.uint8)


def ease(share: float) -> float:
    """0 before, 1 after, smooth between."""
    share = min(1.0, max(0.0, share))
    return share * share * (3 - 2 * share)


def placed(
    image: NDArray[np.uint8], face_x: int, width: int, at_x: float, *, zoom: float, turn_deg: float
) -> NDArray[np.uint8]:
    """The image turned about its face, which is moved to `at_x` and the middle of the height; (HEIGHT, width, 3)."""
    matrix = cv2.getRotationMatrix2D((face_x, FACE_Y), turn_deg, zoom)
    matrix[:, 2] += (at_x - face_x, 0.47 * HEIGHT - FACE_Y)
    moved = cv2.warpAffine(image, matrix, (width, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8)


if __name__ == "__main__":
    main()
