"""A folder of images that break readers: each is to be read right, or reported by name with its reason."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

UNREADABLE = ("empty.png", "huge.png", "text.jpg", "truncated.jpg")


PEAK_MB = "next(int(line.split()[1]) // 1024 for line in open('/proc/self/status') if line.startswith('VmHWM'))"
"""The process's own peak memory as an expression; `ru_maxrss` would count what the parent held when it forked."""


def write_png_of_zeros(path: Path, width: int, height: int, *, bits: int = 8) -> None:
    """A valid black PNG of any size at once: 30,000 x 30,000 are 1 MB of file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    # After a full flush the packed form of a row depends on nothing before it, so one row is packed and repeated.
    row = bytes(width * bits // 8 + 1)
    packer = zlib.compressobj(9, wbits=-15)
    packed_row = packer.compress(row) + packer.flush(zlib.Z_FULL_FLUSH)
    adler = struct.pack(">HH", len(row) * height % 65521, 1)
    packed = b"\x78\xda" + packed_row * height + packer.flush() + adler
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))


def scene(height: int = 90, width: int = 120) -> NDArray[np.uint8]:
    """Red left half, green right half, a blue band at the top: tells colours, sides and turns apart."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = (220, 30, 30)
    image[:, width // 2 :] = (30, 200, 40)
    image[: height // 4] = (20, 40, 210)
    return image


def make_hostile_folder(folder: Path, *, huge_edge: int = 30_000) -> Path:
    folder.mkdir()
    image = Image.fromarray(scene())
    image.save(folder / "whole.jpg", quality=95)
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(folder / "truncated.jpg", exif=_exif_with_thumbnail())
    whole = (folder / "truncated.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("this is not an image\n")
    (folder / "empty.png").write_bytes(b"")
    ramp = np.linspace(0, 65535, 120).astype(np.uint16)[None].repeat(90, axis=0)
    cv2.imwrite(str(folder / "grey16.png"), ramp)
    cv2.imwrite(str(folder / "colour16.png"), scene()[..., ::-1].astype(np.uint16) * 257)
    frames = [Image.fromarray(f) for f in (scene(), 255 - scene(), scene()[:, ::-1])]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:], duration=100)
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    image.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", quality=95, exif=exif)
    rgba = np.dstack([scene(), np.full((90, 120), 255, np.uint8)])
    rgba[60:, :, 3] = 0
    Image.fromarray(rgba).save(folder / "rgba.png")
    Image.fromarray(scene()[:1, :1]).save(folder / "one.png")
    image.quantize(16).save(folder / "palette.png")
    image.convert("LA").save(folder / "la.png")
    image.convert("1").save(folder / "bits.png")
    image.save(folder / "plain.tiff")
    image.save(folder / "plain.webp", lossless=True)
    image.save(folder / "plain.bmp")
    write_png_of_zeros(folder / "huge.png", huge_edge, huge_edge)
    return folder


def _exif_with_thumbnail() -> bytes:
    """EXIF data in which a whole JPEG, with its own end marker, is hidden."""
    return b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + b"\xff\xd8\xff\xd9"
