"""Reads WebDataset: tar files with KEY.jpg, KEY.cls, KEY.json, ... next to each other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.data.reading.archives import TarArchive
from mien.data.reading.label_reading import is_no_label
from mien.data.reading.list_columns import LABEL_COLUMNS, SPLIT_COLUMNS
from mien.data.reading.reading import Found, Scan
from mien.data.reading.sources import Record, column_name, found_files
from mien.data.reading.trees import Folder, suffix_of
from mien.images import IMAGE_SUFFIXES
from mien.labels import EIGHT

_CLASS = ("cls", "cls.txt", "label", "label.txt", "class", "emotion", "txt", "text", "json")
_NUMBERS = {"votes": len(EIGHT), "ferplus_other": 2, "box": 4}
"""Columns of mien with several numbers per sample: how many."""

_TEXT = 1_000_000  # the most bytes of a label or of a sample's metadata


@dataclass(slots=True)
class _Sample:
    """The members of one key, by what follows the first dot of their names."""

    key: str
    members: dict[str, str]

    def images(self) -> list[str]:
        return [name for end, name in self.members.items() if _shows(end)]


def _shows(end: str) -> bool:
    """Whether a member with this end of its name is an image: jpg, image.png."""
    return suffix_of(f"KEY.{end}") in IMAGE_SUFFIXES


def find_webdataset(scan: Scan) -> Found | None:
    """Tar files of samples: the tree itself, or files in it."""
    if isinstance(scan.tree, TarArchive):
        samples = _samples(scan.tree, "")
        return _found(scan, {"": scan.tree}, samples) if _are_samples(samples) else None
    names = scan.with_suffix(".tar")
    if not names or not isinstance(scan.tree, Folder):
        return None
    archives, samples = {}, []
    for name in names:
        archive = TarArchive(scan.tree.root / name)
        inside = _samples(archive, f"{name}/")
        if _are_samples(inside):
            archives[name] = archive
            samples += inside
    return _found(scan, archives, samples) if archives else None


def _samples(archive: TarArchive, prefix: str) -> list[_Sample]:
    found: dict[str, _Sample] = {}
    for name in archive.names:
        folder, _, file = name.rpartition("/")
        stem, _, end = file.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        found.setdefault(key, _Sample(prefix + key, {})).members[end.lower()] = prefix + name
    return list(found.values())


def _are_samples(samples: Iterable[_Sample]) -> bool:
    """Whether an image has a label of its own beside it."""
    return any(sample.images() and any(end in sample.members for end in _CLASS) for sample in samples)


def _found(scan: Scan, archives: Mapping[str, TarArchive], samples: Iterable[_Sample]) -> Found:
    tree = next(iter(archives.values())) if isinstance(scan.tree, TarArchive) else TarArchive.joined(archives)
    declared = scan.exported_names
    about = {sample.key: _about(tree, sample, exported=bool(declared)) for sample in samples}
    titles = _titles(about.values())
    numbers = [t for t, n in _NUMBERS.items() if all(_are_numbers(said.get(t), n) for said in about.values())]
    records: list[Record] = []
    splits: dict[str, str] = {}
    for sample in samples:
        said = about[sample.key]
        word, split = _split(scan, sample, said)
        if split is not None:
            splits[word] = split
        extra: tuple[Any, ...] = tuple("" if said.get(t) is None else str(said[t]) for t in titles)
        extra += tuple(said[t] for t in numbers)
        images, wrong = sample.images(), said.get("", "")
        if len(images) != 1:
            wrong = f"{len(images) or 'no'} images of this key; expected KEY.jpg or KEY.png"
        elif split is None:
            wrong = f"'{word}' is no split; expected train, validation or test (--split-map names others)"
        records.append(Record(images[0] if images else sample.key, split or "", said.get("label", ""), extra, wrong))
    where = str(scan.root)
    labels = scan.labels({r.label for r in records}, where, declared=declared)
    columns: dict[str, Any] = dict.fromkeys(map(column_name, titles), object)
    columns |= {title: np.dtype((np.float32, (_NUMBERS[title],))) for title in numbers}
    used = {name for name in archives if name} or {n for s in samples for n in s.members.values()}
    rest = {end for s in samples for end in s.members if not _shows(end)} - set(_CLASS)
    notes = [f"not read: KEY.{end}" for end in sorted(rest)]
    shown = sorted({end for s in samples for end in s.members} & set(_CLASS))
    labels_from = " or ".join(f"KEY.{end}" for end in shown)
    stamp = " ".join(archive.status for archive in archives.values())
    return found_files(scan, records, labels, "WebDataset", labels_from, splits=splits, notes=notes, used=used,
                       tree=tree, extra=columns, stamp=stamp)  # fmt: skip


def _about(tree: TarArchive, sample: _Sample, *, exported: bool) -> dict[str, Any]:
    """What a sample's texts say: `label` as written, and what else its JSON holds; '' -> why it can't be used.

    exported: mien wrote it, so its JSON has the name of the class and KEY.cls its number.
    """
    texts: dict[str, str] = {}
    for end in _CLASS:
        name = sample.members.get(end)
        if name is None:
            continue
        if tree.size(name) > _TEXT:
            return {"": f"KEY.{end} has {tree.size(name):,} bytes; expected a label"}
        with tree.open(name) as file:
            texts[end] = file.read().decode("utf-8", "replace").strip()
    said: dict[str, Any] = {}
    if "json" in texts:
        try:
            found = json.loads(texts.pop("json"))
        except (ValueError, RecursionError) as error:
            return {"": f"KEY.json is not JSON ({error})"}
        said = {str(k): v for k, v in found.items()} if isinstance(found, dict) else {"label": found}
    lower = {title.lower(): title for title in reversed(said)}
    title = next((lower[known] for known in LABEL_COLUMNS if known in lower), "")
    value = said.pop(title) if title else None
    if isinstance(value, list | dict):
        return {"": f"its label in KEY.json is {json.dumps(value)[:60]}; expected a name or a number"}
    in_json = "" if value is None else str(value).strip()
    in_text = "" if exported and in_json else next((text for text in texts.values() if text), "")
    both = not is_no_label(in_json) and not is_no_label(in_text)  # a name and a number may mean the same
    if both and in_json.isdecimal() == in_text.isdecimal() and in_json.lower() != in_text.lower():
        return {"": f"its label is '{in_text[:40]}' in one file and '{in_json[:40]}' in KEY.json"}
    said["label"] = "" if is_no_label(in_json or in_text) else in_json or in_text
    return said


def _titles(about: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the samples' JSON says besides labels, splits and votes: text and numbers."""
    found: dict[str, None] = {}
    for said in about:
        for title, value in said.items():
            if (
                title
                and isinstance(value, str | int | float)
                and title.lower() not in ("label", "votes", *SPLIT_COLUMNS)
            ):
                found[title] = None
    return list(found)


def _are_numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(isinstance(n, int | float) for n in value)


def _split(scan: Scan, sample: _Sample, said: Mapping[str, Any]) -> tuple[str, str | None]:
    """A sample's split as written and as read: what its JSON says, else the name of its tar file or folder."""
    written = next((str(said[t]) for t in said if t.lower() in SPLIT_COLUMNS and said[t]), "")
    if written:
        return written, scan.choices.split(written)
    parts = sample.key.split("/")[:-1] or [scan.root.name]
    parts = [scan.root.name, *parts] if isinstance(scan.tree, TarArchive) else parts
    word = scan.choices.split_word([part.removesuffix(".tar") for part in reversed(parts)], pieces=True)
    return word, scan.choices.split(word)
