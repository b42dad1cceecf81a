"""Suggestions for misspelt names: recipes, models, networks, detectors."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_LEAST = 0.6  # the cutoff of difflib.get_close_matches


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`did you mean 'X'? ` for the known name that is most like `name`; empty where none is.

    Case and hyphens do not count. A part of a name is enough: `cnn2` suggests `scratch-cnn2`. prefix: goes before the
    suggested name.
    """
    wanted = _plain(name)
    best = max(((_likeness(wanted, _plain(each)), -len(each), each) for each in known), default=None)
    return f"did you mean '{prefix}{best[2]}'? " if wanted and best and best[0] >= _LEAST else ""


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _likeness(wanted: str, known: str) -> float:
    """0 to 1, and 1 more where the one name is a part of the other. A part has at least three letters."""
    ratio = SequenceMatcher(None, wanted, known).ratio()
    return ratio + (len(wanted) >= 3 and wanted in known)
