"""Reading images: every kind comes out right, and every broken one is an error that says why."""

from __future__ import annotations

import io
import os
import struct
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hostile_images import make_hostile_folder, scene, write_png_of_zeros
from mien import images
from mien.errors import ImageError
from mien.images import as_image, decode_image, read_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hostile_folder(tmp_path_factory.mktemp("hostile") / "images")


def assert_scene(image: np.ndarray, tolerance: int) -> None:
    assert image.shape == (90, 120, 3)
    assert image.dtype == np.uint8
    for y, x in ((10, 30), (10, 90), (45, 30), (45, 90)):
        assert np.abs(image[y, x].astype(int) - scene()[y, x]).max() <= tolerance, (y, x, image[y, x])


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("whole.jpg", 6), ("cmyk.jpg", 8), ("turned.jpg", 6), ("animated.gif", 3), ("palette.png", 3), ("rgba.png", 0),
     ("colour16.png", 1), ("plain.tiff", 0), ("plain.webp", 0), ("plain.bmp", 0)],
)  # fmt: skip
def test_every_kind_has_the_right_colours_the_right_way_up(folder: Path, name: str, tolerance: int) -> None:
    assert_scene(read_image(folder / name), tolerance)


@pytest.mark.parametrize("name", ["whole.jpg", "grey16.png", "la.png", "bits.png", "rgba.png", "animated.gif"])
def test_grey_has_one_channel(folder: Path, name: str) -> None:
    grey = read_image(folder / name, grey=True)
    assert grey.shape == (90, 120, 1)
    assert grey.dtype == np.uint8
    assert np.abs(grey.astype(int) - read_image(folder / name).mean(axis=2, keepdims=True)).mean() < 40


def test_sixteen_bits_are_scaled_by_their_full_range(folder: Path) -> None:
    row = read_image(folder / "grey16.png", grey=True)[0, :, 0]
    assert np.abs(row - np.linspace(0, 255, 120)).max() <= 1


def test_transparent_becomes_white(folder: Path) -> None:
    assert (read_image(folder / "rgba.png")[60:] == 255).all()


def test_one_pixel(folder: Path) -> None:
    assert read_image(folder / "one.png").tolist() == [[[20, 40, 210]]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("truncated.jpg", "truncated JPEG"), ("text.jpg", "not an image"), ("empty.png", "empty"),
     ("huge.png", "30,000 x 30,000"), ("missing.png", "no such file"), ("", "is a folder")],
)  # fmt: skip
def test_broken_ones_are_named_with_their_reason(folder: Path, name: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(folder / name)
    assert str(caught.value).startswith(str(folder / name))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ImageError, match="no permission"):
        read_image(tmp_path / "a.png")


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="no regular file"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.parametrize(
    "name", ["whole.jpg", "cmyk.jpg", "rgba.png", "palette.png", "grey16.png", "animated.gif", "plain.tiff",
             "plain.webp", "plain.bmp"]
)  # fmt: skip
def test_no_cut_or_damage_gets_past_image_error(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(data[: rng.integers(1, len(data))])
        damaged[rng.integers(len(damaged))] ^= 0xFF
        try:
            decode_image(bytes(damaged), "x")
        except ImageError as error:
            assert str(error).startswith("x: ")


@pytest.mark.parametrize("name", ["whole.jpg", "cmyk.jpg", "turned.jpg"])
def test_a_jpeg_cut_anywhere_is_an_error(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    for end in range(10, len(data) - 2, 97):
        with pytest.raises(ImageError):
            decode_image(data[:end], "x")


def test_the_pixel_limit_holds_for_every_kind(folder: Path) -> None:
    for name in ("animated.gif", "plain.tiff", "plain.webp", "plain.bmp", "palette.png"):
        with pytest.raises(ImageError, match="120 x 90"):
            read_image(folder / name, max_pixels=90 * 120 - 1)
        assert read_image(folder / name, max_pixels=90 * 120).shape == (90, 120, 3)


def test_pillows_warnings_stay_inside(tmp_path: Path) -> None:
    # One bit a pixel goes through Pillow; 9,496 x 9,500 is above its limit for a warning and below ours.
    write_png_of_zeros(tmp_path / "large.png", 9_496, 9_500, bits=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "large.png", grey=True).shape == (9_500, 9_496, 1)


def test_images_in_memory() -> None:
    assert_scene(as_image(scene(), "a"), 0)
    assert_scene(as_image(Image.fromarray(scene()), "a"), 0)
    assert as_image(np.full((4, 5), 7, np.uint8), "a").tolist() == np.full((4, 5, 3), 7).tolist()
    clear = np.zeros((2, 2, 4), np.uint8)
    assert (as_image(clear, "a") == 255).all()
    assert (as_image(Image.new("RGBA", (2, 2)), "a") == 255).all()


@pytest.mark.parametrize(
    ("image", "reason"),
    [(np.full((4, 4, 3), -1.0), "values from -1"), (np.zeros((2, 4, 4, 3), np.uint8), "several as a list"),
     (np.zeros((4, 4, 2), np.uint8), "shape"), (np.zeros((0, 4, 3), np.uint8), "shape"), (7, "is a int")],
)  # fmt: skip
def test_what_is_no_image(image: object, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        as_image(image, "a")


def encoded(format_name: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(scene())).save(file, format_name, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("format_name", "options"),
    [("AVIF", {"quality": 95}), ("JPEG2000", {}), ("JPEG2000", {"no_jp2": True}), ("TIFF", {"big_tiff": True}),
     ("MPO", {"quality": 95, "save_all": True, "append_images": [Image.new("RGB", (9, 9))]})],
)  # fmt: skip
def test_further_formats(format_name: str, options: dict[str, object]) -> None:
    assert_scene(decode_image(encoded(format_name, **options), "x"), 8)


def test_the_first_image_of_several_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(scene()).transpose(Image.Transpose.ROTATE_90)
    several = encoded("MPO", turned, quality=95, exif=exif, save_all=True, append_images=[Image.new("RGB", (9, 9))])
    assert_scene(decode_image(several, "x"), 8)


def test_heic() -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra [heic]")
    heif.register_heif_opener()
    try:
        data = encoded("HEIF", quality=95)
    except RuntimeError as error:  # an installation that reads only
        pytest.skip(f"no encoder: {error}")
    assert_scene(decode_image(data, "x"), 10)
    with pytest.raises(ImageError, match="120 x 90"):
        decode_image(data, "x", max_pixels=10_000)
    with pytest.raises(ImageError, match="damaged HEIC"):
        decode_image(data[:-50], "x")


def test_heic_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"a.heic: is a HEIC image.*pip install 'mien\[heic\]'"):
        decode_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), "a.heic")


@pytest.mark.parametrize(("white", "dtype"), [(1, np.float32), (255, np.float32), (65535, np.float32), (1, np.float64)])
@pytest.mark.parametrize("colour", [True, False])
def test_floating_point_tiff(white: int, dtype: type, colour: bool) -> None:
    values = scene().astype(dtype) * (white / 255)
    values[0, 0] = white
    stored = values[..., ::-1] if colour else values[..., 0]
    image = decode_image(cv2.imencode(".tiff", np.ascontiguousarray(stored))[1].tobytes(), "x")
    if colour:
        assert_scene(image, 1)
    else:
        assert np.abs(image[..., 0].astype(int) - np.rint(values[..., 0] * 255 / white)).max() <= 1


@pytest.mark.parametrize(
    ("high", "reason"), [(7.5, "from 0 to 7.5; expected a range of 0 to 1"), (np.nan, "not numbers"), (1e6, "expected")]
)
def test_floating_point_of_unknown_range_is_not_called_damaged(high: float, reason: str) -> None:
    values = np.zeros((20, 30), np.float32)
    values[5, 5] = high
    with pytest.raises(ImageError, match=reason):
        decode_image(encoded("TIFF", Image.fromarray(values)), "x")


NOISY = Image.fromarray(np.random.default_rng(3).integers(0, 255, (64, 80, 3), np.uint8)).resize((160, 128))
JPEGS = {
    "baseline": encoded("JPEG", NOISY),
    "optimised": encoded("JPEG", NOISY, optimize=True, quality=40),
    "progressive": encoded("JPEG", NOISY, progressive=True),
    "cmyk": encoded("JPEG", NOISY.convert("CMYK")),
    "grey": encoded("JPEG", NOISY.convert("L")),
    "flat": encoded("JPEG", Image.new("RGB", (160, 128), (200, 40, 90))),
    **{
        f"restart-{interval}": cv2.imencode(".jpg", np.asarray(NOISY), [cv2.IMWRITE_JPEG_RST_INTERVAL, interval])[
            1
        ].tobytes()
        for interval in (1, 3, 10)
    },
    "flat-restart-1": cv2.imencode(
        ".jpg", np.full((128, 160, 3), 90, np.uint8), [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]
    )[1].tobytes(),
}  # fmt: skip


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_that_lacks_its_end_marker_alone_is_read(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = JPEGS[name]
    for lacking in (data[:-1], data[:-2], data[:-2] + bytes(2000)):
        assert (decode_image(lacking, "x") == decode_image(data, "x")).all()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_that_lacks_pixels_is_refused(name: str) -> None:
    data = JPEGS[name]
    whole = decode_image(data, "x")
    for cut in (*range(3, 40), len(data) // 20, len(data) // 3):
        for tail in (b"", bytes(1000)):
            try:  # a last byte may hold nothing but padding
                assert (decode_image(data[:-cut] + tail, "x") == whole).all()
            except ImageError as error:
                assert "truncated JPEG" in str(error)
    with pytest.raises(ImageError, match="truncated JPEG"):
        decode_image(data[: -len(data) // 4] + bytes(10_000), "x")


def test_a_progressive_jpeg_that_lacks_a_scan_is_refused() -> None:
    data = JPEGS["progressive"]
    last_scan = data.rfind(b"\xff\xda")
    for end in (last_scan, data.rfind(b"\xff\xc4", 0, last_scan)):  # with and without the tables of the last scan
        with pytest.raises(ImageError, match="truncated JPEG"):
            decode_image(data[:end], "x")


def test_a_png_that_lacks_its_end_alone_is_read() -> None:
    data = encoded("PNG", NOISY)
    whole = decode_image(data, "x")
    for cut in (12, 13, 16):  # the chunk IEND; the checksum of the pixels before it
        assert (decode_image(data[:-cut], "x") == whole).all()
    for cut in (20, 40, len(data) // 2):
        with pytest.raises(ImageError, match="truncated PNG"):
            decode_image(data[:-cut], "x")


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "JPEG2000"])
@pytest.mark.parametrize("mode", ["RGB", "CMYK", "P", "RGBA"])
def test_large_images_come_smaller(format_name: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "WHOLE_PIXELS", 120 * 90 // 2)
    try:
        data = encoded(format_name, Image.fromarray(scene()).convert(mode))
    except (OSError, ValueError):
        pytest.skip(f"{format_name} knows no {mode}")
    image = decode_image(data, "x")
    assert image.shape == (45, 60, 3)
    assert np.abs(image[30, 15].astype(int) - (220, 30, 30)).max() < 30
    assert decode_image(data, "x", grey=True).shape == (45, 60, 1)


def test_a_jpeg_above_the_limit_comes_smaller_and_upright(folder: Path) -> None:
    assert read_image(folder / "turned.jpg", max_pixels=90 * 120 - 1).shape == (45, 60, 3)
    assert read_image(folder / "whole.jpg", max_pixels=90 * 120 // 10).shape == (23, 30, 3)


def test_no_jpeg_is_above_250_million_pixels() -> None:
    data = bytearray(encoded("JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 40_000, 40_000)
    with pytest.raises(ImageError, match=r"1,600 million pixels, the limit is 250"):
        decode_image(bytes(data), "x")


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"\0\0\0\x18ftypisom\0\0\0\0", "not an image but a video"), (b"%PDF-1.7", "by its content a PDF"),
     (b"<svg xmlns='x'/>", "SVG drawing, which can't be read"), (b"\xff\x0a\1\2", "JPEG XL image, which can't")],
)  # fmt: skip
def test_what_is_something_else_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode_image(data, "x")


def test_files_in_memory_and_floats_say_what_to_do(folder: Path) -> None:
    assert_scene(as_image(bytearray((folder / "plain.bmp").read_bytes()), "a"), 0)
    with pytest.raises(ImageError, match="may be of 0 to 1 or 0 to 255"):
        as_image(np.ones((4, 4, 3)), "a")
