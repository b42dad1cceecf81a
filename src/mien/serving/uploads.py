"""What is in a body: images as files of a form, base64 or data URLs in a text, or the body itself; or a video."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mien.errors import ImageError
from mien.images import HEAD_BYTES, decoding_cost, describe_file, image_kind
from mien.media.addresses import decode_base64, read_data_url
from mien.serving.engine import SEARCHED_PIXELS, WHOLE_PIXELS, Upload
from mien.serving.refusals import Refusal, bad_request, too_large
from mien.serving.settings import ServeSettings
from mien.serving.video_work import ACCEPTED, HEAD, looks_like_video

_ENCODED_NAME = re.compile(rb";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]*)", re.IGNORECASE)  # as RFC 6266 writes names

_KEYS = ("images", "image", "img", "img_path", "files", "file")  # of JSON, and fields of forms
_HOW_TO_SEND = (
    'send the image\'s bytes, a multipart form with files, or JSON {"images": ["<base64 or data URL>", ...]}; '
    "paths and addresses are not opened"
)
_URLENCODED = "application/x-www-form-urlencoded"
_TEXTS = frozenset({"text", "a web page", "an SVG drawing"})
_INDEX = re.compile(r"\[\d*\]$")  # `images[]` and `images[0]` are `images`
_FORM = re.compile(rb"--([^\r\n]{1,70})\r\nContent-", re.IGNORECASE)  # the beginning of a form shows its boundary
_MOST_VALUES = 10_000  # of JSON: 32 MB of empty lists would take a gigabyte when parsed
_MOST_PARTS = 1000  # of a form
_NETWORK_BYTES = 20_000_000  # of a search for faces, beside what depends on its pixels
_KINDS = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}


def form_boundary(content_type: str) -> bytes | None:
    """Returns the boundary of a multipart body, empty if it is missing. None: the body is not multipart."""
    kind, options = parse_options_header(content_type)
    return options.get(b"boundary", b"") if kind.startswith(b"multipart/") else None


class FormParts:
    """Reads a body in chunks: `take` each chunk, then call `end`. All raise Refusal for a damaged body."""

    def __init__(self, boundary: bytes, begin: Callable[[str, str | None], Callable[[bytes], object] | None]) -> None:
        """begin: called with a field's name, and the declared name of its file, which may be empty; None: no file.

        Returns what is called with each chunk of the part; None: nothing. Both may raise Refusal.
        """
        self._begin = begin
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._add: Callable[[bytes], object] | None = None
        self._parts, self._ended = 0, False
        with _whole():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_end": lambda: setattr(self, "_ended", True),
                },
            )

    def take(self, data: bytes) -> None:
        """Parses the next chunk of the body."""
        with _whole():
            self._parser.write(data)

    def end(self) -> None:
        """Ends the body; the final boundary must have come."""
        with _whole():
            if not self._ended:
                raise FormParserError

    def _begin_part(self) -> None:
        self._parts += 1  # here, as a part without headers never comes to their end
        if self._parts > _MOST_PARTS:
            raise too_large(f"the form has more than {_MOST_PARTS} parts; send files only")
        self._disposition, self._add = b"", None

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        filename = options.get(b"filename")
        if filename is None and (encoded := _ENCODED_NAME.search(self._disposition)):
            filename = unquote_to_bytes(encoded[1])
        name = None if filename is None else filename.decode("utf-8", errors="replace")
        self._add = self._begin(options.get(b"name", b"").decode("utf-8", errors="replace"), name)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._add is not None:
            self._add(bytes(data[start:end]))


@contextmanager
def _whole() -> Iterator[None]:
    try:
        yield
    except FormParserError:
        raise bad_request("bad_multipart", "the multipart body is damaged or cut off") from None


def memory_for(body: Sequence[bytes], content_type: str) -> int:
    """Bytes that `read_uploads` takes at most beside the body: text is held decoded, as strings and as images."""
    head = body[0][:HEAD_BYTES] if body else b""
    is_form = form_boundary(content_type) is not None or bool(_FORM.match(head))
    is_text = not is_form and describe_file(head) in _TEXTS
    return sum(map(len, body)) * (5 if is_text else 2)


def weighed(upload: Upload, settings: ServeSettings) -> Upload:
    """The image with what it takes to decode it, by its header."""
    most = settings.max_pixels
    pixels, memory = decoding_cost(upload.data, max_pixels=most, whole_pixels=min(WHOLE_PIXELS, most))
    work = _NETWORK_BYTES + 30 * min(pixels, SEARCHED_PIXELS) + 9 * pixels
    return replace(upload, pixels=pixels, memory=max(memory, work) if pixels else 0)


def read_uploads(chunks: list[bytes], content_type: str, settings: ServeSettings) -> list[Upload]:
    """Returns the files of a form, the images of a text, or the body as one image. Empties `chunks`. Raises Refusal."""
    body = b"".join(chunks)
    chunks.clear()
    return [weighed(upload, settings) for upload in _images_of(body, content_type, settings.max_files)]


def _images_of(body: bytes, content_type: str, max_files: int) -> list[Upload]:
    if not body:
        raise _no_image()
    if image_kind(body[:HEAD_BYTES]):
        return [Upload("image 0", body)]
    form = _FORM.match(body)
    boundary = form[1] if form else form_boundary(content_type)
    if boundary is not None:
        return _of_form(body, boundary, max_files)
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind == "application/json" or kind.endswith("+json")
    if not is_json and describe_file(body[:HEAD_BYTES]) not in _TEXTS:
        return [Upload("image 0", body)]
    if is_json or body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in {b"{", b"[", b'"'}:
        return _decoded([text.encode("utf-8", "replace") for text in _texts_of_json(body)], max_files)
    image = _image_in(body)
    if image is None and kind == _URLENCODED:
        return _decoded(_fields_of(body), max_files)
    return _decoded([body if image is None else image], max_files)


def _of_form(body: bytes, boundary: bytes, max_files: int) -> list[Upload]:
    """Returns the files of a form, or the images in its fields if it has no files."""
    parts: list[tuple[str, str | None, list[bytes]]] = []

    def begin(field: str, filename: str | None) -> Callable[[bytes], object]:
        _check_count(sum(name is not None for _, name, _ in parts), max_files)
        parts.append((field, filename, []))
        return parts[-1][2].append

    reader = FormParts(boundary, begin)
    reader.take(body[max(0, body.find(b"--" + boundary)) :])  # text before the first boundary has no meaning
    reader.end()
    read = [(field, filename, b"".join(pieces)) for field, filename, pieces in parts]
    # Browsers send a file without name and content for an empty file input.
    files = [(name, data) for _, name, data in read if name is not None and (name or data)]
    _check_count(len(files), max_files)
    if files:
        named = [(name or f"image {number}", data) for number, (name, data) in enumerate(files)]
        return [Upload(name, _image_in(data) or data) for name, data in named]
    images = [d for field, _, d in read if _INDEX.sub("", field) in _KEYS or image_kind(d[:HEAD_BYTES])]
    return _decoded(images, max_files)


def _decoded(items: Sequence[bytes], max_files: int) -> list[Upload]:
    """Decodes base64 and data: URLs. An item that is no image becomes a result with its reason.

    Raises Refusal if there are too many items, or if none of them is an image.
    """
    _check_count(len(items), max_files)
    found = [(item, _image_in(item)) for item in items]
    if all(image is None for _, image in found):
        raise _no_image()
    images = [item[:HEAD_BYTES] if image is None else image for item, image in found]
    return [Upload(f"image {number}", image) for number, image in enumerate(images)]


def _image_in(data: bytes) -> bytes | None:
    """Returns an image that is given as its bytes, as base64 or as a data: URL; None if it is none of them."""
    if image_kind(data[:HEAD_BYTES]):
        return data
    if describe_file(data[:HEAD_BYTES]) not in _TEXTS:
        return None
    data = data.strip()
    try:
        image = read_data_url(data.decode("utf-8", "replace")) if data[:5].lower() == b"data:" else decode_base64(data)
    except ImageError:
        return None
    return image if image and image_kind(image[:HEAD_BYTES]) else None


def _texts_of_json(body: bytes) -> list[str]:
    """Returns the strings of an image key, of a list, or the string that is the document. Raises Refusal."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _MOST_VALUES:
        raise bad_request("bad_json", f"the JSON has more than {_MOST_VALUES} values; {_HOW_TO_SEND}")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise bad_request("bad_json", f"the JSON is invalid or cut off; {_HOW_TO_SEND}") from None
    found: list[tuple[str, Any]] = [("the document", document)]
    if isinstance(document, dict):
        found = [(key, document[key]) for key in _KEYS if document.get(key) is not None]
    texts = []
    for key, value in found:
        for number, item in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(item, str):
                place = f"{key}[{number}]" if isinstance(value, list) else key
                kind = _KINDS.get(type(item), "a number")
                raise bad_request("bad_json", f"{place} is {kind}, expected a string; {_HOW_TO_SEND}")
            texts.append(item)
    return texts


def _fields_of(body: bytes) -> list[bytes]:
    """Returns the image fields of a form in the encoding of URLs."""
    try:
        fields = parse_qsl(body.decode("ascii", "replace"), max_num_fields=_MOST_PARTS)
    except ValueError:
        raise _no_image() from None
    # Many clients do not escape the plus signs of base64, and parse_qsl decodes a plus sign as a space.
    return [text.replace(" ", "+").encode() for name, text in fields if _INDEX.sub("", name) in _KEYS]


def _check_count(count: int, max_files: int) -> None:
    if count > max_files:
        raise too_large(f"the request has more than {max_files} files; send them in several requests")


def _no_image() -> Refusal:
    """400: the request holds no image."""
    return bad_request("no_image", f"there is no image in the request; {_HOW_TO_SEND}")


class VideoFile:
    """The file of an uploaded video. count: its bytes. Its methods run in other threads, one at a time."""

    def __init__(self, place: Path, boundary: bytes | None) -> None:
        """boundary: of a form; None: the body is the video. Raises Refusal for an invalid one."""
        self.count = 0
        self._head: bytes | None = b""  # None: checked
        self._form = None if boundary is None else FormParts(boundary, self._begin)
        self._file = place.open("xb", buffering=0)
        self.close = self._file.close

    def take(self, chunks: list[bytes]) -> None:
        """Adds a part of the body. Raises Refusal, OSError."""
        add = self._form.take if self._form else self._add
        add(b"".join(chunks))

    def end(self, chunks: list[bytes]) -> None:
        """Adds the rest of the body. Raises Refusal if there is no video, OSError."""
        self.take(chunks)
        if self._form is not None:
            self._form.end()
        if not self.count:
            message = "there is no video in the request; send a file (multipart) or a video's bytes"
            raise bad_request("no_video", message)
        self._check_head()

    def _begin(self, _field: str, name: str | None) -> Callable[[bytes], object] | None:
        """Takes one file. A first, empty one is ignored: browsers send it for a file input without a file."""
        if name is not None and self.count:
            raise bad_request("one_video", "a request takes one video; send each video in its own request")
        return self._add if name is not None else None

    def _add(self, data: bytes) -> None:
        self.count += len(data)
        if self._head is not None:
            self._head += data[: HEAD - len(self._head)]
            if len(self._head) >= HEAD:
                self._check_head()
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def _check_head(self) -> None:
        if self._head is not None and not looks_like_video(self._head):
            message = f"this is not a video; expected {ACCEPTED}"
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unreadable_video", message)
        self._head = None
