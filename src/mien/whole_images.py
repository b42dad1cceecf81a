"""Checks JPEG and PNG files before they are decoded: their size, and whether all their pixels are there.

Decoders silently fill missing parts with grey. A file that lacks only its end marker is completed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from mien.pillow_images import damage, open_image, quiet_pillow

_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PLAIN_PNG = {(8, 0), (8, 2)}  # (bits, colour type): grey and RGB, which OpenCV reads right
_END_OF_JPEG = b"\xff\xd9"
_RESTARTS = tuple(bytes((0xFF, 0xD0 + number)) for number in range(8))
_MOST_PIXELS = 1 << 30  # for Pillow; the size was checked before
_END_OF_PNG = b"\0\0\0\0IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True)
class Checked:
    """A file's size in pixels, as stored, and what its decoder is to be given.

    data: None where pixels are missing. plain: whether OpenCV reads it right. scalable: whether it can be decoded at
    a reduced scale without ever lying in memory as a whole.
    """

    width: int
    height: int
    data: bytes | None
    plain: bool = False
    scalable: bool = False


def check_png(data: bytes, most_pixels: int) -> Checked | None:
    """A PNG's size and its bytes, with an end where only that is missing. None: it has no header.

    most_pixels: larger ones are not completed.
    """
    if len(data) < 33 or data[12:16] != b"IHDR":
        return None
    width, height, bits, color_type = struct.unpack(">IIBB", data[16:26])
    plain = (bits, color_type) in _PLAIN_PNG and data.find(b"tRNS", 33, data.find(b"IDAT")) < 0
    whole: bytes | None = data
    if data.rfind(b"IEND") < 0:
        whole = _completed_png(data) if width * height <= most_pixels else None
    return Checked(width, height, whole, plain)


def _completed_png(data: bytes) -> bytes | None:
    """The PNG with its end, where the packed pixels are all there; else None."""
    unpacker, position, known = zlib.decompressobj(), 8, b""
    while position + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        end = position + 8 + length
        if end > len(data):
            break
        if kind == b"IDAT":
            try:
                _unpack(unpacker, data[position + 8 : end])
            except zlib.error:
                return None
        checksum = data[end : end + 4]
        if len(checksum) < 4:
            checksum = struct.pack(">I", zlib.crc32(data[position + 4 : end]))
        known = data[:end] + checksum
        position = end + 4
    return known + _END_OF_PNG if unpacker.eof else None


def _unpack(unpacker: zlib._Decompress, packed: bytes) -> None:
    """Unpacks in pieces that are thrown away: a small file may unfold to gigabytes."""
    while packed and not unpacker.eof:
        unpacker.decompress(packed, 1 << 20)
        packed = unpacker.unconsumed_tail


def check_jpeg(data: bytes, most_pixels: int) -> Checked | None:
    """A JPEG's size and its bytes, with an end where only that is missing. None: it ends before its size is known.

    most_pixels: larger ones are not completed.
    """
    head = _jpeg_head(data)
    if head is None:
        return None
    (width, height), frame, components, scan = head
    whole: bytes | None = data
    # The end marker can't occur inside the packed pixels, but it does in an embedded thumbnail: it is looked for
    # after the start of the scan only.
    if not scan:
        whole = None
    elif data.find(_END_OF_JPEG, scan) < 0:
        whole = _completed_jpeg(data, scan, frame) if width * height <= most_pixels else None
    # A completed file goes to Pillow, which does not print the warnings of libjpeg.
    return Checked(width, height, whole, components in (1, 3) and whole is data, _is_scalable(data, head))


_JpegHead = tuple[tuple[int, int], int, int, int]  # size, kind of frame, components, where the scan begins or 0


def jpeg_size(data: bytes) -> tuple[int, int, bool] | None:
    """Width, height, and whether it is `scalable`; None if it ends before its size is known."""
    head = _jpeg_head(data)
    return None if head is None else (*head[0], _is_scalable(data, head))


def _jpeg_head(data: bytes) -> _JpegHead | None:
    size, frame, components = None, 0, 0
    for position, marker in _segments(data):
        if marker in _JPEG_FRAMES and position + 10 <= len(data):
            height, width, components = struct.unpack(">HHB", data[position + 5 : position + 10])
            size, frame = (width, height), marker
        elif marker == 0xDA:
            return None if size is None else (size, frame, components, position)
    return None if size is None else (size, frame, components, 0)


def _is_scalable(data: bytes, head: _JpegHead) -> bool:
    """Progressive files and those of several scans are held as a whole, whatever the scale."""
    _, frame, components, scan = head
    return frame in {0xC0, 0xC1} and bool(scan) and data[scan + 4 : scan + 5] == bytes([components])


def _segments(data: bytes, position: int = 2) -> Iterator[tuple[int, int]]:
    """Where each segment of a JPEG begins, and its marker; packed pixels are passed over."""
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker in {0xFF, 0x00}:  # packed pixels or padding
            position = data.find(b"\xff", position + 1)
            if position < 0:
                return
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
            position += 2
            continue
        yield position, marker
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")


def _completed_jpeg(data: bytes, scan: int, frame: int) -> bytes | None:
    """The JPEG with its end marker, where nothing but that is missing; else None.

    A decoder reads on where the packed pixels end, and makes pixels of what it finds there. So the file is complete
    where what follows changes no pixel.
    """
    stripped = data.rstrip(b"\0")  # an interrupted download may have been given its full length before
    if stripped.endswith(b"\xff"):  # a byte of pixels, written FF 00; or half of the marker
        stripped = stripped + b"\0" if len(stripped) < len(data) else stripped[:-1]
    data = stripped
    if len(data) <= scan + 4 or not _has_all_scans(data, scan, frame):
        return None
    whole = data + _END_OF_JPEG
    pixels = _decoded(whole)
    if pixels is None or any(_decoded(data + more + _END_OF_JPEG) != pixels for more in _continuations(data, scan)):
        return None
    return whole


def _continuations(data: bytes, scan: int) -> Iterator[bytes]:
    """Bytes that decode to something, before and behind each of the restart markers, the next one first."""
    last = max(range(8), key=lambda number: data.rfind(_RESTARTS[number], scan))
    following = (last + 1) % 8 if data.rfind(_RESTARTS[last], scan) >= 0 else 0
    for first, step in ((0x55, 37), (0xAA, 59), (0xFA, 101), (0x20, 13)):
        bits = bytes((first + step * i) % 251 for i in range(48))
        yield bits + b"".join(_RESTARTS[(following + i) % 8] + bits for i in range(8))


def _has_all_scans(data: bytes, scan: int, frame: int) -> bool:
    """Whether each coefficient of each component has come down to its last bit."""
    missing: dict[int, set[int]] = {}
    for position, marker in _segments(data):
        if marker in _JPEG_FRAMES and position + 10 <= len(data):
            components = data[position + 10 : position + 10 + 3 * data[position + 9] : 3]
            missing = {component: set(range(64)) for component in components}
        elif marker == 0xDA and position + 5 <= len(data):
            count = data[position + 4]
            header = data[position + 5 : position + 8 + 2 * count]
            if len(header) < 3 + 2 * count:
                return False
            first, last, bits = header[2 * count :]
            if frame not in {0xC2, 0xC6, 0xCA, 0xCE}:  # not progressive
                first, last, bits = 0, 63, 0
            if bits & 15 == 0:
                for at in range(0, 2 * count, 2):
                    missing.get(header[at], set()).difference_update(range(first, last + 1))
    return bool(missing) and not any(missing.values())


def _decoded(data: bytes) -> bytes | None:
    """A checksum of the pixels; None where they can't be decoded."""
    with quiet_pillow(_MOST_PIXELS):
        try:
            with open_image(data, "JPEG", "") as image:
                image.load()
                checksum = blake2b()
                for top in range(0, image.height, 256):  # strip by strip: one copy of a large image is enough
                    checksum.update(image.crop((0, top, image.width, min(top + 256, image.height))).tobytes())
                return checksum.digest()
        except damage():
            return None
