"""The audit's flags, likely wrong labels, and dropping by flags."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.data.arrays import open_arrays, write_arrays
from mien.data.audit import audit, audit_dataset
from mien.data.dataset import Dataset
from mien.data.findings import contrast_flags, contrasts, copy_flags, find_suspects, vote_flags
from mien.data.flags import COLUMNS, FLAGS, drop_flagged, drop_rows, read_flags
from mien.data.judge import judge_labels
from mien.data.readers import load_dataset
from mien.data.settings import AuditSettings
from mien.data.source import offsets_of, text_column
from mien.data.splits import subset_rows
from mien.data.toy import toy_faces
from mien.errors import DataError, MienError, OutputError
from mien.labels import EIGHT, FER2013
from places import SHARED

PLAIN = AuditSettings(near=-1, suspects=False)


def dataset_of(images, splits, labels, names=FER2013, **columns):
    shapes = np.array([p.shape for p in images], np.int32).reshape(-1, 3)
    columns = {
        "source": text_column([f"{i}.png" for i in range(len(images))]),
        "split": text_column(splits),
        "label": np.array(labels, np.int64),
        **columns,
    }
    pixels = np.concatenate([p.reshape(-1) for p in images])
    return Dataset(names, columns, pixels, offsets_of(shapes), shapes, name="faces", fingerprint="1")


def noise(seed, side=48, channels=1):
    return np.random.default_rng(seed).integers(0, 256, (side, side, channels), np.uint8)


@pytest.fixture(scope="module")
def flawed():
    """Twelve toy faces with one flaw of each kind."""
    faces = list(toy_faces(12, seed=5).images)
    faces[1] = np.full_like(faces[1], 90)
    faces[2] = np.clip(faces[2] // 32 + 100, 0, 255).astype(np.uint8)
    faces[4] = faces[3]
    faces[6] = faces[5]
    faces[11] = faces[7]
    splits = ["train"] * 8 + ["validation", "validation", "test", "test"]
    votes = np.zeros((12, 8), np.float32)
    labels = [0, 1, 2, 3, 3, 4, 5, 6, 0, 1, 2, 6]
    votes[np.arange(12), labels] = 10
    votes[8] = 0
    votes[8, EIGHT.index("contempt")] = 7
    votes[8, 0] = 3
    return dataset_of(faces, splits, labels, votes=votes)


def by_kind(flags):
    return {f.kind: f.rows.tolist() for f in flags if len(f)}


def test_each_flaw_is_flagged_once(flawed, tmp_path):
    summary = audit_dataset(flawed, tmp_path / "a", PLAIN).summary
    with (tmp_path / "a" / FLAGS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(r["kind"], r["row"]) for r in rows] == [
        ("blank", "1"), ("low-contrast", "2"), ("duplicate", "4"), ("duplicate", "6"), ("duplicate", "7"),
        ("leak", "7"), ("label-conflict", "5"), ("label-conflict", "6"), ("votes-disagree", "8"),
    ]  # fmt: skip
    assert rows[5]["reason"] == "also in a later split: row 11 (test, neutral)"
    assert rows[8]["reason"] == "contempt leads by 4 of 10 votes"
    assert (rows[8]["suggested"], rows[8]["score"]) == ("", "0.4")  # contempt is none of the labels
    assert (summary.copies.groups, summary.copies.conflicts, summary.copies.across_splits) == (3, 1, 1)
    assert json.loads((tmp_path / "a/summary.json").read_text())["kinds"][0]["total"] == 1
    page = (tmp_path / "a/index.html").read_text("utf-8")
    assert page.count("<img ") == 9 + 4  # copies are beside what they are copies of
    assert not list(tmp_path.glob(".*"))


def test_the_copy_in_test_stays(flawed):
    # Two copies in train, one in validation, two in test: dropping duplicates, leaks or both keeps one.
    group = np.array([0, 0, -1, -1, -1, -1, -1, -1, 0, -1, 0, 0])
    flags = by_kind(copy_flags(flawed, group, None))
    assert flags["duplicate"] == [0, 1, 8, 11]
    assert flags["leak"] == [0, 1, 8]


def test_near_copies_are_not_flagged_again_where_they_are_exact(flawed):
    exact = np.full(12, -1)
    exact[[0, 1]] = 0
    near = exact.copy()
    near[[2, 10]] = 0
    flags = {f.kind: f for f in copy_flags(flawed, exact, near)}
    assert flags["duplicate"].rows.tolist() == [1]
    assert sorted(flags["near-duplicate"].rows.tolist()) == [0, 2]
    assert flags["leak"].rows.tolist() == [0, 1, 2]
    assert (flags["leak"].scores == 0.5).all()


def test_samples_of_no_split_do_not_leak():
    dataset = dataset_of([noise(0), noise(0)], ["", "test"], [0, 0])
    assert by_kind(copy_flags(dataset, np.array([0, 0]), None)) == {"duplicate": [0]}


def test_contrast_of_colour_and_odd_sizes():
    red = np.zeros((7, 31, 3), np.uint8)
    red[..., 0] = 200
    noisy = noise(1, side=20, channels=3)
    dim = np.full((9, 9, 1), 50, np.uint8)
    dim[0, 0] = 51
    values = contrasts(dataset_of([red, noisy, dim], ["train"] * 3, [0, 1, 2]))
    blank, low = contrast_flags(values, 12.0)
    assert blank.rows.tolist() == [0, 2]
    assert len(low) == 0


def test_votes_that_contradict():
    votes = np.zeros((5, 8), np.float32)
    votes[0, [0, 3]] = [4, 6]
    votes[1, [1, 3]] = [5, 5]  # a tie with the label
    votes[3, 3] = 10  # no label
    votes[4, [2, 4]] = [1, 9]
    other = np.array([[0, 0], [0, 0], [9, 1], [0, 0], [10, 0]], np.float32)
    labels = [0, 1, 2, -1, 2]
    dataset = dataset_of([noise(i) for i in range(5)], ["train"] * 5, labels, votes=votes, ferplus_other=other)
    flags = vote_flags(dataset)
    assert flags.rows.tolist() == [4, 0]
    assert flags.scores.tolist() == [0.4, 0.2]
    assert flags.suggested == ("sad", "happy")


def test_labels_that_nobody_can_vote_for_are_left_alone():
    votes = np.zeros((2, 8), np.float32)
    votes[:, 3] = 10
    dataset = dataset_of([noise(0), noise(1)], ["train"] * 2, [0, 1], names=("bored", "sad"), votes=votes)
    assert vote_flags(dataset).rows.tolist() == [1]


# Likely wrong labels


def flipped(count=400, wrong=30, classes=4):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, count)
    probabilities = np.full((count, classes), 0.1 / (classes - 1), np.float32)
    probabilities[np.arange(count), truth] = 0.9
    probabilities += rng.random((count, classes)).astype(np.float32) * 0.05
    probabilities /= probabilities.sum(1, keepdims=True)
    labels = truth.copy()
    chosen = rng.choice(count, wrong, replace=False)
    labels[chosen] = (labels[chosen] + 1) % classes
    return labels, truth, probabilities, chosen


def test_planted_label_errors_are_found():
    labels, truth, probabilities, chosen = flipped()
    suspects = find_suspects(labels, probabilities)
    assert sorted(suspects.rows.tolist()) == sorted(chosen.tolist())
    assert (suspects.suggested == truth[suspects.rows]).all()
    assert (np.diff(suspects.scores) <= 0).all()


def test_suspects_with_missing_labels_predictions_and_classes():
    labels, _, probabilities, chosen = flipped()
    labels[labels == 2] = -1
    probabilities[:10] = np.nan
    suspects = find_suspects(labels, probabilities)
    assert (suspects.rows >= 10).all()
    assert 2 not in suspects.suggested
    assert set(suspects.rows.tolist()) <= set(chosen.tolist()) | set(np.flatnonzero(labels == -1).tolist())
    with pytest.raises(DataError, match="two or more"):
        find_suspects(np.zeros(400, np.int64), probabilities)


def test_a_model_that_is_not_fitted_to_the_labels_has_to_contradict_them_too():
    labels, _truth, probabilities, chosen = flipped()
    own = probabilities.copy()
    own[chosen[:10], labels[chosen[:10]]] = 2  # here it agrees with the label
    suspects = find_suspects(labels, probabilities, own)
    assert sorted(suspects.rows.tolist()) == sorted(chosen[10:].tolist())


def faces_of_public(count, seed=0):
    if not (SHARED / "data").is_dir():
        pytest.skip("needs shared/data, the Parquet files of FER2013")
    data = load_dataset(SHARED / "data", splits=["validation"])
    return data.take(subset_rows(data, count, seed=seed))


def test_the_audit_of_700_faces_finds_what_raters_contradict(tmp_path):
    summary = audit_dataset(faces_of_public(700), tmp_path / "a", AuditSettings()).summary
    assert summary.judge.can_judge and 0.6 < summary.judge.agreement < 0.75
    assert summary.precision[-1][1] >= 2 * summary.disagreeing / summary.voted
    assert summary.suggested_right >= 0.5
    assert "the suggested label has the most votes for" in (tmp_path / "a/index.html").read_text("utf-8")
    again = audit_dataset(faces_of_public(700), tmp_path / "a", AuditSettings(), resume=True)
    assert again.summary == summary and again.probabilities.shape == (700, 7)


def test_a_judge_near_chance_flags_no_label(tmp_path, caplog):
    data = faces_of_public(700)
    mixed = data.with_columns(label=np.random.default_rng(0).permutation(data.labels))
    report = audit(mixed, tmp_path / "a")
    assert not report.summary.judge.can_judge
    assert "wrong labels can't be judged" in caplog.text and "kappa" in caplog.text
    assert "label-suspect" not in by_kind(report.flags)


def test_a_killed_audit_resumes(flawed, tmp_path, monkeypatch):
    asked = []

    def interrupted(*given):
        asked.append(given)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return judge_labels(*given[:-1], groups, folds=2)

    settings = AuditSettings(near=4, folds=2)
    monkeypatch.setattr("mien.data.audit.judge_labels", lambda *given, **_: interrupted(*given))
    groups = np.full(12, -1)
    with pytest.raises(KeyboardInterrupt):
        audit_dataset(flawed, tmp_path / "a", settings)
    assert not (tmp_path / "a").exists()
    with pytest.raises(OutputError, match="--resume"):
        audit_dataset(flawed, tmp_path / "a", settings)
    summary = audit_dataset(flawed, tmp_path / "a", settings, resume=True).summary
    assert asked[1][3][3] == asked[1][3][4] >= 0  # copies are passed on
    assert np.load(tmp_path / "a/out-of-fold.npy").shape == (12, 7)
    assert audit_dataset(flawed, tmp_path / "a", settings, resume=True).summary == summary
    assert len(asked) == 2
    with pytest.raises(OutputError, match="exists already"):
        audit_dataset(flawed, tmp_path / "a", PLAIN, resume=True)


# Dropping


@pytest.fixture
def flags(flawed, tmp_path):
    audit_dataset(flawed, tmp_path / "audit", PLAIN)
    return tmp_path / "audit" / FLAGS


def test_drop(flawed, flags, tmp_path):
    dropped = drop_flagged(flawed, tmp_path / "clean", flags=flags, only=["blank", "duplicate", "leak"])
    clean = open_arrays(tmp_path / "clean")
    assert clean.sources.tolist() == [f"{i}.png" for i in (0, 2, 3, 5, 8, 9, 10, 11)]
    assert (dropped.samples_out, dropped.by_split, dropped.spared) == (
        8, (("train", 4), ("validation", 0), ("test", 0)), 0
    )  # fmt: skip
    assert clean.steps[-1].command == "drop"
    assert "path" not in json.dumps(dict(clean.steps[-1].settings))
    np.testing.assert_array_equal(clean.image(2), flawed.image(3))


def test_drop_from_test_only_when_asked(flawed, flags):
    found = read_flags(flags, flawed.with_columns())
    test = flawed.with_columns(split=text_column(["test"] * 12))
    assert len(drop_rows(test, found, only=["duplicate"])) == 0
    assert drop_rows(test, found, only=["duplicate"], from_test=True).tolist() == [4, 6, 7]


def test_drop_by_score_and_dry_run(flawed, flags, tmp_path):
    low = next(f for f in read_flags(flags, flawed) if f.kind == "low-contrast")
    score = float(low.scores[0])
    for limit, left in ((score, 11), (score + 1e-3, 12)):
        out = tmp_path / "x"
        dropped = drop_flagged(flawed, out, flags=flags, only=["low-contrast"], min_score=limit, dry_run=True)
        assert dropped.samples_out == left
        assert not out.exists()


def edited(flags, change):
    lines = flags.read_text("utf-8").splitlines()
    place = flags.with_name("edited.csv")
    place.write_text("\n".join(change(lines)) + "\n", "utf-8")
    return place


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: [lines[0].replace("score,", "points,"), *lines[1:]], "no column 'score'"),
        (lambda lines: [lines[0], lines[1].replace("blank", "ugly")], "csv:2: unknown kind 'ugly'; expected blank"),
        (lambda lines: [lines[0], lines[1].replace("1.png", "2.png")], "row 1 is '2.png' .* another data set"),
        (lambda lines: [lines[0], lines[1].replace("train", "test")], "another data set"),
        (lambda lines: [lines[0], lines[1].replace(",1,", ",99,", 1)], "row 99"),
        (lambda lines: [lines[0], lines[1].replace(",1,", ",x,", 1)], "expected numbers"),
        (lambda lines: [lines[0], lines[1].replace(",1,1,", ",1,nan,")], "expected 0 to 1"),
        (lambda lines: [lines[0], "blank"], "expected numbers"),
        (lambda lines: [], "no column 'kind'"),
    ],
)
def test_flags_that_do_not_fit(flawed, flags, change, says):
    with pytest.raises(DataError, match=says):
        read_flags(edited(flags, change), flawed)


def test_flags_a_person_has_edited(flawed, flags):
    only_one = edited(flags, lambda lines: [lines[0], lines[-1]])
    assert by_kind(read_flags(only_one, flawed)) == {"votes-disagree": [8]}
    with pytest.raises(DataError, match="can't be read as flags"):
        read_flags(flags.with_name("missing.csv"), flawed)
    with pytest.raises(DataError, match="--only: unknown kind 'Blank'"):
        drop_flagged(flawed, flags.with_name("out"), flags=flags, only=["Blank"])


def test_hostile_sources_survive_the_csv(tmp_path):
    names = ['a,"b"\n.png', "=1+1", "'=2\udcff.png"]
    dataset = dataset_of([np.zeros((4, 4, 1), np.uint8)] * 3, ["train"] * 3, [0, 1, -1])
    dataset = dataset.with_columns(source=text_column(names))
    audit_dataset(dataset, tmp_path / "a", PLAIN)
    flags = by_kind(read_flags(tmp_path / "a" / FLAGS, dataset))
    assert "\n=" not in (text := (tmp_path / "a" / FLAGS).read_text("utf-8")) and ",'=1+1," in text
    assert flags["blank"] == [0, 1, 2]
    assert flags["label-conflict"] == [0, 1]


# The commands


def test_commands(flawed, tmp_path):
    source, out, clean = (str(tmp_path / name) for name in ("in", "audit", "clean"))
    write_arrays(flawed, Path(source), command="import", settings={})
    found = CliRunner().invoke(app, ["data", "audit", source, "--out", out, "--no-suspects", "--near", "-1", "-q"])
    assert found.exit_code == 0, found.output
    assert "label-conflict" in found.output
    arguments = [
        "data",
        "drop",
        source,
        "--out",
        clean,
        "--flags",
        f"{out}/flags.csv",
        "--only",
        "blank",
        "--only",
        "leak",
    ]
    dropped = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert "dropped: 2 of 12" in dropped.output
    assert not Path(clean).exists()
    dropped = CliRunner().invoke(app, arguments)
    assert dropped.exit_code == 0, dropped.output
    assert len(open_arrays(Path(clean))) == 10
    inside = CliRunner().invoke(app, ["data", "audit", source, "--out", f"{source}/audit", "--no-suspects"])
    assert isinstance(inside.exception, MienError)


def test_audit_command_with_a_judge(tmp_path):
    samples = toy_faces(84, seed=2)
    dataset = dataset_of(list(samples.images), ["train"] * 84, samples.labels)
    write_arrays(dataset, tmp_path / "in", command="import", settings={})
    arguments = ["data", "audit", str(tmp_path / "in"), "--folds", "2", "-q"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "one")])
    assert done.exit_code == 0, done.output
    assert "held-out labels, chance is" in done.output
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        "flags.csv", "index.html", "job.json", "out-of-fold.npy", "summary.json"
    ]  # fmt: skip


def test_no_face(tmp_path):
    from mien.faces import DetectorChoice

    dataset = dataset_of([noise(0), np.zeros((48, 48, 1), np.uint8)], ["train"] * 2, [0, 1])
    audit_dataset(dataset, tmp_path / "a", PLAIN, detector=DetectorChoice("haar"))
    assert by_kind(read_flags(tmp_path / "a" / FLAGS, dataset))["no-face"] == [0, 1]


# Real data


def test_twelve_blank_images_of_fer2013():
    if not (SHARED / "data").is_dir():
        pytest.skip("needs shared/data, the Parquet files of FER2013")
    import pyarrow.parquet as pq

    from mien.images import decode_image

    images = [
        decode_image(image["bytes"], "fer2013", grey=True)
        for name in ("fer2013-train", "fer2013-public")
        for image in pq.read_table(SHARED / f"data/{name}.parquet", columns=["image"])["image"].to_pylist()
    ]
    blank, low = contrast_flags(contrasts(dataset_of(images, [""] * len(images), [0] * len(images))), 12.0)
    assert len(blank) == 12
    assert 0 < len(low) < 40
