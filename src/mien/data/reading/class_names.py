"""Files that name the numbers of a data set: classes.txt, label_map.json and their kind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mien.data.reading.label_reading import is_number, plain
from mien.data.reading.trees import base_name
from mien.errors import DataError

CLASS_FILES = frozenset(
    f"{name}.{suffix}"
    for name in (
        "classes", "class_names", "classnames", "labels", "label_names", "labelnames", "label_map", "labelmap", "names",
        "class_map", "class_to_idx", "idx_to_class", "id2label", "label2id", "label_mapping", "emotions", "mapping",
    )
    for suffix in ("txt", "json", "names", "csv")
)  # fmt: skip
"""Their names, in lower case."""

_MOST_CLASSES = 100
_NAME = re.compile(r"\s*[^\s.,;:|/\\=][^.,;:|/\\=]{0,60}")  # no path, and no row of a list
_NUMBERED = re.compile(r"\s*(\d+)\s*[\s:=,;.-]\s*(\S.*)|\s*(\S.*?)\s*[:=,;\s]\s*(\d+)\s*")


def class_names(
    names: Sequence[str], numbers: set[int], text: Callable[[str], str], where: str
) -> tuple[list[str], dict[int, str]]:
    """The files among `names` that name all these numbers, and number -> name; ([], {}) where none does.

    text: reads a file. Raises DataError where two files name the numbers differently.
    """
    found: dict[str, dict[int, str]] = {}
    for name in names:
        if base_name(name).lower() not in CLASS_FILES:
            continue
        try:
            named = names_in(text(name))
        except DataError:
            continue
        if numbers <= named.keys():
            found[name] = named
    meanings = list(found.values())
    if any(named != meanings[0] for named in meanings):
        raise DataError(f"{where}: {' and '.join(sorted(found)[:3])} name the numbers differently; remove one of them, "
                        "or name the numbers with  --labels 0=NAME,...")  # fmt: skip
    return sorted(found), meanings[0] if meanings else {}


def names_in(text: str) -> dict[int, str]:
    """Number -> name, as a file has it: a name a line, `0: name` a line, or JSON; {} for anything else."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return _names_in_json(json.loads(text))
        except (ValueError, RecursionError):
            return {}
    lines = [line.strip() for line in text.splitlines() if line.strip()][: _MOST_CLASSES + 1]
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    if all(matches):
        return _checked([(m[1] or m[4], m[2] or m[3]) for m in matches if m])
    return _checked([(str(i), line) for i, line in enumerate(lines)])


def _names_in_json(data: Any) -> dict[int, str]:
    if isinstance(data, list):
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
