"""Expression names: the only place that knows their order, other data sets' spellings, colours and emoji.

Names say how a face *appears to human raters*, not what a person feels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien.errors import DataError


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression: its name in mien, an RGB colour for drawings, and an emoji for text."""

    name: str
    color_rgb: tuple[int, int, int]
    emoji: str


EXPRESSIONS: dict[str, Expression] = {
    e.name: e
    for e in (
        Expression("angry", (214, 61, 57), "😠"),
        Expression("disgust", (104, 142, 38), "🤢"),
        Expression("fear", (130, 86, 178), "😨"),
        Expression("happy", (240, 180, 20), "😀"),
        Expression("sad", (52, 120, 200), "😢"),
        Expression("surprise", (235, 120, 30), "😲"),
        Expression("neutral", (120, 130, 140), "😐"),
        Expression("contempt", (170, 110, 80), "😏"),
    )
}

FER2013: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The seven labels of FER2013, in the data set's order: its label number is the index."""

EIGHT: tuple[str, ...] = (*FER2013, "contempt")
"""The eight expressions of FER+, in FER2013's order with contempt last."""

FERPLUS_VOTES: tuple[str | None, ...] = (
    "neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt", None, None,
)  # fmt: skip
"""What each column of FER+'s votes stands for; None: unknown and not-a-face, which are no expressions."""

_SPELLINGS: dict[str, str] = {
    "anger": "angry", "disgusted": "disgust", "fearful": "fear", "afraid": "fear", "scared": "fear",
    "happiness": "happy", "joy": "happy", "sadness": "sad", "surprised": "surprise", "neutrality": "neutral",
    "contemptuous": "contempt", "suprise": "surprise",
}  # fmt: skip

_OTHER_COLORS = ((0, 150, 136), (233, 30, 99), (63, 81, 181), (121, 85, 72))


def canonical(name: str) -> str:
    """mien's spelling of an expression name: `Happiness` -> `happy`. Names it does not know come back in lower case."""
    plain = name.strip().lower()
    return _SPELLINGS.get(plain, plain)


def canonical_all(names: Sequence[str], source: str) -> tuple[str, ...]:
    """`canonical` for a whole list of labels. Raises DataError where two of them mean the same expression."""
    mapped = tuple(canonical(n) for n in names)
    for i, name in enumerate(mapped):
        if name in mapped[:i]:
            first = names[mapped.index(name)]
            raise DataError(f"{source}: '{first}' and '{names[i]}' are both '{name}'; rename or merge one of them")
    return mapped


def color_rgb(name: str) -> tuple[int, int, int]:
    """The colour of an expression, red first, 0-255; labels that mien does not know get a steady one of their own."""
    known = EXPRESSIONS.get(name)
    return known.color_rgb if known else _OTHER_COLORS[sum(name.encode()) % len(_OTHER_COLORS)]


def emoji(name: str) -> str:
    """The emoji of an expression, or an empty string for labels that mien does not know."""
    known = EXPRESSIONS.get(name)
    return known.emoji if known else ""
