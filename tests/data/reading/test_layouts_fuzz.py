"""Mutated data sets: whatever was done to them, no file is lost and no face gets another's label.

Each image shows which class it is by its brightness, so that a label can be held against what the face is.
"""

import csv
import io
import json
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

EXAMPLES = int(os.environ.get("MIEN_FUZZ", "250"))
"""How many sets are made; MIEN_FUZZ=10000 for the long run."""

CODES = ["AN", "DI", "FE", "HA", "SA", "SU", "NE"]
SPELLINGS = (
    [*FER2013], ["Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral"],
    [f"{i}_{name}" for i, name in enumerate(FER2013)], [name.upper() for name in FER2013],
    [f"{name} faces" for name in FER2013], ["Wut", "Ekel", "Angst", "Freude", "Trauer", "Überraschung", "neutral"],
    ["愤怒", "厌恶", "恐惧", "高兴", "悲伤", "惊讶", "中性"],
    CODES, [f"{name}-{i}" for i, name in enumerate(FER2013)],
    ["enojado", "asco", "miedo", "felices", "tristes", "sorpresa", "neutro"],
    ["zen", "bored", "awake", "drowsy", "engaged", "lost", "calm"], [f"c{i}" for i in range(7)],
)  # fmt: skip
SPLITS = (("train", "val", "test"), ("Training", "Validation", "Testing"), ("train_set", "val_set", "test_set"),
          ("01_train", "02_dev", "03_holdout"), ("FER2013Train", "FER2013Valid", "FER2013Test"),
          ("my_train_48x48", "my_val_48x48", "my_test_48x48"),
          ("entrenamiento", "validación", "prueba"), ("训练集", "验证集", "测试集"))  # fmt: skip
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
        "kind": draw(st.sampled_from(["folders", "list", "list", "json", "numbers", "people", "pixels", "joined"])),
        "delimiter": draw(st.sampled_from([",", ";", "\t", "|"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])),
        "above": draw(st.sampled_from([None, None, "sep", "# made by us", "Our faces"])),
        "columns": draw(st.permutations(["image", "label", "split"])),
        "paths": draw(st.sampled_from(["{}", "./{}", "C:\\faces\\{}", "/home/me/{}", "https://x.y/{}"])),
        "shape": draw(st.sampled_from(["rows", "lines", "wrapped", "columns", "by image"])),
        "explained": draw(st.booleans()),
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
        parts = {"folders": (split, name, file), "people": (split, who, name, file),
                 "joined": (f"{split}_{name}" if split else name, file)}.get(how["kind"], ("img", file))  # fmt: skip
        place = root.joinpath(*[part for part in parts if part])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(face(label, number, place.suffix, cut=rng.random() < how["cut"]))
        listed.append([place.relative_to(root).as_posix(), str(label) if how["kind"] == "numbers" else name, split])
        if rng.random() < how["gone"]:
            place.unlink()
    if how["kind"] in ("list", "numbers", "json"):
        write_lists(root, listed, how)


def write_lists(root, listed, how):
    """The list of a set, in one of the ways in which lists come; for numbers perhaps a file of class names."""
    columns = [column for column in how["columns"] if how["splits"] or column != "split"]
    for row in listed:
        path = how["paths"].format(row[0])
        row[0] = path.replace("/", "\\") if "\\" in path else path
    rows = [dict(zip(("image", "label", "split"), row, strict=True)) for row in listed]
    rows = [{column: row[column] for column in columns} for row in rows]
    if how["kind"] == "json":
        (root / "list.json").write_bytes(json_of(rows, columns, how["shape"]).encode(how["encoding"]))
        return
    text = io.StringIO()
    if how["above"]:
        text.write(f"sep={how['delimiter']}\r\n" if how["above"] == "sep" else f"{how['above']}\r\n")
    header = [columns] if how["header"] or how["above"] else []
    csv.writer(text, delimiter=how["delimiter"]).writerows(header + [list(row.values()) for row in rows])
    (root / "list.csv").write_bytes(text.getvalue().encode(how["encoding"]))
    if how["kind"] == "numbers" and how["explained"]:
        (root / "classes.txt").write_text("".join(f"{name}\n" for name in FER2013))


def json_of(rows, columns, shape):
    if shape == "lines":
        return "\n".join(map(json.dumps, rows))
    if shape == "wrapped":
        return json.dumps({"version": 2, "data": rows})
    if shape == "columns" and len(rows) > 1:
        return json.dumps({column: [row[column] for row in rows] for column in columns})
    if shape == "by image" and len({row["image"] for row in rows}) == len(rows):
        return json.dumps({row["image"]: {c: row[c] for c in columns if c != "image"} for row in rows})
    return json.dumps(rows)


def write_pixels(root, rows, how):
    usage = dict(zip(how["splits"], ("Training", "PublicTest", "PrivateTest"), strict=True)) if how["splits"] else {}
    lines = ["emotion,pixels" + (",Usage" if usage else "")]
    delimiter = how["delimiter"] if how["delimiter"] != "|" else ","
    for label, split, _, number in rows:
        image = cv2.imdecode(np.frombuffer(face(label, number, ".png", cut=False), np.uint8), cv2.IMREAD_GRAYSCALE)
        cells = [str(label), " ".join(map(str, image.ravel().tolist())), *([usage[split]] if usage else [])]
        lines.append(",".join(cells))
    root.mkdir(parents=True, exist_ok=True)
    (root / "faces.csv").write_text("\n".join(lines).replace(",", delimiter) + "\n")


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
                codes = FER2013[true] if how["names"] is CODES else expected  # which count where all are codes
                assert names[label] in (expected, codes), (name, names[label], expected, source.reading.lines())
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


@pytest.mark.parametrize("kind", ["folders", "list", "json", "people", "pixels", "joined"])
def test_most_sets_are_read_and_not_refused(tmp_path, kind):
    how = {"seed": 3, "names": SPELLINGS[0], "classes": list(range(7)), "splits": SPLITS[0], "kind": kind, "cut": 0,
           "delimiter": ";", "encoding": "utf-16", "header": True, "strays": ["README.md"], "suffix": ".jpg",
           "gone": 0, "above": "sep", "columns": ["label", "image", "split"], "paths": "{}", "shape": "rows",
           "explained": False}  # fmt: skip
    root = tmp_path / "set"
    root.mkdir()
    files = make(root, how)
    assert check(root, files, how) == "read"
