"""Drawings: nothing leaves the image, nothing touches the original, labels do not cover each other."""

from __future__ import annotations

import numpy as np
import pytest

from mien.images import decode_image
from mien.labels import color_rgb
from mien.results import Box, Face, ImageResult
from mien.results.draw import draw_faces, encode_image


def face(box: tuple[float, float, float, float], expression: str = "happy", *, abstained: bool = False) -> Face:
    return Face(Box(*box), 0.9, expression, 0.8, {expression: 0.8, "sad": 0.2}, abstained)


@pytest.mark.parametrize("size", [(120, 160), (667, 1000), (2160, 3840), (1, 1), (9, 300), (48, 48)])
def test_any_size_and_any_box(size: tuple[int, int]) -> None:
    height, width = size
    image = np.full((height, width, 3), 128, np.uint8)
    boxes = [
        (0.3 * width, 0.3 * height, 0.5 * width, 0.6 * height),
        (-50, -50, 2, 2),
        (width - 2, height - 2, 9e4, 9e4),
    ]
    drawn = draw_faces(image, [face(box) for box in boxes])
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (image == 128).all()
    assert (drawn != image).any()


def test_no_faces_is_a_copy() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    drawn = draw_faces(image, [])
    assert drawn is not image
    assert (drawn == image).all()


def test_colour_says_the_expression_and_grey_says_unsure() -> None:
    image = np.full((300, 400, 3), 200, np.uint8)
    drawn = draw_faces(image, [face((100, 100, 200, 220), "sad")])
    assert drawn[160, 100].tolist() == list(color_rgb("sad"))
    unsure = draw_faces(image, [face((100, 100, 200, 220), "sad", abstained=True)])
    assert len(set(unsure[160, 100].tolist())) == 1


def test_labels_of_neighbours_do_not_cover_each_other() -> None:
    names = ("happy", "angry", "fear", "surprise")
    image = np.zeros((600, 800, 3), np.uint8)
    faces = [face((200 + 60 * i, 250, 250 + 60 * i, 310), name) for i, name in enumerate(names)]
    together = draw_faces(image, faces)
    for one in faces:
        color = np.array(color_rgb(one.expression))
        plate = (together == color).all(axis=2).sum()
        alone = (draw_faces(image, [one]) == color).all(axis=2).sum()
        assert plate > 0.45 * alone  # smaller and shorter perhaps, but there


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_encoding_keeps_the_colours(suffix: str) -> None:
    image = np.full((16, 16, 3), (200, 40, 10), np.uint8)
    again = decode_image(encode_image(image, suffix), "x")
    assert np.abs(again.astype(int) - image).max() <= 3


def test_notebook() -> None:
    image = np.zeros((1500, 3000, 3), np.uint8)
    result = ImageResult("x.png", 3000, 1500, (face((10, 10, 500, 500)),), image=image)
    png = result._repr_png_()
    assert png is not None
    assert decode_image(png, "x").shape == (512, 1024, 3)
    assert ImageResult("gone.png", 3, 3)._repr_png_() is None
    assert ImageResult("gone.png", 0, 0, error="gone.png: no such file")._repr_png_() is None
