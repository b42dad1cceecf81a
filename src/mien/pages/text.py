"""Texts and numbers for people: harmless in terminals and pages, and rounded as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

Span = tuple[float, float]


def plain(text: object) -> str:
    """A text on one line, without the characters that steer a terminal or turn the direction of reading."""
    return _STEERING.sub("", re.sub(r"[\t\r\n]+", " ", str(text)))


def sentence(words: str) -> str:
    """Words with a capital at their beginning and a full stop."""
    return f"{words[:1].upper()}{words[1:]}."


def percent(share: float | None, span: Span | None = None, *, digits: int = 1) -> str:
    """A share of 1 as `88.8 %`, and with its 95 % interval as `88.8 % (87.6 – 89.8)`; `–` for None and NaN."""
    return _rounded(share, span, lambda v: f"{100 * v:.{digits}f}", "\N{NO-BREAK SPACE}%")


def three(value: float | None, span: Span | None = None) -> str:
    """A figure with three decimals, with its interval in brackets where there is one; `–` for None and NaN."""
    return _rounded(value, span, lambda v: f"{v:.3f}", "")


def p_value(p: float | None) -> str:
    """The probability of chance with two digits, `< 0.0001` where it is smaller; `–` for None."""
    if p is None:
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def percent_span(span: Span | None) -> str:
    """An interval of shares as `87.6 – 89.8 %`; empty for None."""
    return "" if span is None else f"{100 * span[0]:.1f} – {100 * span[1]:.1f}\N{NO-BREAK SPACE}%"


def three_span(span: Span | None) -> str:
    """An interval with three decimals; empty for None."""
    return "" if span is None else f"{span[0]:.3f} – {span[1]:.3f}"


def _rounded(value: float | None, span: Span | None, text: Callable[[float], str], unit: str) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{text(value)}{unit}" + ("" if span is None else f" ({text(span[0])} – {text(span[1])})")
