"""What arrays are called, and what that makes them: images, labels, votes or names, and of which split."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mien.data.reading.array_stores import StoredArray

_IMAGES = frozenset(
    {"x", "image", "images", "img", "imgs", "pixel", "pixels", "face", "faces", "picture", "pictures", "photos"}
    | {"data", "input", "inputs", "samples"}
)
_LABELS = frozenset(
    {"y", "label", "labels", "target", "targets", "emotion", "emotions", "expression", "expressions", "class"}
    | {"classes", "category", "categories", "cls", "annotations", "output", "outputs"}
)
_NAMES = frozenset({"name", "names"})
_FILLER = frozenset({"fer", "set", "dataset", "all", "arr", "array", "np", "raw", "the", "int", "idx", "id"})
_SHORT_SPLITS = {"tr": "train", "te": "test", "ts": "test", "va": "validation"}
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=\b[XYxy])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Named:
    """An array and what its name says. role: images, labels, votes, names or ''. group: of arrays that belong together.

    word: the split as written, '' for none.
    """

    array: StoredArray
    role: str
    group: str
    word: str


def named_array(array: StoredArray, split: Callable[[str], str | None]) -> Named:
    """The role in an array's name. split: the split that a word means."""
    *above, last = array.key.split("/")
    words, word = _words(last, split)
    role = _role(words)
    if not words and above and not role:  # images/train.npy and labels/train.npy
        role = _role(_words(above[-1], split)[0])
        above = above[:-1] if role else above
    if not word:
        word = next((found for part in reversed(above) if (found := _split_word(part, split))), "")
    return Named(array, role, "/".join(above), word)


def _split_word(part: str, split: Callable[[str], str | None]) -> str:
    if part and split(part):
        return part
    return _words(part, split)[1]


def _words(name: str, split: Callable[[str], str | None]) -> tuple[list[str], str]:
    """The words of a name in lower case, and the one among them that means a split."""
    words: list[str] = []
    found = ""
    for piece in _WORD.findall(_CAMEL.sub(" ", name)):
        for word in _apart(piece, split):
            if split(word) or word.lower() in _SHORT_SPLITS:
                found = found or word
            else:
                words.append(word.lower())
    return words, found


def _apart(word: str, split: Callable[[str], str | None]) -> list[str]:
    """xtrain and testY are two words."""
    if len(word) > 1 and word[0] in "xyXY" and (split(word[1:]) or word[1:].lower() in _SHORT_SPLITS):
        return [word[0], word[1:]]
    if len(word) > 1 and word[-1] in "xyXY" and split(word[:-1]):
        return [word[:-1], word[-1]]
    return [word]


def short_split(word: str) -> str | None:
    """The split that a short word in an array's name means: tr, te, va."""
    return _SHORT_SPLITS.get(word.lower())


def _role(words: Sequence[str]) -> str:
    plain = {word for word in words if word not in _FILLER}
    if plain == {"votes"}:
        return "votes"
    if plain & _NAMES and plain <= _NAMES | _LABELS:
        return "names"
    if plain & _LABELS and plain <= _LABELS | _IMAGES:
        return "labels"
    return "images" if plain and plain <= _IMAGES else ""
