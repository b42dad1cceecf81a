"""Files that name the numbers of a data set: classes.txt, class_indices.json, data.yaml and their kind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mien.data.reading.label_reading import is_number, plain
from mien.data.reading.trees import base_name
from mien.errors import DataError, import_extra
from mien.labels import EXPRESSIONS, canonical

CLASS_FILES = frozenset(
    f"{name}.{suffix}"
    for name in (
        "classes", "class_names", "classnames", "labels", "label_names", "labelnames", "label_map", "labelmap", "names",
        "class_map", "class_indices", "class_to_idx", "idx_to_class", "id2label", "label2id", "label_mapping",
        "emotions", "mapping",
    )
    for suffix in ("txt", "json", "names", "csv")
)  # fmt: skip
"""Their names, in lower case. A file of another name must write the numbers, or have a key of `_KEYS`, and half of its
names must be of expressions."""

MOST_BYTES = 100_000
"""Of a file of names; a larger one is something else."""

_SUFFIXES = ("txt", "json", "csv", "yaml", "yml")
# Where larger files have them: YOLO's, a model's.
_KEYS = ("names", "id2label", "label2id", "classes", "class_names", "class_to_idx")
_MOST_OTHERS = 20  # more files, and they describe images
_MOST_CLASSES = 100
_NAME = re.compile(r"\s*[^\s.,;:|/\\=][^.,;:|/\\=]{0,60}")  # no path, and no row of a list
_YAML = re.compile(r"^names\s*:", re.MULTILINE)
_NUMBERED = re.compile(r"\s*(\d+)\s*[\s:=,;.-]\s*(\S.*)|\s*(\S.*?)\s*[:=,;\s]\s*(\d+)\s*")


def class_names(
    names: Sequence[str], numbers: set[int], text: Callable[[str], str], where: str
) -> tuple[list[str], dict[int, str]]:
    """The files among `names` that name all these numbers, and number -> name; ([], {}) where none does.

    text: reads a file. Raises DataError where two files name the numbers differently.
    """
    found: dict[str, dict[int, str]] = {}
    called = {name for name in names if base_name(name).lower() in CLASS_FILES}
    others = {n for n in names if n.count("/") < 2 and n.lower().rpartition(".")[2] in _SUFFIXES} - called
    for name in (*called, *(others if len(others) <= _MOST_OTHERS else ())):
        try:
            named = names_in(text(name), numbered=name in others)
        except DataError:
            continue
        known = sum(canonical(label) in EXPRESSIONS for label in named.values())
        if numbers <= named.keys() and (name in called or 2 * known >= len(named)):
            found[name] = named
    meanings = list(found.values())
    if any(named != meanings[0] for named in meanings):
        raise DataError(f"{where}: {' and '.join(sorted(found)[:3])} name the numbers differently; remove one of them, "
                        "or name the numbers with  --labels 0=NAME,...")  # fmt: skip
    return sorted(found), meanings[0] if meanings else {}


def names_in(text: str, *, numbered: bool = False) -> dict[int, str]:
    """Number -> name, as a file has it: a name a line, `0: name` a line, JSON, or YOLO's YAML; {} for anything else.

    numbered: a name a line is not enough. Raises MissingExtraError.
    """
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return _names_of(json.loads(text), numbered)
        except (ValueError, RecursionError):
            return {}
    if _YAML.search(text):
        yaml = import_extra("yaml", "data", "reading names of classes in YAML")
        try:
            return _names_of(yaml.load(text, Loader=yaml.BaseLoader), numbered)
        except (yaml.YAMLError, RecursionError):
            return {}
    lines = [line.strip() for line in text.splitlines() if line.strip()][: _MOST_CLASSES + 1]
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    if all(matches) or (len(matches) > 2 and all(matches[1:])):  # the first may be a header
        return _checked([(m[1] or m[4], m[2] or m[3]) for m in matches if m])
    return {} if numbered else _checked([(str(i), line) for i, line in enumerate(lines)])


def _names_of(data: Any, numbered: bool) -> dict[int, str]:
    if isinstance(data, Mapping) and (key := next((key for key in _KEYS if key in data), None)):
        data, numbered = data[key], False
    if isinstance(data, list) and not numbered:
        return _checked([(str(i), name) for i, name in enumerate(data)])
    if not isinstance(data, Mapping):
        return {}
    if all(isinstance(key, str) and is_number(key) for key in data):
        return _checked(list(data.items()))
    return _checked([(str(number), name) for name, number in data.items()])


def _checked(pairs: Sequence[tuple[str, Any]]) -> dict[int, str]:
    """The pairs of number and name, where they can be that: few, different, and names no numbers."""
    good = 1 < len(pairs) <= _MOST_CLASSES and all(
        isinstance(name, str) and _NAME.fullmatch(name) and not is_number(name) and is_number(n) for n, name in pairs
    )
    names = {int(plain(number)): name.strip() for number, name in pairs} if good else {}
    return names if len(set(names.values())) == len(pairs) else {}
