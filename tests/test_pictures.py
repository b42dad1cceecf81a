"""Reading pictures: every kind comes out right, and every broken one is an error that says why."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hostile_pictures import make_hostile_folder, scene, write_png_of_zeros
from mien.errors import PictureError
from mien.pictures import as_picture, decode_picture, read_picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hostile_folder(tmp_path_factory.mktemp("hostile") / "pictures")


def assert_scene(picture: np.ndarray, tolerance: int) -> None:
    assert picture.shape == (90, 120, 3)
    assert picture.dtype == np.uint8
    for y, x in ((10, 30), (10, 90), (45, 30), (45, 90)):
        assert np.abs(picture[y, x].astype(int) - scene()[y, x]).max() <= tolerance, (y, x, picture[y, x])


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("whole.jpg", 6), ("cmyk.jpg", 8), ("turned.jpg", 6), ("animated.gif", 3), ("palette.png", 3), ("rgba.png", 0),
     ("colour16.png", 1), ("plain.tiff", 0), ("plain.webp", 0), ("plain.bmp", 0)],
)  # fmt: skip
def test_every_kind_has_the_right_colours_the_right_way_up(folder: Path, name: str, tolerance: int) -> None:
    assert_scene(read_picture(folder / name), tolerance)


@pytest.mark.parametrize("name", ["whole.jpg", "grey16.png", "la.png", "bits.png", "rgba.png", "animated.gif"])
def test_grey_has_one_channel(folder: Path, name: str) -> None:
    grey = read_picture(folder / name, grey=True)
    assert grey.shape == (90, 120, 1)
    assert grey.dtype == np.uint8
    assert np.abs(grey.astype(int) - read_picture(folder / name).mean(axis=2, keepdims=True)).mean() < 40


def test_sixteen_bits_are_scaled_by_their_full_range(folder: Path) -> None:
    row = read_picture(folder / "grey16.png", grey=True)[0, :, 0]
    assert np.abs(row - np.linspace(0, 255, 120)).max() <= 1


def test_transparent_becomes_white(folder: Path) -> None:
    assert (read_picture(folder / "rgba.png")[60:] == 255).all()


def test_one_pixel(folder: Path) -> None:
    assert read_picture(folder / "one.png").tolist() == [[[20, 40, 210]]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("truncated.jpg", "truncated JPEG"), ("text.jpg", "not a picture"), ("empty.png", "empty"),
     ("huge.png", "30,000 x 30,000"), ("missing.png", "no such file"), ("", "is a folder")],
)  # fmt: skip
def test_broken_ones_are_named_with_their_reason(folder: Path, name: str, reason: str) -> None:
    with pytest.raises(PictureError, match=reason) as caught:
        read_picture(folder / name)
    assert str(caught.value).startswith(str(folder / name))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(PictureError, match="no permission"):
        read_picture(tmp_path / "a.png")


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(PictureError, match="no regular file"):
        read_picture(tmp_path / "pipe.png")


@pytest.mark.parametrize(
    "name", ["whole.jpg", "cmyk.jpg", "rgba.png", "palette.png", "grey16.png", "animated.gif", "plain.tiff",
             "plain.webp", "plain.bmp"]
)  # fmt: skip
def test_no_cut_or_damage_gets_past_picture_error(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(data[: rng.integers(1, len(data))])
        damaged[rng.integers(len(damaged))] ^= 0xFF
        try:
            decode_picture(bytes(damaged), "x")
        except PictureError as error:
            assert str(error).startswith("x: ")


@pytest.mark.parametrize("name", ["whole.jpg", "cmyk.jpg", "turned.jpg"])
def test_a_jpeg_cut_anywhere_is_an_error(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    for end in range(10, len(data) - 2, 97):
        with pytest.raises(PictureError):
            decode_picture(data[:end], "x")


def test_the_pixel_limit_holds_for_every_kind(folder: Path) -> None:
    for name in ("whole.jpg", "animated.gif", "plain.tiff", "plain.webp", "plain.bmp", "palette.png"):
        with pytest.raises(PictureError, match="120 x 90"):
            read_picture(folder / name, max_pixels=90 * 120 - 1)
        assert read_picture(folder / name, max_pixels=90 * 120).shape == (90, 120, 3)


def test_pillows_warnings_stay_inside(tmp_path: Path) -> None:
    # One bit a pixel goes through Pillow; 9,496 x 9,500 is above its limit for a warning and below ours.
    write_png_of_zeros(tmp_path / "large.png", 9_496, 9_500, bits=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(tmp_path / "large.png", grey=True).shape == (9_500, 9_496, 1)


def test_images_in_memory() -> None:
    assert_scene(as_picture(scene(), "a"), 0)
    assert_scene(as_picture(Image.fromarray(scene()), "a"), 0)
    assert as_picture(np.full((4, 5), 7, np.uint8), "a").tolist() == np.full((4, 5, 3), 7).tolist()
    clear = np.zeros((2, 2, 4), np.uint8)
    assert (as_picture(clear, "a") == 255).all()
    assert (as_picture(Image.new("RGBA", (2, 2)), "a") == 255).all()


@pytest.mark.parametrize(
    ("image", "reason"),
    [(np.full((4, 4, 3), -1.0), "values from -1"), (np.zeros((2, 4, 4, 3), np.uint8), "several as a list"),
     (np.zeros((4, 4, 2), np.uint8), "shape"), (np.zeros((0, 4, 3), np.uint8), "shape"), (7, "is a int")],
)  # fmt: skip
def test_what_is_no_image(image: object, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        as_picture(image, "a")
