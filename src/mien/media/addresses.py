"""Images by path, file: URL or data: URL; errors for other addresses name what to use instead.

One place for the command line, `Recognizer` and the server.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from mien.errors import ImageError
from mien.images import MAX_PIXELS, decode_image, read_image

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")  # two letters at least: C: is a Windows drive
_STREAMS = {"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "srt"}
_DRIVE = re.compile(r"/([A-Za-z])[:|](?=/|$)")
_CAMERA = re.compile(r"(?:/dev/video)?\d+")
_LONGEST_NAME = 300
LONGEST_PATH = 4096
"""Characters; a longer text is data in place of a name."""
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


@dataclass(frozen=True, slots=True)
class NamedImage:
    """The bytes of an image file in memory, and their name in results and errors."""

    name: str
    data: bytes = field(repr=False)


def resolve(source: str | Path) -> Path | NamedImage:
    """Resolves a path or address to a path, or to the bytes of a data: URL.

    Raises ImageError for a data: or file: URL that is damaged, and for addresses that are not read here, with what
    to do instead: web addresses and cloud storage, streams, cameras.
    """
    if isinstance(source, Path):
        return source
    if not source:
        raise ImageError("an empty text is no path; give the path of an image")
    scheme = scheme_of(source)
    if scheme == "data":
        return NamedImage(source_name(source), read_data_url(source))
    if scheme == "file":
        return _file_of(source)
    if scheme and not os.path.lexists(source):
        raise _not_read_here(source, scheme)
    if _CAMERA.fullmatch(source) and not os.path.exists(source):  # noqa: PTH110
        number = source.removeprefix("/dev/video")
        raise ImageError(f"{source}: no such file; if it is a camera, use  mien watch {number}")
    return Path(source)


def read_source(source: str | Path | NamedImage, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The image behind a path or address, uint8 (H, W, 3), RGB, as `read_image` gives it.

    Raises ImageError as `resolve` and `read_image`.
    """
    found = resolve(source) if isinstance(source, str) else source
    if isinstance(found, NamedImage):
        return decode_image(found.data, found.name, max_pixels=max_pixels)
    if len(text := str(found)) > LONGEST_PATH:
        raise ImageError(f"{shortened(text)}: is too long for a path; give a file's path, its bytes, or a data: URL")
    return read_image(found, max_pixels=max_pixels)


def source_name(source: str | Path | NamedImage) -> str:
    """The name of a source in results and errors: the path or address as given, shortened if it holds data."""
    if isinstance(source, NamedImage):
        return source.name
    text = str(source)
    scheme = scheme_of(text)
    if scheme == "data":
        return _data_url_name(text)
    if scheme == "file":
        try:
            return str(_file_of(text))
        except ImageError:
            return shortened(text)
    return text if len(text) <= _LONGEST_NAME or os.path.lexists(text) else shortened(text)


def scheme_of(text: str) -> str:
    """The scheme of an address, in small letters; empty for a path."""
    match = _SCHEME.match(text)
    if match is None:
        return ""
    scheme = match[1].lower()
    return scheme if scheme in {"data", "file"} or text[match.end() : match.end() + 1] == "/" else ""


def shortened(text: str) -> str:
    """A long text's beginning and end."""
    return text if len(text) <= _LONGEST_NAME else f"{text[:80]}...{text[-20:]} ({len(text):,} characters)"


def read_data_url(url: str) -> bytes:
    """The bytes in a data: URL. Raises ImageError, which does not repeat the URL."""
    head, comma, body = url.partition(",")
    if not comma:
        raise ImageError(f"{_data_url_name(url)}: has no comma before its data; expected data:image/jpeg;base64,...")
    if not head.lower().rstrip().endswith(";base64"):
        return unquote_to_bytes(body)
    data = decode_base64(unquote_to_bytes(body) if "%" in body else body.encode("utf-8", "replace"))
    if data is None:
        raise ImageError(f"{_data_url_name(url)}: is not valid base64; copy the whole URL")
    return data


def decode_base64(text: bytes) -> bytes | None:
    """The bytes behind base64, usual or URL-safe, with line breaks and padding or without; None: it is no base64."""
    text = b"".join(text.split()).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    if _NOT_BASE64.search(text):
        return None
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        return None


def _data_url_name(url: str) -> str:
    head, _, body = url.partition(",")
    kind = shortened(head[5:].partition(";")[0].strip()) or "no type"
    size = len(body) * 3 // 4 if ";base64" in head.lower() else len(body)
    return f"data URL ({kind}, {f'{size / 1000:,.0f} kB' if size >= 1000 else f'{size} bytes'})"


def _file_of(url: str) -> Path:
    """The path of a file: URL; percent escapes are decoded, and a Windows drive is allowed."""
    rest = url[5:].replace("\\", "/")
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        rest = slash + path
        if re.fullmatch(r"[A-Za-z][:|]", host):  # file://C:/..., as people write it
            rest = f"/{host}{rest}"
        elif host.lower() not in {"", "localhost", "127.0.0.1"}:
            raise ImageError(f"{shortened(url)}: names another machine; expected file:///path")
    text = os.fsdecode(unquote_to_bytes(rest))
    if (drive := _DRIVE.match(text)) and not os.path.lexists(text):
        text = f"{drive[1]}:{text[drive.end() :]}"
    return Path(text)


def _not_read_here(address: str, scheme: str) -> ImageError:
    name = shortened(address)
    if scheme in _STREAMS:
        return ImageError(f"{name}: is a stream, not a file; follow it with  mien watch {name}")
    either = ", or download the image first" if scheme in {"http", "https", "ftp"} else ""
    return ImageError(
        f"{name}: is an address; read it with  mien predict ADDRESS --shards OUT  (extra [cluster]){either}"
    )
