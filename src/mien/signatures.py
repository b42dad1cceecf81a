"""What a file is, by its first bytes: which kind of image, or in a few words what else. Names are not believed."""

from __future__ import annotations

import re
from typing import Literal

HEAD_BYTES = 512
"""Bytes of a file's beginning that are read; a shorter file is judged by what it has."""

IMAGE_KINDS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WebP", "PPM", "AVIF", "HEIC", "JPEG 2000")

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    *((mark, "TIFF") for mark in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),  # a bare codestream
)
# Words and dimensions follow the two letters: a text or a list of paths that begins with P5 is no image.
_PPM = re.compile(rb"P(?:[1-6]\s+(?:#|\d)|[Ff]\s+-?\d)")
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF_BRANDS = {b"mif1", b"mif2", b"msf1", b"miaf"}  # HEIF in general; the other brands name the content
_RAW = "a raw camera file"
_SUBFILE_TYPE, _SUBFILES, _DNG_VERSION = 254, 330, 50706  # tags of TIFF; a subfile type of 1 is a smaller version
_ARCHIVE = "an archive"
_OTHER_IMAGES = (
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"8BPS", "a Photoshop file"),
    (b"gimp xcf", "a GIMP file"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"icns", "an icon (ICNS)"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"DDS ", "a DDS texture"),
    (b"qoif", "a QOI image"),
    (b"\x0a\x05\1", "a PCX image"),
    (b"II\xbc\1", "a JPEG XR image"),
    (b"%!PS", "a PostScript drawing"),
    (b"AT&TFORM", "a DjVu document"),
)
_TGA = re.compile(rb".\0[\x02\x03\x0a\x0b]\0{5}.{8}[\x08\x10\x18\x20][\0-\x2f]", re.DOTALL)
_SVG, _TGA_IMAGE, _DICOM = "an SVG drawing", "a TGA image", "a DICOM image"
_OTHERS = (
    (b"PK\x03\x04", "a ZIP"),
    (b"PK\x05\x06", "a ZIP"),
    (b"%PDF", "a PDF"),
    (b"\x1a\x45\xdf\xa3", "a video"),  # Matroska, WebM
    (b"FLV\x01", "a video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video"),  # WMV
    *((b"\0\0\x01" + mark, "a video") for mark in (b"\xba", b"\xb3")),  # MPEG
    (b"\0\0\0\x01", "a video"),  # H.264 and H.265 without a container
    (b"YUV4MPEG2", "a video"),
    (b"DKIF", "a video"),
    (b"OggS", "sound or video"),
    *((mark, "sound") for mark in (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"fLaC")),
    *((mark, _ARCHIVE) for mark in (b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")),
    *((mark, _RAW) for mark in (b"FUJIFILM", b"IIU\0", b"IIRO", b"IIRS", b"MMOR")),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PAR1", "a Parquet file"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"SQLite format 3\0", "a database"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"version https://git-lfs", "a Git LFS pointer (git lfs pull brings the file)"),
)
UNREAD_IMAGES = frozenset({words for _, words in _OTHER_IMAGES} | {_RAW, _SVG, _TGA_IMAGE, _DICOM})
"""What `describe_file` calls images that mien does not read."""

_ATOMS = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # with which an MP4 or MOV may begin
_BINARY = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_UTF_MARKS = (b"\xff\xfe", b"\xfe\xff")


def image_kind(head: bytes) -> str | None:
    """Which image format a file that begins so is in, as Pillow names it; None: it is no image.

    JPEG, PNG, GIF, BMP, TIFF, WEBP, PPM (the family: PBM, PGM, PPM, PFM), AVIF, HEIC, JPEG2000. head: the first
    `HEAD_BYTES` bytes, or more, or all of a smaller file; 64 are enough for all but HEIF of many brands.
    """
    for signature, kind in _IMAGES:
        if head.startswith(signature):
            return None if kind == "TIFF" and _is_raw_tiff(head) else kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if _PPM.match(head):
        return "PPM"
    return _heif_kind(head) if head[4:8] == b"ftyp" else None


def describe_file(head: bytes) -> str:
    """What a file that begins so is, in a few words: "a JPEG image", "text", "a video", "a ZIP", "empty", "unknown"."""
    if not head:
        return "empty"
    if kind := image_kind(head):
        return f"{'an' if kind == 'AVIF' else 'a'} {kind} image"
    for signature, words in _OTHER_IMAGES + _OTHERS:
        if head.startswith(signature):
            return words
    return _describe_container(head) or _describe_text(head)


def _describe_container(head: bytes) -> str | None:
    """Formats that are not known by their first bytes alone."""
    brand = head[8:12]
    if head[4:8] in _ATOMS:
        return _RAW if brand == b"crx " else "sound" if brand[:3] in {b"M4A", b"M4B"} else "a video"
    if head[:4] == b"RIFF":
        return {b"AVI ": "a video", b"WAVE": "sound"}.get(brand)
    if any(head[at : at + 1] == b"G" == head[at + packet : at + packet + 1] for at, packet in ((0, 188), (4, 192))):
        return "a video"  # a transport stream's packets, with time codes or without
    for fits, words in (
        (head[257:262] == b"ustar", _ARCHIVE),
        (head[128:132] == b"DICM", _DICOM),
        (bool(_TGA.match(head)) and not head.startswith(_UTF_MARKS), _TGA_IMAGE),  # it has no mark of its own
    ):
        if fits:
            return words
    return _RAW if head[:4] in (b"II*\0", b"MM\0*") else None


def _is_raw_tiff(head: bytes) -> bool:
    """Whether a TIFF is a camera's: Canon's, a DNG, or one that begins with a preview of the raw image below it."""
    order: Literal["little", "big"] = "little" if head[:1] == b"I" else "big"
    at = int.from_bytes(head[4:8], order)
    count = int.from_bytes(head[at : at + 2], order)
    entries = [head[start : start + 12] for start in range(at + 2, min(at + 2 + 12 * count, len(head) - 11), 12)]
    tags = {int.from_bytes(entry[:2], order): int.from_bytes(entry[8:], order) for entry in entries}
    return head[8:10] == b"CR" or _DNG_VERSION in tags or (_SUBFILES in tags and tags.get(_SUBFILE_TYPE) == 1)


def _describe_text(head: bytes) -> str:
    if head.startswith(_UTF_MARKS):
        return "text"
    if _BINARY.search(head):
        return "unknown"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:400].lower()
    if b"<svg" in start and start.startswith(b"<"):
        return _SVG
    return "a web page" if start.startswith((b"<!doctype html", b"<html")) else "text"


def _heif_kind(head: bytes) -> str | None:
    """AVIF, HEIC and videos share one container: the brands in its first box differ."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major = head[8:12]
    brands = {major, *(head[at : at + 4] for at in range(16, end - 3, 4))}
    if major in _AVIF_BRANDS or (major in _HEIF_BRANDS and brands & _AVIF_BRANDS):
        return "AVIF"
    return "HEIC" if major in _HEIC_BRANDS | _HEIF_BRANDS else None
