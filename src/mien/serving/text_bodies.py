"""Reads images that are sent as text: base64 and data: URLs in JSON, in form fields, or as the body itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from mien.errors import ImageError
from mien.images import HEAD_BYTES, describe_file, image_kind
from mien.media.addresses import decode_base64, read_data_url
from mien.serving.engine import Upload
from mien.serving.refusals import Refusal, bad_request, too_large

IMAGE_KEYS = ("images", "image", "img", "img_path", "files", "file")
"""Keys of JSON and fields of forms that may hold images."""

HOW_TO_SEND = (
    'send the image\'s bytes, a multipart form with files, or JSON {"images": ["<base64 or data URL>", ...]}; '
    "paths and addresses are not opened"
)
_URLENCODED = "application/x-www-form-urlencoded"
_TEXTS = frozenset({"text", "a web page", "an SVG drawing"})


def no_image() -> Refusal:
    """400: the request holds no image."""
    return bad_request("no_image", f"there is no image in the request; {HOW_TO_SEND}")


def images_in_text(body: bytes, content_type: str, *, max_files: int) -> list[Upload] | None:
    """Returns the images of a text body, or None if the body is not text. Raises Refusal for a text without images."""
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind == "application/json" or kind.endswith("+json")
    if not is_json and describe_file(body[:HEAD_BYTES]) not in _TEXTS:
        return None
    if is_json or body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in {b"{", b"["}:
        return as_uploads(_texts_of_json(body), max_files=max_files)
    if image := _image_in(body.decode("utf-8", "replace")):
        return [Upload("image 0", image)]
    return as_uploads(_texts_of_form(body) if kind == _URLENCODED else (), max_files=max_files)


def as_uploads(texts: Sequence[str], *, max_files: int) -> list[Upload]:
    """Decodes base64 and data: URLs. A text that is no image becomes a result with its reason.

    Raises Refusal if there are too many texts, or if none of them is an image.
    """
    check_count(len(texts), max_files)
    found = [(text, _image_in(text)) for text in texts]
    if all(image is None for _, image in found):
        raise no_image()
    return [
        Upload(f"image {number}", text[:HEAD_BYTES].encode("utf-8", "replace") if image is None else image)
        for number, (text, image) in enumerate(found)
    ]


def check_count(count: int, max_files: int) -> None:
    """Raises Refusal if a request has too many images."""
    if count > max_files:
        raise too_large(f"the request has more than {max_files} files; send them in several requests")


def _texts_of_json(body: bytes) -> list[str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise bad_request("bad_json", f"the JSON is damaged or cut off; {HOW_TO_SEND}") from None
    if isinstance(document, dict):
        document = [document[key] for key in IMAGE_KEYS if key in document]
    return list(_strings(document))


def _strings(value: Any) -> Iterable[str]:
    """Yields the strings of a list and of the lists directly in it."""
    for item in value if isinstance(value, list) else [value]:
        yield from (text for text in (item if isinstance(item, list) else [item]) if isinstance(text, str))


def _texts_of_form(body: bytes) -> list[str]:
    try:
        fields = parse_qsl(body.decode("ascii", "replace"), max_num_fields=1000)
    except ValueError:
        raise no_image() from None
    # Many clients do not escape the plus signs of base64, and parse_qsl decodes a plus sign as a space.
    return [text.replace(" ", "+") for name, text in fields if name.removesuffix("[]") in IMAGE_KEYS]


def _image_in(text: str) -> bytes | None:
    text = text.strip()
    try:
        data = read_data_url(text) if text[:5].lower() == "data:" else decode_base64(text.encode("utf-8", "replace"))
    except ImageError:
        return None
    return data if data and image_kind(data[:HEAD_BYTES]) else None
