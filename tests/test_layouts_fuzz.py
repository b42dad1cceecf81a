"""Mutated data sets: whatever was done to them, no file is lost and no face gets another's label.

Each image shows which class it is by its brightness, so that a label can be held against what the face is.
"""

import csv
import io
import os
import random
import shutil
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.data.readers import open_source
from mien.errors import MienError
from mien.labels import FER2013, canonical

EXAMPLES = int(os.environ.get("MIEN_FUZZ", "400"))
"""How many sets are made; MIEN_FUZZ=10000 for the long run."""

SPELLINGS = (
    [*FER2013], ["Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral"],
    [f"{i}_{name}" for i, name in enumerate(FER2013)], [name.upper() for name in FER2013],
    [f"{name} faces" for name in FER2013], ["Wut", "Ekel", "Angst", "Freude", "Trauer", "Überraschung", "neutral"],
    ["愤怒", "厌恶", "恐惧", "高兴", "悲伤", "惊讶", "中性"],
    ["zen", "bored", "awake", "drowsy", "engaged", "lost", "calm"], [f"c{i}" for i in range(7)],
)  # fmt: skip
SPLITS = (("train", "val", "test"), ("Training", "Validation", "Testing"), ("train_set", "val_set", "test_set"),
          ("01_train", "02_dev", "03_holdout"), ("FER2013Train", "FER2013Valid", "FER2013Test"))  # fmt: skip
SUFFIXES = (".png", ".jpg", ".bmp", ".webp", ".PNG", ".JPEG", ".jpe", "", ".dat", ".tif")
STRAYS = {"README.md": b"# Faces\n", "notes": b"nothing, of note\n1,2\n", "data.bin": bytes(range(200)),
          "model.pkl": b"\x80\x04N.", "empty.png": b"", "scan.pdf": b"%PDF-1.7\n"}  # fmt: skip


def face(label, number, suffix, *, cut):
    """An image file of one class, told by its brightness; never two alike."""
    image = np.full((10, 10), 20 + 30 * label, np.uint8)
    image[number % 10, number // 10 % 10] += 4
    kind = {".jpg": ".jpg", ".JPEG": ".jpg", ".bmp": ".bmp", ".webp": ".webp", ".tif": ".tif"}.get(suffix, ".png")
    data = cv2.imencode(kind, image)[1].tobytes()
    return data[: len(data) // 2] if cut else data


def shown(image):
    """The class that an image shows."""
    return round((float(np.median(image)) - 20) / 30)


@st.composite
def sets(draw):
    """How a set is made and what is done to it."""
    return {
        "seed": draw(st.integers(0, 2**32)),
        "names": draw(st.sampled_from(SPELLINGS)),
        "classes": draw(st.lists(st.integers(0, 6), min_size=2, max_size=7, unique=True)),
        "splits": draw(st.sampled_from((None, *SPLITS))),
        "kind": draw(st.sampled_from(["folders", "folders", "list", "list", "numbers", "people", "pixels"])),
        "delimiter": draw(st.sampled_from([",", ";", "\t", "|"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
        "header": draw(st.booleans()),
        "cut": draw(st.sampled_from([0, 0, 0.2])),
        "strays": draw(st.lists(st.sampled_from(sorted(STRAYS)), max_size=3, unique=True)),
        "suffix": draw(st.sampled_from((*SUFFIXES, None))),
        "wrapped": draw(st.booleans()),
        "zipped": draw(st.booleans()),
        "renamed": draw(st.sampled_from([None, None, "list", "image"])),
        "gone": draw(st.sampled_from([0, 0, 0.2])),
    }


def make(root, how):
    """Makes the set; returns its files' names."""
    rng = random.Random(how["seed"])
    rows = []
    for label in how["classes"]:
        for number in range(rng.randint(1, 3)):
            split = rng.choice(how["splits"]) if how["splits"] else ""
            suffix = how["suffix"] if how["suffix"] is not None else rng.choice(SUFFIXES)
            rows.append((label, split, f"{rng.randrange(10**6):06d}{suffix}", number))
    rng.shuffle(rows)
    if how["kind"] == "pixels":
        write_pixels(root, rows, how)
    else:
        write_images(root, rows, how, rng)
    for name in how["strays"]:
        (root / name).write_bytes(STRAYS[name])
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def write_images(root, rows, how, rng):
    listed = []
    for label, split, file, number in rows:
        name = how["names"][label]
        who = f"P{number}"
        parts = {"folders": (split, name, file), "people": (split, who, name, file)}.get(how["kind"], ("img", file))
        place = root.joinpath(*[part for part in parts if part])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(face(label, number, place.suffix, cut=rng.random() < how["cut"]))
        listed.append([place.relative_to(root).as_posix(), str(label) if how["kind"] == "numbers" else name, split])
        if rng.random() < how["gone"]:
            place.unlink()
    if how["kind"] in ("list", "numbers"):
        header = [["image", "label", "split"]] if how["header"] else []
        text = io.StringIO()
        keep = 3 if how["splits"] else 2
        csv.writer(text, delimiter=how["delimiter"]).writerows(row[:keep] for row in header + listed)
        (root / "list.csv").write_bytes(text.getvalue().encode(how["encoding"]))


def write_pixels(root, rows, how):
    usage = dict(zip(how["splits"], ("Training", "PublicTest", "PrivateTest"), strict=True)) if how["splits"] else {}
    lines = ["emotion,pixels" + (",Usage" if usage else "")]
    for label, split, _, number in rows:
        image = cv2.imdecode(np.frombuffer(face(label, number, ".png", cut=False), np.uint8), cv2.IMREAD_GRAYSCALE)
        cells = [str(label), " ".join(map(str, image.ravel().tolist())), *([usage[split]] if usage else [])]
        lines.append(",".join(cells))
    root.mkdir(parents=True, exist_ok=True)
    (root / "faces.csv").write_text("\n".join(lines) + "\n")


def check(path, files, how):
    try:
        source = open_source(path)
        chunks = list(source.chunks())
    except MienError as error:
        assert "\n" not in str(error), error
        return "refused"
    names = source.label_names
    accounted = set()
    for chunk in chunks:
        for image, name, label in zip(
            chunk.images, chunk.columns["source"].tolist(), chunk.columns["label"].tolist(), strict=True
        ):
            accounted.add(name)
            if label >= 0:
                true = shown(image)
                expected = canonical(FER2013[true] if how["kind"] in ("numbers", "pixels") else how["names"][true])
                assert names[label] == expected, (name, names[label], expected, source.reading.lines())
            else:
                assert any("no labels" in note for note in source.reading.notes), (name, source.reading.lines())
        accounted |= {p.source for p in chunk.problems}
    used = " ".join(source.reading.lines())
    lost = [f for f in files if f not in accounted and f.rpartition("/")[2] not in used
            and not any(a.startswith(f.rpartition("/")[2] + ":") for a in accounted)]  # fmt: skip
    assert not lost, (lost, source.reading.lines())
    return "read"


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES < 1000)
@given(sets())
def test_no_file_is_lost_and_no_label_is_wrong(how):
    folder = Path(tempfile.mkdtemp(prefix="mien-fuzz-"))
    try:
        root = folder / "set" / ("deep/archive" if how["wrapped"] else "")
        root.mkdir(parents=True)
        make(root, how)
        top = folder / "set"
        files = sorted(p.relative_to(top).as_posix() for p in top.rglob("*") if p.is_file())
        if how["zipped"]:
            with zipfile.ZipFile(folder / "set.zip", "w") as file:
                for name in files:
                    file.write(top / name, name)
            top = folder / "set.zip"
        if files:
            check(top, files, how)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["folders", "list", "people", "pixels"])
def test_most_sets_are_read_and_not_refused(tmp_path, kind):
    how = {"seed": 3, "names": SPELLINGS[0], "classes": list(range(7)), "splits": SPLITS[2], "kind": kind, "cut": 0,
           "delimiter": ";", "encoding": "utf-16", "header": True, "strays": ["README.md"], "suffix": ".jpg",
           "gone": 0}  # fmt: skip
    root = tmp_path / "set"
    root.mkdir()
    files = make(root, how)
    assert check(root, files, how) == "read"
