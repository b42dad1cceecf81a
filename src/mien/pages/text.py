"""Texts that may come from a file name or a data set, made harmless for terminals and pages."""

from __future__ import annotations

import re

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: object) -> str:
    """A text on one line, without the characters that steer a terminal or turn the direction of reading."""
    return _STEERING.sub("", re.sub(r"[\t\r\n]+", " ", str(text)))
