"""What a type checker knows of results: mypy reads this file, nothing runs it."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import assert_type

import numpy as np
from PIL import Image

import mien
from mien import Face, ImageResult, Results
from mien.recognition.outputs import OutputSummary
from mien.recognition.watch import Watch
from mien.results.videos import TrackedFace

array = np.zeros((9, 9, 3), np.uint8)

assert_type(mien.predict("a.jpg"), ImageResult)
assert_type(mien.predict(Path("a.jpg")), ImageResult)
assert_type(mien.predict(b"..."), ImageResult)
assert_type(mien.predict(BytesIO()), ImageResult)
with Path("a.jpg").open("rb") as file:
    assert_type(mien.predict(file), ImageResult)
assert_type(mien.predict(Image.new("RGB", (9, 9))), ImageResult)
assert_type(mien.predict(array), ImageResult)
assert_type(mien.predict(np.zeros((9, 9)), color="bgr"), ImageResult)

assert_type(mien.predict(["a.jpg"]), Results)
assert_type(mien.predict([array, array]), Results)
assert_type(mien.predict(("a.jpg", array)), Results)
assert_type(mien.predict(path for path in Path().iterdir()), Iterator[ImageResult])

assert_type(mien.Recognizer().predict("a.jpg"), ImageResult)
assert_type(mien.Recognizer().predict(["a.jpg"]), Results)
assert_type(mien.Recognizer().stream(["a.jpg"]), Iterator[ImageResult])

assert_type(mien.predict("a.jpg")[0], Face)
assert_type(mien.predict("a.jpg")[:1], ImageResult)
assert_type(mien.predict(["a.jpg"])[0], ImageResult)
assert_type(mien.predict(["a.jpg"])[:1], Results)
assert_type(mien.predict("a.jpg")[0].box.xyxy, tuple[float, float, float, float])
assert_type(mien.predict("a.jpg")[0].top(3), tuple[tuple[str, float], ...])
assert_type(mien.predict("a.jpg").filter(expression="happy"), ImageResult)

assert_type(mien.watch("a.mp4"), Watch)
assert_type(mien.watch("a.mp4", out="a"), OutputSummary)
assert_type(next(iter(mien.watch("a.mp4")))[0], TrackedFace)
