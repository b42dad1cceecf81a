"""What a file is, by its first bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from mien.images import describe_file, image_kind
from places import ROOT

SCENE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))


def encoded(format_name: str, image: Image.Image = SCENE, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000"]
)  # fmt: skip
def test_every_kind_is_known_by_64_bytes(kind: str) -> None:
    assert image_kind(encoded(kind)[:64]) == kind


def test_variants_of_a_kind_are_that_kind() -> None:
    assert image_kind(encoded("MPO", save_all=True, append_images=[SCENE])) == "JPEG"
    assert image_kind(encoded("JPEG2000", no_jp2=True)) == "JPEG2000"
    assert image_kind(encoded("TIFF", big_tiff=True)) == "TIFF"
    assert image_kind(encoded("PPM", SCENE.convert("L").convert("F"))) == "PPM"


def box(*brands: bytes) -> bytes:
    """The first box of a file of the ISO family."""
    body = brands[0] + bytes(4) + b"".join(brands[1:])
    return (8 + len(body)).to_bytes(4, "big") + b"ftyp" + body


@pytest.mark.parametrize(
    ("brands", "kind", "words"),
    [
        ((b"avif", b"mif1"), "AVIF", "an AVIF image"),
        ((b"avis", b"msf1"), "AVIF", "an AVIF image"),
        ((b"mif1", b"miaf", b"avif"), "AVIF", "an AVIF image"),
        ((b"heic", b"mif1"), "HEIC", "a HEIC image"),
        ((b"heix", b"mif1"), "HEIC", "a HEIC image"),
        ((b"mif1", b"heic"), "HEIC", "a HEIC image"),
        ((b"msf1", b"hevc"), "HEIC", "a HEIC image"),
        ((b"isom", b"iso2", b"avc1", b"mp41"), None, "a video"),
        ((b"mp42", b"isom"), None, "a video"),
        ((b"qt  ",), None, "a video"),
        ((b"M4A ", b"isom"), None, "sound"),
        ((b"crx ", b"isom"), None, "a raw camera file"),
    ],
)
def test_one_container_is_told_apart_by_its_brands(brands: tuple[bytes, ...], kind: str | None, words: str) -> None:
    assert image_kind(box(*brands)) == kind
    assert describe_file(box(*brands)) == words


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "empty"),
        (b"P5 is a class; BM is a shop\n", "text"),
        (b"BMW/front.jpg\n", "text"),
        ("grüße\n".encode("latin-1"), "text"),
        ("a list\n".encode("utf-16"), "text"),
        (b"<!DOCTYPE html><title>404", "a web page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "an SVG drawing"),
        (b"PK\x03\x04\x14\x00", "a ZIP"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF"),
        (b"\x1a\x45\xdf\xa3\x01\x00", "a video"),
        (b"RIFF\x00\x00\x01\x00AVI LIST", "a video"),
        (b"RIFF\x00\x00\x01\x00WAVEfmt ", "sound"),
        (b"G" + bytes(187) + b"G" + bytes(100), "a video"),
        (bytes(257) + b"ustar\x0000", "an archive"),
        (b"\xff\x0a\xfa\x21", "a JPEG XL image"),
        (b"\0\0\1\0\1\0", "an icon (ICO)"),
        (b"\x76\x2f\x31\1\2\0", "an OpenEXR image"),
        (encoded("TGA"), "a TGA image"),
        (bytes(128) + b"DICM", "a DICOM image"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "a raw camera file"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (bytes(range(200)), "unknown"),
    ],
)
def test_what_is_no_image_is_said_in_words(head: bytes, words: str) -> None:
    assert image_kind(head) is None
    assert describe_file(head) == words


@pytest.mark.parametrize(
    ("tags", "kind"),
    [({}, "TIFF"), ({254: 1}, "TIFF"), ({254: 1, 330: 8}, None), ({50706: b"\1\4\0\0"}, None)],
    ids=["scan", "smaller version", "preview of a raw image", "DNG"],
)
def test_raw_images_of_cameras_are_no_tiffs(tags: dict[int, int | bytes], kind: str | None) -> None:
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
        directory.tagtype[tag] = 1 if isinstance(value, bytes) else 4
    file = io.BytesIO()
    Image.new("RGB", (16, 12)).save(file, "TIFF", tiffinfo=directory)
    assert image_kind(file.getvalue()[:512]) == kind
    assert describe_file(file.getvalue()[:512]) == ("a TIFF image" if kind else "a raw camera file")


def test_the_examples_of_the_package_are_images() -> None:
    examples = ROOT / "src" / "mien" / "examples"
    assert {image_kind(path.read_bytes()[:64]) for path in examples.glob("*.png")} == {"PNG"}
