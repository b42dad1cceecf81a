"""Data sets in folders and lists for tests, and how they are read."""

import shutil
import zipfile

import cv2
import numpy as np

from mien.data.readers import open_source
from mien.data.reading.reading import make_choices


def png(seed, side=8):
    return cv2.imencode(".png", np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8))[1].tobytes()


def put(root, *names):
    for seed, name in enumerate(names):
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(seed))


def read(path, **options):
    """File -> (split, class), and problems, of a data set; asserts that every file is accounted for."""
    source = open_source(path, choices=make_choices(**options))
    names = (*source.label_names, None)
    found, problems, consumed = {}, {}, 0
    for chunk in source.chunks():
        columns = (chunk.columns[c].tolist() for c in ("source", "split", "label"))
        found |= {s: (split, names[label]) for s, split, label in zip(*columns, strict=True)}
        problems |= {p.source: p.reason for p in chunk.problems}
        consumed += chunk.consumed
    assert consumed == source.total
    return found, problems, source


def counted(found):
    """(split, class) -> how many."""
    counts = {}
    for key in found.values():
        counts[key] = counts.get(key, 0) + 1
    return counts


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as file:
        for place in sorted(folder.rglob("*")):
            if place.is_file():
                file.write(place, place.relative_to(folder))
    return path


def everywhere(folder, expected, **options):
    """That a set is read as expected as it is, a second time, in a ZIP, one folder deeper, and with stray files."""
    found, problems, source = read(folder, **options)
    assert counted(found) == expected, source.reading.lines()
    assert not problems, problems
    assert read(folder, **options)[2].fingerprint == source.fingerprint
    if "root" not in options:
        assert counted(read(zipped(folder, folder.parent / "set.zip"), **options)[0]) == expected
        deeper = folder.parent / "deeper/archive"
        shutil.copytree(folder, deeper)
        assert counted(read(deeper.parent, **options)[0]) == expected
    (folder / "README.txt").write_text("Faces of our laboratory; for research only.\nCite us.\n")
    (folder / "logo.png").write_bytes(png(99))
    (folder / "notes.pdf").write_bytes(b"%PDF-1.4\n\x00\x01")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    found, problems, source = read(folder, **options)
    assert counted(found) == expected, source.reading.lines()
    assert set(problems) == {"README.txt", "logo.png", "notes.pdf"}


def write_list(root, text, name="list.csv", encoding="utf-8"):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text.encode(encoding))
