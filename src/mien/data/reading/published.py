"""Data sets of images as their authors publish them: RAF-DB, ExpW, CK+, Aff-Wild2."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mien.data.reading.folders import split_of
from mien.data.reading.label_reading import is_number, plain
from mien.data.reading.list_columns import columns_of
from mien.data.reading.lists import RAF_NAME, one_record_each
from mien.data.reading.reading import Found, ImagePaths, Scan, paths_of
from mien.data.reading.sources import Record, found_files, number_faces
from mien.data.reading.text_tables import open_text_table
from mien.data.reading.trees import base_name, first_of, split_named, suffix_of
from mien.errors import DataError
from mien.images import IMAGE_SUFFIXES
from mien.labels import EIGHT, canonical

_RAF_LIST = re.compile(r"(?P<base>(?:.*?/)??)(EmoLabel/)?list_par?tition_label\.txt", re.IGNORECASE)
_RAF_CLASSES = tuple("1234567")
_CK_IMAGE = re.compile(r"(?P<person>S\d{3})_\d{3}_\d{8}\.\w+", re.IGNORECASE)
_CK_LABEL = re.compile(r"(?P<stem>S\d{3}_\d{3}_\d{8})_emotion\.txt", re.IGNORECASE)
_LOOKED_AT, _START = 40, 8192  # lines that are read to recognise a list, and the bytes read for them


def split_above(scan: Scan, name: str) -> str:
    """The first folder above a file that means a split, as written; '' where none does."""
    return next((part for part in name.split("/")[:-1] if split_of(scan, part) is not None), "")


# RAF-DB


def find_raf_db(scan: Scan, only: str = "") -> Found | None:
    """RAF-DB's list of lines `train_00001.jpg 5`, its images in Image/aligned or Image/original.

    only: the one list that is looked at.
    """
    lists = [n for n in ([only] if only else scan.others) if _RAF_LIST.fullmatch(n)]
    if not lists:
        return None
    listed = min(lists, key=lambda n: ("compound" in n.lower(), n.count("/"), n))
    where = scan.tree.where(listed)
    match = _RAF_LIST.fullmatch(listed)
    base = match["base"] if match else ""
    images: dict[str, str] = {}
    for name in sorted(scan.images, key=lambda n: (not n.startswith(base), "/aligned/" not in f"/{n.lower()}", n)):
        images.setdefault(base_name(name).lower(), name)
    lines = [(i, line) for i, line in enumerate(scan.text(listed).splitlines(), start=1) if line.strip()]
    _refuse_compound(scan, listed, [line for _, line in lines])
    records, notes = one_record_each(_raf_record(images, listed, i, line) for i, line in lines)
    if all(r.wrong for r in records):
        reason = records[0].wrong if records else "it is empty"
        raise DataError(f"{where}: none of its images can be used ({reason}); give the folder that holds EmoLabel and "
                        "Image")  # fmt: skip
    labels = scan.labels({r.label for r in records if not r.wrong}, where, order="raf-db")
    aligned = Counter("_aligned." in base_name(r.name).lower() for r in records if not r.wrong)
    notes += [f"{aligned[True]:,} aligned faces and {aligned[False]:,} original images"] if len(aligned) > 1 else []
    splits = {r.split: r.split for r in records if r.split and not r.wrong}
    return found_files(scan, records, labels, "RAF-DB", listed, splits=splits, notes=notes, used={listed},
                       stray="is not listed, or another image of the same face is used")  # fmt: skip


def _refuse_compound(scan: Scan, listed: str, lines: Sequence[str]) -> None:
    """Raises DataError for RAF-DB's compound expressions, whose numbers mean others."""
    last = [line.split()[-1] for line in lines]
    above = sum(word in ("8", "9", "10", "11") for word in last)
    compound = "compound" in listed.lower() or all("compound" in name.lower() for name in scan.images)
    if scan.choices.labels is None and (compound or (above > 1 and above * 20 > len(last))):
        raise DataError(f"{scan.tree.where(listed)}: lists RAF-DB's compound expressions; mien reads the basic ones; "
                        "give the folder 'basic', or name the numbers with  --labels 1=NAME,...")  # fmt: skip


def _raf_record(images: dict[str, str], listed: str, number: int, line: str) -> Record:
    words = line.split()
    where = f"{listed}:{number}"
    if len(words) != 2 or "/" in words[0] or not plain(words[1]).isdecimal():
        return Record(where, wrong=f"'{line.strip()[:40]}'; expected a file name and a label from 1 to 7")
    split = split_named(words[0].partition("_")[0])
    if split is None:
        return Record(where, wrong=f"'{words[0][:40]}' begins with neither train_ nor test_")
    stem, _, suffix = words[0].lower().rpartition(".")
    name = images.get(f"{stem}_aligned.{suffix}") or images.get(words[0].lower())
    if name is None:
        return Record(where, split, wrong=f"{words[0][:60]} lies neither in Image/aligned nor in Image/original")
    return Record(name, split, words[1])


def find_raf_folders(scan: Scan) -> Found | None:
    """RAF-DB's images in folders 1 to 7: most of the images there have its names, `train_00001_aligned.jpg`."""
    folder = {name: name.split("/")[-2] for name in scan.images if "/" in name}
    classed = [name for name in scan.images if folder.get(name) in _RAF_CLASSES]
    named = [name for name in folder if RAF_NAME.fullmatch(base_name(name).lower())]
    if any(folder[name].isdecimal() and folder[name] not in _RAF_CLASSES for name in named):
        return None  # its images, numbered by someone else
    inside = [name for name in named if folder[name] in _RAF_CLASSES]
    if not inside or 2 * len(inside) < len(classed) or 2 * len(classed) < len(scan.images):
        return None
    splits: dict[str, str] = {}
    records = []
    for name in classed:
        word = split_above(scan, name) or base_name(name).partition("_")[0].lower()
        split = scan.choices.split(word) if word in scan.choices.split_map or split_named(word) else ""
        if split:
            splits[word] = split
        records.append(Record(name, split or "", folder[name]))
    labels = scan.labels({r.label for r in records}, str(scan.root), order="raf-db")
    records, used, notes = _agreeing(scan, records)
    return found_files(scan, records, labels, "RAF-DB in class folders", "the folders 1 to 7", splits=splits,
                       notes=notes, used=used, stray="lies in no class folder 1 to 7")  # fmt: skip


def _agreeing(scan: Scan, records: list[Record]) -> tuple[list[Record], set[str], list[str]]:
    """The records, those wrong that a list beside the folders labels otherwise; the lists; what is said of them."""
    places: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        places.setdefault(base_name(record.name).lower(), []).append(i)
    used: set[str] = set()
    absent: list[Record] = []
    differ: dict[int, str] = {}
    agree = 0
    for listed in scan.with_suffix(".csv", ".txt", ".tsv"):
        rows = _raf_rows(scan, listed)
        if not rows:
            continue
        used.add(listed)
        for number, image, label in rows:
            found = places.get(base_name(image.replace("\\", "/")).lower(), [])
            if not found:
                reason = f"'{image[:60]}' is in no class folder"
                absent.append(Record(f"{listed}:{number}", wrong=reason))
            for i in found:
                if plain(label) == records[i].label:
                    agree += 1
                else:
                    differ[i] = f"lies in the folder {records[i].label}, and {listed}:{number} says {label[:20]}"
    if len(differ) > agree:
        where = scan.tree.where(sorted(used)[0])
        i, why = next(iter(differ.items()))
        raise DataError(f"{where}: contradicts the class folders on {len(differ):,} of {len(differ) + agree:,} images "
                        f"({records[i].name} {why}); remove what is wrong")  # fmt: skip
    records = [replace(r, wrong=differ[i]) if i in differ else r for i, r in enumerate(records)]
    notes = [f"{', '.join(sorted(used))}: agrees with the folders on {agree:,} images"] if used else []
    if differ:
        notes.append(f"{len(differ):,} images have another label in the list; they are left out")
    return records + absent, used, notes


def _raf_rows(scan: Scan, listed: str) -> list[tuple[int, str, str]]:
    """Line number, image and label of a list most of whose images have RAF-DB's names; none of another file."""
    table = open_text_table(scan.tree, listed)
    opened = columns_of(scan, table) if table and table.delimiter else None
    if opened is None or opened[1].label < 0:
        return []
    image, label = opened[1].image, opened[1].label
    rows = [(n, c[image], c[label]) for n, c in opened[0].rows() if max(image, label) < len(c)]
    return rows if 2 * sum(bool(RAF_NAME.fullmatch(base_name(r[1]).lower())) for r in rows) > len(rows) else []


# ExpW


def find_expw(scan: Scan, only: str = "") -> Found | None:
    """ExpW's list: `name face top left right bottom confidence label`, its images in image/ or origin/.

    only: the one list that is looked at.
    """
    for listed in [only] if only else scan.with_suffix(".lst", ".txt"):
        if not scan.tree.size(listed) or not _is_expw(scan.head(listed, _START)):
            continue
        paths = paths_of(scan, listed)
        lines = [(i, line) for i, line in enumerate(scan.text(listed).splitlines(), start=1) if line.strip()]
        records = number_faces(_expw_record(paths, listed, i, line) for i, line in lines)
        if all(r.wrong for r in records):
            raise DataError(f"{scan.tree.where(listed)}: none of its images can be used ({records[0].wrong})")
        labels = scan.labels({r.label for r in records if not r.wrong}, scan.tree.where(listed), order="fer2013")
        faces = sum(r.face > 0 for r in records)
        notes = [f"{faces:,} faces share an image with others; they are cut out at their boxes"] if faces else []
        return found_files(scan, records, labels, "ExpW", listed, notes=notes, used={listed},
                           stray=f"is not in {listed}", tree=paths.tree)  # fmt: skip
    return None


def _is_expw(start: bytes) -> bool:
    lines = [line for line in start.decode("utf-8", "replace").splitlines() if line.strip()]
    lines = lines[:-1][:_LOOKED_AT] if len(start) == _START else lines  # the last may be cut off
    fitting = sum(_expw_fields(line) is not None for line in lines)
    return bool(lines) and fitting * 2 > len(lines)


def _expw_fields(line: str) -> tuple[str, list[float], str] | None:
    """Image, the numbers between (face, top, left, right, bottom, confidence) and label; None for other lines."""
    words = line.rsplit(maxsplit=7)
    try:
        numbers = [float(word) for word in words[1:7]]
    except ValueError:
        return None
    whole = (
        len(words) == 8
        and suffix_of(words[0].strip()) in IMAGE_SUFFIXES
        and all(number == round(number) for number in numbers[:5] if abs(number) < 1e9)
    )
    return (words[0].strip(), numbers, words[7]) if whole and all(abs(n) < 1e9 for n in numbers) else None


def _expw_record(paths: ImagePaths, listed: str, number: int, line: str) -> Record:
    fields = _expw_fields(line)
    if fields is None:
        reason = f"'{line.strip()[:40]}'; expected name, face, top, left, right, bottom, confidence, label"
        return Record(f"{listed}:{number}", wrong=reason)
    image, (_, top, left, right, bottom, _), label = fields
    name = paths.find(image) or paths.find(f"origin/{image}")
    if name is None:
        return Record(f"{listed}:{number}", wrong=f"'{image[:60]}': no such file in image or origin beside {listed}")
    return Record(name, "", label, box=(left, top, right, bottom))


# CK+


def find_ck_plus(scan: Scan) -> Found | None:
    """CK+'s sequences, `S005/001/S005_001_00000011.png`, and its files of labels, `S005_001_00000011_emotion.txt`."""
    texts = {m["stem"].lower(): n for n in scan.others if (m := _CK_LABEL.fullmatch(base_name(n)))}
    frames = {base_name(n).rpartition(".")[0].lower(): n for n in scan.images if _CK_IMAGE.fullmatch(base_name(n))}
    if not texts or not frames:
        return None
    labelled = {stem[:8] for stem in texts}
    records = []
    rest: Counter[bool] = Counter()
    for name in scan.images:
        stem = base_name(name).rpartition(".")[0].lower()
        if stem not in frames:
            continue
        person = (base_name(name)[:4].upper(),)
        if stem in texts and frames[stem] == name:
            label = scan.head(texts[stem]).decode("ascii", "replace").strip()
            wrong = "" if label else f"{texts[stem]} is empty; expected a number from 0 to 7"
            records.append(Record(name, "", label, person, wrong))
            continue
        rest[stem[:8] in labelled] += 1
        why = "its sequence has a label, for another frame" if stem[:8] in labelled else "its sequence has no label"
        records.append(Record(name, "", "", person, why))
    missing = [Record(n, wrong="no image of this name") for stem, n in texts.items() if stem not in frames]
    labels = scan.labels({r.label for r in records if not r.wrong}, str(scan.root), order="ck+")
    notes = ["people are the column identity (S005); the labelled frame of a sequence is its last, the peak"]
    if rest:
        notes.append(f"left out: {rest[True]:,} other frames of sequences with a label, {rest[False]:,} without one")
    return found_files(scan, records + missing, labels, "CK+", "the files *_emotion.txt", notes=notes,
                       used=set(texts.values()), stray="is no frame of CK+", extra={"identity": object})  # fmt: skip


# Aff-Wild2


def find_aff_wild(scan: Scan) -> Found | None:
    """Aff-Wild2: folders of frames, `103/00001.jpg`, and for each `103.txt`: names, then a number for each frame."""
    clips: dict[str, dict[str, str]] = {}
    for name in scan.images:
        folder, _, file = name.rpartition("/")
        clips.setdefault(base_name(folder), {})[file.rpartition(".")[0].lstrip("0")] = name
    lists = {
        n: names
        for n in scan.with_suffix(".txt")
        if base_name(n)[:-4] in clips and (names := _names_above(scan.head(n, _START)))
    }
    if not lists:
        return None
    records: list[Record] = []
    splits: dict[str, str] = {}
    absent = 0
    for listed, names in lists.items():
        clip, word = base_name(listed)[:-4], split_above(scan, listed)
        split = (split_of(scan, word) if word else "") or ""
        splits |= {word: split} if word else {}
        for frame, line in enumerate(scan.text(listed).splitlines()[1:], start=1):
            image = clips[clip].get(str(frame))
            code = plain(line)
            known = code.isdecimal() and int(code) < len(names)
            wrong = "" if known else f"{listed}:{frame + 1} says {code[:20] or 'nothing'}, which is no expression"
            absent += image is None
            if image:
                records.append(Record(image, split, names[int(code)] if known else "", (clip,), wrong))
    labels = scan.labels({r.label for r in records if not r.wrong}, str(scan.root))
    notes = ["clips are the column identity"] + [f"{absent:,} lines are of frames that are not there"] * bool(absent)
    return found_files(scan, records, labels, "Aff-Wild2", f"the numbers in {first_of(sorted(lists))}", splits=splits,
                       notes=notes, used=lists, stray="no text file has a line for it",
                       extra={"identity": object})  # fmt: skip


def _names_above(head: bytes) -> list[str]:
    """The names in the first line of a text whose second one is a number; none in others."""
    names, second = (*head.decode("utf-8", "replace").splitlines(), "", "")[:2]
    found = [name.strip() for name in names.split(",")]
    return found if is_number(second) and sum(canonical(name) in EIGHT for name in found) > len(found) // 2 else []
