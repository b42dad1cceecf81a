"""Duplicates: which images count as copies, that no near pair is missed, and which of them stay."""

import csv

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from mien.data import duplicates
from mien.data.arrays import open_arrays, read_problems, write_arrays
from mien.data.dataset import Dataset
from mien.data.dedupe import dedupe, dedupe_rows
from mien.data.duplicates import (
    find_duplicates,
    low_frequencies,
    near_pairs,
    perceptual_hashes,
    popcount,
)
from mien.data.readers import open_dataset
from mien.data.source import CHUNK, Chunk, Problem, offsets_of, text_column
from mien.data.toy import toy_faces
from mien.errors import DataError, OutputError
from places import SHARED


def dataset_of(images, labels=None, splits=None, fingerprint="x"):
    """Images (H, W) or (H, W, C) as a data set of the labels happy and sad."""
    images = [p if p.ndim == 3 else p[..., None] for p in images]
    shapes = np.array([p.shape for p in images], np.int32)
    columns = {
        "source": text_column([f"p{i}" for i in range(len(images))]),
        "split": text_column(splits or ["train"] * len(images)),
        "label": np.array(labels or [0] * len(images), np.int64),
    }
    pixels = np.concatenate([p.reshape(-1) for p in images])
    return Dataset(("happy", "sad"), columns, pixels, offsets_of(shapes), shapes, fingerprint=fingerprint)


def faces(count, size=48, channels=1, seed=0):
    return list(toy_faces(count, size=size, channels=channels, seed=seed).images)


def jpeg(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_UNCHANGED)


# Exact copies


def test_exact_copies_have_the_same_shape_and_pixels():
    flat = np.arange(48, dtype=np.uint8)
    shapes = [(6, 8, 1), (8, 6, 1), (4, 4, 3), (6, 8, 1), (16, 1, 3), (8, 6, 1), (6, 8, 1)]
    found = find_duplicates(dataset_of([flat.reshape(s) for s in shapes]))
    assert found.group.tolist() == [0, 1, -1, 0, -1, 1, 0]
    assert found.distance.tolist() == [0, 0, -1, 0, -1, 0, 0]
    assert found.exact.tolist() == [True, True, False, True, False, True, True]
    assert (found.groups, found.images, found.near.any()) == (2, 5, False)


def test_one_other_pixel_is_no_exact_copy():
    one = faces(1)[0]
    other = one.copy()
    other[47, 47] ^= 1
    assert find_duplicates(dataset_of([one, other])).groups == 0
    assert find_duplicates(dataset_of([one, other]), near=0).group.tolist() == [0, 0]


def test_conflicts_and_groups_across_splits():
    a, b, c, d = faces(4)
    splits = ["train", "train", "train", "validation", "train", "test"]
    found = find_duplicates(dataset_of([a, a, b, b, c, d], [0, 1, 0, -1, 0, 1], splits))
    assert found.conflicting.tolist() == [True, False]  # a sample without a label contradicts nobody
    assert found.crossing.tolist() == [False, True]
    assert (found.conflicts, found.cross_split) == (1, 1)


def test_no_copies():
    dataset = dataset_of(faces(5))
    found = find_duplicates(dataset, near=4)
    assert (found.groups, found.images, found.conflicts, found.cross_split) == (0, 0, 0, 0)
    assert dedupe_rows(dataset, found).tolist() == [0, 1, 2, 3, 4]
    assert find_duplicates(dataset.take(np.arange(0)), near=4).groups == 0


@pytest.mark.skipif(not (SHARED / "data").exists(), reason="needs FER2013 in the folder shared beside the repository")
def test_fer2013(said: list[str]):
    dataset = open_dataset(SHARED / "data")
    assert [line.split(": ")[1] for line in said] == ["README.md"]
    found = find_duplicates(dataset)
    assert (found.groups, found.images, found.conflicts, found.cross_split) == (1273, 2805, 47, 270)
    rows = dedupe_rows(dataset, found)
    left = find_duplicates(dataset.take(rows))
    assert left.groups == 0
    assert len(rows) == 32298 - 2805 + 1273 - 47


# Near copies


@pytest.mark.parametrize(
    "change",
    [
        lambda p: jpeg(p, 40),
        lambda p: cv2.resize(p, (64, 64), interpolation=cv2.INTER_CUBIC),
        lambda p: cv2.resize(p, (40, 56), interpolation=cv2.INTER_AREA),
        lambda p: np.clip(p * 0.7 + 40, 0, 255).astype(np.uint8),
        lambda p: cv2.GaussianBlur(p, (3, 3), 0),
        lambda p: np.repeat(p.reshape(48, 48, 1), 3, axis=2),
    ],
    ids=["jpeg", "larger", "squeezed", "lighter", "blurred", "rgb"],
)
def test_near_copies_are_found_and_nothing_else(change):
    some = faces(20)
    found = find_duplicates(dataset_of([*some, *(change(p) for p in some)]), near=8)
    number = np.arange(20)
    assert found.group.tolist() == [*number, *number]
    assert found.near.all()
    assert (found.distance <= 8).all()


def test_candidates_that_look_different_are_no_copies(monkeypatch):
    dataset = dataset_of(faces(60))
    assert find_duplicates(dataset, near=16).groups == 0
    monkeypatch.setattr(duplicates, "SAME", -1.0)
    assert find_duplicates(dataset, near=16).groups > 0  # there were candidates


def test_near_copies_of_near_copies_are_one_group():
    face = faces(1, size=96)[0]
    rng = np.random.default_rng(0)
    chain = [face]
    for _ in range(6):
        chain.append(np.clip(chain[-1] + rng.normal(0, 12, face.shape), 0, 255).astype(np.uint8))
    order = [3, 0, 6, 2, 5, 1, 4]
    found = find_duplicates(dataset_of([chain[i] for i in order] + faces(3, size=96, seed=9)), near=10)
    assert found.group.tolist() == [0] * 7 + [-1] * 3
    assert found.distance[0] == 0


def test_blank_images_have_exact_copies_only():
    rng = np.random.default_rng(0)
    blank = [rng.integers(100, 103, (48, 48)).astype(np.uint8) for _ in range(4)]
    tiny = [np.full((4, 4), value, np.uint8) for value in (90, 200)]  # fewer pixels than waves
    found = find_duplicates(dataset_of([*blank, np.zeros((48, 48), np.uint8), blank[2], *tiny]), near=16)
    assert found.group.tolist() == [-1, -1, 0, -1, -1, 0, -1, -1]


def test_hashes_are_the_same_in_blocks_of_one_image(monkeypatch):
    dataset = dataset_of([*faces(6), *faces(3, size=64, channels=3)])
    whole = perceptual_hashes(dataset, np.arange(9))
    monkeypatch.setattr(duplicates, "_BLOCK_PIXELS", 1)
    single = perceptual_hashes(dataset, np.arange(9))
    np.testing.assert_array_equal(whole[0], single[0])
    np.testing.assert_allclose(whole[1], single[1], rtol=1e-4)


def test_low_frequencies_are_those_of_opencv():
    image = faces(1)[0]
    scale = np.full(48, 1 / 48)  # OpenCV's are orthonormal: their squares add up to the squares of all pixels
    expected = cv2.dct(image[..., 0].astype(np.float32)) * scale
    np.testing.assert_allclose(low_frequencies(dataset_of([image]), np.arange(1), 9)[0], expected[:9, :9], atol=1e-3)


def test_bits_out_of_range():
    with pytest.raises(DataError, match="0 to 16"):
        find_duplicates(dataset_of(faces(2)), near=17)


# The search


def planted(count, bits, seed=0):
    """Random hashes, some of which differ from others in 0 to `bits` bits, and some the same."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for i in range(count // 4):
        flips = rng.permutation(64)[: i % (bits + 1)].astype(np.uint64)
        hashes[count - 1 - i] = hashes[i] ^ np.bitwise_or.reduce(np.uint64(1) << flips, initial=np.uint64(0))
    return hashes


def all_pairs(hashes, bits):
    left, right = np.nonzero(
        np.triu(popcount((hashes[:, None] ^ hashes).reshape(-1)).reshape(len(hashes), -1) <= bits, 1)
    )
    return sorted(zip(left.tolist(), right.tolist(), strict=True))


def found_pairs(hashes, bits):
    return sorted(
        (min(a, b), max(a, b))
        for left, right in near_pairs(hashes, bits)
        for a, b in zip(left.tolist(), right.tolist(), strict=True)
    )


@pytest.mark.parametrize("bits", [0, 1, 2, 3, 4, 5, 7, 8, 10, 12])
def test_all_near_pairs_are_found_once(bits):
    hashes = planted(800, bits)
    assert found_pairs(hashes, bits) == all_pairs(hashes, bits)


@pytest.mark.parametrize("bits", [0, 6])
def test_all_near_pairs_are_found_in_crowded_buckets_and_small_blocks(bits, monkeypatch):
    monkeypatch.setattr(duplicates, "_CANDIDATES", 100)
    hashes = np.random.default_rng(1).integers(0, 1 << 9, 300).astype(np.uint64) << np.uint64(12)
    assert found_pairs(hashes, bits) == all_pairs(hashes, bits)


def test_bits_are_counted_without_numpy_2(monkeypatch):
    hashes = planted(1000, 5)
    expected = [int(h).bit_count() for h in hashes]
    assert popcount(hashes).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert popcount(hashes).tolist() == expected


def test_groups_hang_together_whatever_the_order_of_the_pairs():
    rng = np.random.default_rng(0)
    links = np.concatenate([np.stack([np.arange(99), np.arange(1, 100)], 1) + start for start in (0, 100, 200)])
    links = rng.permuted(rng.permutation(links), axis=1)
    root = np.arange(300)
    for part in np.array_split(links, 7):
        duplicates._join(root, part[:, 0], part[:, 1])
    assert duplicates._roots(root, np.arange(300)).tolist() == [0] * 100 + [100] * 100 + [200] * 100


# What stays


def groups_for_keeping():
    """Rows 0 4 5 9 are the same face, with one label; 1 and 7 another, with two; 2 6 8 a third, two sad; 3 is alone."""
    a, b, c, d = faces(4)
    images = [a, b, c, d, a, a, c, b, c, a]
    labels = [0, 0, 1, 0, 0, 0, 0, 1, 1, 0]
    splits = ["train", "train", "train", "train", "test", "train", "train", "validation", "train", "test"]
    dataset = dataset_of(images, labels, splits)
    return dataset, find_duplicates(dataset)


@pytest.mark.parametrize(
    ("keep", "conflicts", "rows"),
    [
        ("first", "drop", [0, 3]),
        ("first", "keep", [0, 1, 2, 3]),
        ("first", "majority", [0, 2, 3]),
        ("test", "drop", [3, 4]),
        ("test", "keep", [2, 3, 4, 7]),
        ("test", "majority", [2, 3, 4]),
        ("none", "drop", [3]),
        ("none", "keep", [3]),
        ("none", "majority", [3]),
    ],
)
def test_rows_that_stay(keep, conflicts, rows):
    dataset, groups = groups_for_keeping()
    assert dedupe_rows(dataset, groups, keep=keep, conflicts=conflicts).tolist() == rows


def test_majority_is_of_copies_that_have_a_label():
    face = faces(1)[0]
    dataset = dataset_of([face] * 6, [-1, -1, -1, 0, 1, 1])
    assert dedupe_rows(dataset, find_duplicates(dataset), conflicts="majority").tolist() == [4]


# Commands


def written(tmp_path, name="in"):
    dataset, _ = groups_for_keeping()
    write_arrays(dataset, tmp_path / name, command="import", settings={})
    return tmp_path / name


def test_dedupe_writes_the_rest_a_table_and_a_sheet(tmp_path):
    source = written(tmp_path)
    result = dedupe(source, tmp_path / "out")
    out = open_arrays(tmp_path / "out")
    assert out.sources.tolist() == ["p3", "p4"]
    step = out.steps[-1]
    assert (step.command, step.samples_in, step.samples_out) == ("dedupe", 10, 2)
    assert step.settings == {"near": None, "keep": "test", "conflicts": "drop"}
    with (tmp_path / "out-groups.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == result.groups.images == 9
    assert [(r["source"], r["kept"]) for r in table[:4]] == [("p0", "no"), ("p4", "yes"), ("p5", "no"), ("p9", "no")]
    assert list(table[4]) == ["group", "kind", "source", "split", "label", "kept", "distance"]
    assert list(table[4].values()) == ["1", "exact", "p1", "train", "happy", "no", "0"]
    page = (tmp_path / "out-groups.html").read_text("utf-8")
    # Three groups: the kept sample of each, or the first, beside each of the six others.
    assert page.count("<img ") == 2 * 6 and "8 were removed and 2 stay" in page


def test_a_killed_dedupe_goes_on_and_ends_with_the_same_bytes(tmp_path):
    some = faces(20)
    images = [some[i % 20] if i % 3 else np.roll(some[i % 20], i, 1) for i in range(2 * CHUNK)]
    write_arrays(dataset_of(images), tmp_path / "in", command="import", settings={})
    dedupe(tmp_path / "in", tmp_path / "whole", near=4)

    def killed(done, total):
        if total == 2 * CHUNK and done == CHUNK:  # the first chunk is written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dedupe(tmp_path / "in", tmp_path / "out", near=4, progress=killed)
    assert not (tmp_path / "out").exists()
    with pytest.raises(OutputError, match="resume"):
        dedupe(tmp_path / "in", tmp_path / "out", near=4)
    with pytest.raises(OutputError, match="settings changed"):
        dedupe(tmp_path / "in", tmp_path / "out", near=5, resume=True)
    dedupe(tmp_path / "in", tmp_path / "out", near=4, resume=True)
    for name in ("manifest.parquet", "pixels.u8"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    dedupe(tmp_path / "in", tmp_path / "out", near=4, resume=True)  # finished: opened as it is


def test_nothing_is_written_in_a_dry_run(tmp_path):
    source = written(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert dedupe(source, tmp_path / "out", dry_run=True).rows.tolist() == [3, 4]
    assert sorted(tmp_path.rglob("*")) == before


def test_an_open_data_set_is_taken_too(tmp_path):
    data = open_dataset(written(tmp_path))
    assert dedupe(data, tmp_path / "out").rows.tolist() == [3, 4]
    assert len(open_arrays(tmp_path / "out")) == 2
    with pytest.raises(OutputError):
        dedupe(data, data.name)


def test_places_that_are_refused(tmp_path):
    source = written(tmp_path)
    (tmp_path / "there").mkdir()
    for out, report in (
        (source, None),
        (source / "out", None),
        (tmp_path / "out", source),
        (tmp_path / "out", tmp_path / "out" / "looks"),
        (tmp_path / "there", None),
    ):
        with pytest.raises(OutputError):
            dedupe(source, out, report=report)
    assert not (tmp_path / "out").exists()


def test_records_that_cannot_be_read_are_listed_in_the_new_data_set(tmp_path, monkeypatch):
    dataset, _ = groups_for_keeping()

    class Broken:
        label_names, steps, total, fingerprint = dataset.label_names, (), 11, "b"
        source = None

        def chunks(self, start=0):
            whole = next(iter(dataset.chunks()))
            yield Chunk(whole.images, whole.columns, (Problem("p10", "is empty"),), 11)

    monkeypatch.setattr("mien.data.dedupe.as_source", lambda path: Broken())
    result = dedupe(tmp_path / "in", tmp_path / "out")
    assert result.problems == read_problems(tmp_path / "out") == (Problem("p10", "is empty"),)


def test_command(tmp_path):
    from mien.cli import app

    source = written(tmp_path)
    arguments = [
        "data",
        "dedupe",
        str(source),
        "--out",
        str(tmp_path / "out"),
        "--near",
        "8",
        "--report",
        str(tmp_path / "looks"),
    ]
    done = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert (done.exit_code, "nothing was written" in done.output) == (0, True), done.output
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "3 groups of 9 images, 0 of them of near copies" in done.output
    assert "2 groups with different labels, 2 across splits" in done.output
    assert sorted(p.name for p in (tmp_path / "looks").iterdir()) == ["out-groups.csv", "out-groups.html"]
