"""Images that come as text: base64 and data: URLs, in JSON, in fields of a form, or alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from mien.errors import PictureError
from mien.media.addresses import decode_base64, read_data_url
from mien.pictures import HEAD_BYTES, describe_file, image_kind
from mien.serving.engine import Upload
from mien.serving.refusals import Refusal, bad_request, too_large

IMAGE_KEYS = ("images", "image", "img", "img_path", "files", "file")
"""Names under which JSON and forms hold images."""

HOW_TO_SEND = (
    'send the image\'s bytes, a multipart form with files, or JSON {"images": ["<base64 or data URL>", ...]}; '
    "paths and addresses are not opened"
)
_URLENCODED = "application/x-www-form-urlencoded"
_TEXTS = frozenset({"text", "a web page", "an SVG drawing"})


def no_image() -> Refusal:
    """400: there is nothing in the request that can be looked at."""
    return bad_request("no_picture", f"there is no picture in the request; {HOW_TO_SEND}")


def images_in_text(body: bytes, content_type: str, *, max_files: int) -> list[Upload] | None:
    """The images in a body that is text; None where it is something else. Raises Refusal for a text without images."""
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind == "application/json" or kind.endswith("+json")
    if not is_json and describe_file(body[:HEAD_BYTES]) not in _TEXTS:
        return None
    if is_json or body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in {b"{", b"["}:
        return as_uploads(_texts_of_json(body), max_files=max_files)
    if image := _image_in(body.decode("utf-8", "replace")):
        return [Upload("picture 0", image)]
    return as_uploads(_texts_of_form(body) if kind == _URLENCODED else (), max_files=max_files)


def as_uploads(texts: Sequence[str], *, max_files: int) -> list[Upload]:
    """The images behind base64 and data: URLs; those that are none become rows with their reason.

    Raises Refusal where there are too many, and where none of them is an image.
    """
    check_count(len(texts), max_files)
    found = [(text, _image_in(text)) for text in texts]
    if all(image is None for _, image in found):
        raise no_image()
    return [
        Upload(f"picture {number}", text[:HEAD_BYTES].encode("utf-8", "replace") if image is None else image)
        for number, (text, image) in enumerate(found)
    ]


def check_count(count: int, max_files: int) -> None:
    """Raises Refusal where a request has too many images."""
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
    """The strings of a list, and of lists directly in it."""
    for item in value if isinstance(value, list) else [value]:
        yield from (text for text in (item if isinstance(item, list) else [item]) if isinstance(text, str))


def _texts_of_form(body: bytes) -> list[str]:
    try:
        fields = parse_qsl(body.decode("ascii", "replace"), max_num_fields=1000)
    except ValueError:
        raise no_image() from None
    # Many clients leave the plus signs of base64 as they are, which stand for blanks here.
    return [text.replace(" ", "+") for name, text in fields if name.removesuffix("[]") in IMAGE_KEYS]


def _image_in(text: str) -> bytes | None:
    text = text.strip()
    try:
        data = read_data_url(text) if text[:5].lower() == "data:" else decode_base64(text.encode("utf-8", "replace"))
    except PictureError:
        return None
    return data if data and image_kind(data[:HEAD_BYTES]) else None
