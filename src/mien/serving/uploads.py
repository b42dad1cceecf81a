"""What is in a body: images as files of a form, base64 or data URLs in a text, or the body itself; or a video."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from mien.errors import ImageError
from mien.images import HEAD_BYTES, describe_file, image_kind
from mien.media.addresses import decode_base64, read_data_url
from mien.serving.engine import Upload, weighed
from mien.serving.refusals import Refusal, bad_request, too_large
from mien.serving.settings import ServeSettings
from mien.serving.video_work import ACCEPTED, HEAD, looks_like_video

_DISPOSITION = re.compile(rb"\ncontent-disposition([^\n-][^\n]*)", re.IGNORECASE)
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
_KINDS = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}


def form_boundary(content_type: str) -> bytes | None:
    """Returns the boundary of a multipart body, empty if it is missing. None: the body is not multipart."""
    kind, options = parse_options_header(content_type)
    return options.get(b"boundary", b"") if kind.startswith(b"multipart/") else None


class FormParts:
    """Reads a form in chunks."""

    def __init__(self, boundary: bytes, begin: Callable[[str, str | None], Callable[[bytes], None]]) -> None:
        """begin: called with a field's name, and the declared name of its file, which may be empty; None: no file.

        Returns what is called with each chunk of the part. Both may raise Refusal.
        """
        self._begin, self._parts, self._head = begin, 0, bytearray()
        self._add: Callable[[bytes], None] = _ignore
        with _whole():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_begin": lambda: self._head.extend(b"\n"),
                    "on_header_field": lambda data, start, end: self._head.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._head.extend(data[start:end]),
                    "on_headers_finished": self._end_head,
                    "on_part_data": lambda data, start, end: self._add(bytes(data[start:end])),
                },
            )

    def take(self, data: bytes, *, last: bool) -> None:
        """Parses the next chunk; with the last one the final boundary must have come. Raises Refusal."""
        with _whole():
            self._parser.write(data)
            if last and self._parser.state != MultipartState.END:
                raise FormParserError

    def _begin_part(self) -> None:
        self._parts += 1  # here, as a part without headers never comes to their end
        if self._parts > _MOST_PARTS:
            raise too_large(f"the form has more than {_MOST_PARTS} parts; send files only")
        self._add = _ignore
        self._head.clear()

    def _end_head(self) -> None:
        found = _DISPOSITION.search(self._head)
        disposition = found[1] if found else b""
        _, options = parse_options_header(disposition)
        filename = options.get(b"filename")
        if filename is None and (encoded := _ENCODED_NAME.search(disposition)):
            filename = unquote_to_bytes(encoded[1])
        name = None if filename is None else filename.decode("utf-8", errors="replace")
        self._add = self._begin(options.get(b"name", b"").decode("utf-8", errors="replace"), name)


def _ignore(data: bytes) -> None:
    """Of a part that nobody reads."""


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


def read_uploads(chunks: list[bytes], content_type: str, settings: ServeSettings) -> list[Upload]:
    """Returns the files of a form, the images of a text, or the body as one image. Empties `chunks`. Raises Refusal."""
    body = b"".join(chunks)
    chunks.clear()
    uploads = _images_of(body, content_type)
    if len(uploads) > settings.max_files:
        raise too_large(f"the request has more than {settings.max_files} files; send them in several requests")
    return [weighed(upload, settings) for upload in uploads]


def _images_of(body: bytes, content_type: str) -> list[Upload]:
    if not body:
        raise _no_image()
    if image_kind(body[:HEAD_BYTES]):
        return [Upload("image 0", body)]
    form = _FORM.match(body)
    boundary = form[1] if form else form_boundary(content_type)
    if boundary is not None:
        return _of_form(body, boundary)
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind == "application/json" or kind.endswith("+json")
    if not is_json and describe_file(body[:HEAD_BYTES]) not in _TEXTS:
        return [Upload("image 0", body)]
    if is_json or body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in {b"{", b"[", b'"'}:
        return _decoded([text.encode("utf-8", "replace") for text in _texts_of_json(body)])
    image = _image_in(body)
    if image is None and kind == _URLENCODED:
        return _decoded(_fields_of(body))
    return _decoded([body if image is None else image])


def _of_form(body: bytes, boundary: bytes) -> list[Upload]:
    """Returns the files of a form, or the images in its fields if it has no files."""
    parts: list[tuple[str, str | None, list[bytes]]] = []

    def begin(field: str, filename: str | None) -> Callable[[bytes], None]:
        parts.append((field, filename, []))
        return parts[-1][2].append

    whole = body[max(0, body.find(b"--" + boundary)) :]  # text before the first boundary has no meaning
    FormParts(boundary, begin).take(whole, last=True)
    read = [(field, filename, b"".join(pieces)) for field, filename, pieces in parts]
    # Browsers send a file without name and content for an empty file input.
    files = [(name, data) for _, name, data in read if name is not None and (name or data)]
    if files:
        named = [(name or f"image {number}", data) for number, (name, data) in enumerate(files)]
        return [Upload(name, _image_in(data) or data) for name, data in named]
    images = [d for field, _, d in read if _INDEX.sub("", field) in _KEYS or image_kind(d[:HEAD_BYTES])]
    return _decoded(images)


def _decoded(items: Sequence[bytes]) -> list[Upload]:
    """Decodes base64 and data: URLs. An item that is no image becomes a result with its reason.

    Raises Refusal if none of them is an image.
    """
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

    def take(self, chunks: list[bytes], *, last: bool) -> None:
        """Adds a part of the body. Raises Refusal, with the last one also if there is no video; OSError."""
        data = b"".join(chunks)
        if self._form is None:
            self._add(data)
        else:
            self._form.take(data, last=last)
        if last and not self.count:
            message = "there is no video in the request; send a file (multipart) or a video's bytes"
            raise bad_request("no_video", message)
        if last:
            self._check_head()

    def _begin(self, _field: str, name: str | None) -> Callable[[bytes], None]:
        """Takes one file. A first, empty one is ignored: browsers send it for a file input without a file."""
        if name is not None and self.count:
            raise bad_request("one_video", "a request takes one video; send each video in its own request")
        return self._add if name is not None else _ignore

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
