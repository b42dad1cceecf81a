"""Decisions on labels: from an audit to a corrected data set, by CSV, Label Studio and FiftyOne."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

import mien
from mien.cli import app
from mien.data.arrays import open_arrays
from mien.data.flags import COLUMNS, FLAGS, read_flags
from mien.data.relabel import relabel_dataset
from mien.data.splits import subset_rows
from mien.data.toy import write_toy_folders
from mien.errors import DataError
from mien.labels import EIGHT
from places import SHARED


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    write_toy_folders(folder / "toy", train=28, validation=14, test=0)
    return mien.import_dataset(folder / "toy", folder / "faces", check=False)


def fix(place, rows, columns=("source", "new_label", "reason")):
    with place.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return place


def test_a_csv_changes_labels_and_the_manifest_records_it(faces, tmp_path):
    old = [faces.label_name(row) for row in range(3)]
    new = ["happy" if name != "happy" else "sad" for name in old]
    fixes = fix(tmp_path / "fixes.csv", [
        (faces.sources[0], new[0], "'=smiles"), (faces.sources[1], old[1], "right"), (faces.sources[2], "-", "no face"),
    ])  # fmt: skip
    done = relabel_dataset(faces, fixes, tmp_path / "fixed")
    fixed = open_arrays(tmp_path / "fixed")
    assert (fixed.label_name(0), fixed.label_name(1), len(fixed)) == (new[0], old[1], len(faces) - 1)
    assert faces.sources[2] not in fixed.sources
    assert fixed.columns["label_before"][:2].tolist() == [old[0], ""]
    assert fixed.columns["label_reason"][:2].tolist() == ["=smiles", ""]  # as before the page made it no formula
    assert fixed.steps[-1].command == "relabel"
    assert fixed.steps[-1].settings["changes"] == {f"{old[0]} -> {new[0]}": 1, f"{old[2]} -> -": 1}
    assert (done.dropped, done.confirmed, sum(done.changes.values())) == (1, 1, 2)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("nobody.png", "sad", ""), "'nobody.png': is no sample of it"),
        (("{source}", "bored", ""), "the new label 'bored' is no class of .*--new-classes"),
    ],
)
def test_decisions_that_do_not_fit(faces, tmp_path, row, says):
    fixes = fix(tmp_path / "f.csv", [[cell.format(source=faces.sources[0]) for cell in row]])
    with pytest.raises(DataError, match=says):
        relabel_dataset(faces, fixes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_decisions_that_do_not_fit(faces, tmp_path):
    source = faces.sources[0]
    twice = fix(tmp_path / "a.csv", [(source, "sad", ""), (source, "happy", "")])
    with pytest.raises(DataError, match=r"a\.csv:3: 'happy' contradicts 'sad' of .*a\.csv:2"):
        relabel_dataset(faces, twice, tmp_path / "out")
    other = next(name for name in faces.label_names if name != faces.label_name(0))
    stale = fix(tmp_path / "b.csv", [(source, other, "sad")], ("source", "label", "new_label"))
    with pytest.raises(DataError, match=f"has the label '{faces.label_name(0)}' .*, here '{other}'"):
        relabel_dataset(faces, stale, tmp_path / "out")
    with pytest.raises(DataError, match="expected source and new_label"):
        relabel_dataset(faces, fix(tmp_path / "c.csv", [("1", "2")], ("a", "b")), tmp_path / "out")
    (tmp_path / "d.json").write_text(json.dumps([
        {"id": 7, "data": {"source": source}, "annotations": [answer("sad"), answer("happy")]}
    ]))  # fmt: skip
    with pytest.raises(DataError, match="task 7: its annotators disagree: happy, sad"):
        relabel_dataset(faces, tmp_path / "d.json", tmp_path / "out")


def answer(name, **other):
    """An annotation as Label Studio 1.23.2 exports it."""
    value = {"value": {"choices": [name]}, "id": "kf3", "from_name": "label", "to_name": "image", "type": "choices"}
    return {"id": 1, "completed_by": 1, "result": [value], "was_cancelled": False, "ground_truth": False, **other}


def label_studio(place, tasks, answers):
    """What Label Studio exports of these tasks, in the format of the name. answers: source -> label; None: skipped."""
    said = [(number, task["data"], answers[source]) for number, task in enumerate(tasks, start=1)
            if (source := task["data"]["source"]) in answers]  # fmt: skip
    if place.name.endswith("-min.json"):  # these have no skipped tasks
        rows = [{**data, "id": n, "label": name, "annotator": 1, "annotation_id": n} for n, data, name in said if name]
        place.write_text(json.dumps(rows))
    elif place.suffix == ".json":  # a skip keeps what was chosen
        annotations = {n: [answer(name or "happy", was_cancelled=name is None)] for n, _, name in said}
        place.write_text(json.dumps([{"id": n, "data": d, "annotations": annotations[n]} for n, d, _ in said]))
    else:
        columns = ("annotation_id", "annotator", "id", "image", "label", "reason", "source")
        with place.open("w", newline="") as file:
            table = csv.writer(file, delimiter="\t" if place.suffix == ".tsv" else ",", quoting=csv.QUOTE_NONNUMERIC)
            table.writerow(columns)
            table.writerows((n, "1", n, d["image"], name, d["reason"], d["source"]) for n, d, name in said if name)
    return place


@pytest.mark.parametrize("name", ["export.json", "export-min.json", "export.csv", "export.tsv"])
def test_label_studio_asks_for_each_flagged_face_the_worst_first(faces, tmp_path, name):
    fix(tmp_path / FLAGS, [
        ("label-suspect", faces.sources[row], faces.splits[row], faces.label_name(row), row, score, "looks sad", "sad")
        for row, score in ((9, 0.9), (3, 0.8), (5, 0.7), (1, 0.6))
    ], COLUMNS)  # fmt: skip
    mien.export_dataset(faces, tmp_path / "review", as_="label-studio", flags=tmp_path / FLAGS)
    tasks = json.loads((tmp_path / "review/train.json").read_text())
    assert [task["data"]["source"] for task in tasks] == [faces.sources[row] for row in (9, 3, 5, 1)]
    assert not any(task["annotations"] for task in tasks)  # one with an annotation is done, for Label Studio
    assert tasks[0]["data"]["reason"] == f"labelled {faces.label_name(9)}: looks sad"
    assert all((tmp_path / "review" / task["data"]["image"].partition("?d=")[2]).is_file() for task in tasks)
    assert 'alias="-"' in (tmp_path / "review/label_config.xml").read_text()
    other = "happy" if faces.label_name(9) != "happy" else "fear"
    answers = dict(zip(faces.sources[[9, 3, 5]], (other, "-", None), strict=True))
    done = relabel_dataset(faces, label_studio(tmp_path / name, tasks, answers), tmp_path / "fixed")
    assert (done.changes, done.dropped, done.confirmed) == (
        {(faces.label_name(9), other): 1, (faces.label_name(3), "-"): 1}, 1, 0,
    )  # fmt: skip
    row = done.dataset.sources.tolist().index(faces.sources[9])
    assert done.dataset.label_name(row) == other
    assert done.dataset.columns["label_reason"][row] == tasks[0]["data"]["reason"]


def test_labels_in_a_whole_export_are_no_ground_truth(faces, tmp_path):
    mien.export_dataset(faces, tmp_path / "all", as_="label-studio")
    tasks = json.loads((tmp_path / "all/train.json").read_text())
    assert {one["ground_truth"] for task in tasks for one in task["annotations"]} == {False}
    assert mien.load_dataset(tmp_path / "all").counts() == faces.counts()


def test_a_new_class(faces, tmp_path):
    fixes = fix(tmp_path / "f.csv", [(faces.sources[0], "contempt", "")])
    fixed = relabel_dataset(faces, fixes, tmp_path / "out", new_classes=True).dataset
    assert fixed.label_names == EIGHT
    assert [fixed.label_name(i) for i in range(1, 42)] == [faces.label_name(i) for i in range(1, 42)]


@pytest.mark.parametrize("as_", ["folders", "npy"])
def test_an_edited_manifest_is_applied_or_refused_but_never_ignored(faces, tmp_path, as_):
    mien.export_dataset(faces, tmp_path / "out", as_=as_)
    manifest = tmp_path / "out" / "manifest.csv"
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0]["label"] = new = "happy" if rows[0]["label"] != "happy" else "sad"
    with manifest.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    if as_ == "npy":
        with pytest.raises(DataError, match=r"manifest\.csv.*mien data relabel"):
            mien.load_dataset(tmp_path / "out")
    else:
        edited = mien.load_dataset(tmp_path / "out")
        assert edited.label_name(edited.sources.tolist().index(rows[0]["file"])) == new
    fixed = relabel_dataset(faces, manifest, tmp_path / "fixed").dataset
    assert (fixed.label_name(0), fixed.columns["label_before"][0]) == (new, faces.label_name(0))


def test_a_manifest_beside_arrays_of_mien_is_not_ignored(faces, tmp_path):
    mien.import_dataset(faces.name, tmp_path / "copy", check=False)
    (tmp_path / "copy" / "manifest.csv").write_text("source,label\n")
    with pytest.raises(DataError, match=r"manifest\.csv: is not read; .*mien data relabel"):
        mien.load_dataset(tmp_path / "copy")


# 50 wrong labels planted in 2,000: found by the audit, fixed by each way


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """2,000 faces whose label has the most votes, 50 of them with another label; their audit."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs shared/data, the Parquet files of FER2013")
    folder = tmp_path_factory.mktemp("planted")
    data = mien.load_dataset(SHARED / "data", splits=["validation"])
    column = np.array([EIGHT.index(name) for name in data.label_names])
    best = data.votes.max(1)
    sure = (data.votes[np.arange(len(data)), column[data.labels]] == best) & ((data.votes == best[:, None]).sum(1) == 1)
    data = data.take(np.flatnonzero(sure))
    data = data.take(subset_rows(data, 2000, seed=0))
    rng = np.random.default_rng(0)
    rows = rng.choice(2000, 50, replace=False)
    labels = data.labels.copy()
    labels[rows] = (labels[rows] + rng.integers(1, 7, 50)) % 7
    wrong = data.with_columns(label=labels)
    mien.export_dataset(wrong, folder / "wrong", as_="parquet")
    wrong = mien.load_dataset(folder / "wrong")
    report = mien.audit(wrong, folder / "audit")
    suspects = next(f for f in report.flags if f.kind == "label-suspect").rows[:100]
    found = np.intersect1d(suspects, rows)
    return folder, wrong, data.labels, found


def test_planted_labels_are_among_the_first_hundred(planted):
    assert len(planted[3]) >= 35  # 0.7 of 50
    page = (planted[0] / "audit/index.html").read_text("utf-8")
    assert page.count('class="pick"') > 100 and "script-src 'sha256-" in page


WAYS = ("csv", "label-studio.json", "label-studio-min.json", "label-studio.csv", "fiftyone", "fiftyone samples")


@pytest.mark.parametrize("way", WAYS)
def test_planted_labels_are_fixed(planted, tmp_path, way):
    folder, wrong, right, found = planted
    names = {int(row): wrong.label_names[right[row]] for row in found}
    by_source = {wrong.sources[row]: name for row, name in names.items()}
    kind = next(kind for kind in ("label-studio", "fiftyone", "csv") if way.startswith(kind))
    if kind == "csv":
        fixes = fix(tmp_path / "fixes.csv", [(source, name, "looked") for source, name in by_source.items()])
    else:
        flags = {"flags": folder / "audit" / FLAGS, "only": ("label-suspect",)}
        mien.export_dataset(wrong, tmp_path / "review", as_=kind, **flags)
        flagged = next(f for f in read_flags(flags["flags"], wrong) if f.kind == "label-suspect")
        fixes = answered(tmp_path, way, by_source, names)
        assert len(list((tmp_path / "review").rglob("*.png"))) == len(flagged)
    relabel_dataset(wrong, fixes, tmp_path / "fixed")
    fixed = open_arrays(tmp_path / "fixed")
    assert [fixed.labels[row] for row in found] == [right[row] for row in found]
    others = np.setdiff1d(np.arange(2000), found)
    np.testing.assert_array_equal(fixed.labels[others], wrong.labels[others])
    assert sum(fixed.steps[-1].settings["changes"].values()) == len(found)
    assert (fixed.columns["label_before"] != "").sum() == len(found)


def answered(tmp_path, way, by_source, names):
    """What a person and the tool make of the export: the right labels of the found faces."""
    if way.startswith("label-studio"):
        tasks = json.loads((tmp_path / "review" / "validation.json").read_text())
        assert all(task["predictions"] for task in tasks)
        return label_studio(tmp_path / f"fixes{way.removeprefix('label-studio')}", tasks, by_source)
    place = tmp_path / "review" / "validation" / "labels.json"
    data = json.loads(place.read_text())
    assert any(label["attributes"]["suggested"] for label in data["labels"].values())
    right = {name: names[int(name.split("-")[0])] for name in data["labels"] if int(name.split("-")[0]) in names}
    data["labels"] |= {name: data["classes"].index(label) for name, label in right.items()}
    if way == "fiftyone":
        place.write_text(json.dumps(data))
        return tmp_path / "review"
    samples = [
        {"filepath": f"data/{name}.png", "ground_truth": {"_cls": "Classification", "label": label}}
        for name, label in right.items()
    ]
    (tmp_path / "samples.json").write_text(json.dumps({"samples": samples}))
    return tmp_path / "samples.json"


def test_command(faces, tmp_path):
    other = next(name for name in faces.label_names if name != faces.label_name(0))
    fixes = fix(tmp_path / "fixes.csv", [(faces.sources[0], other, "")])
    arguments = ["data", "relabel", faces.name, str(fixes), "--out", str(tmp_path / "fixed"), "-q"]
    done = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert done.exit_code == 0 and "1 of 42 labels changed" in done.output and not (tmp_path / "fixed").exists()
    done = CliRunner().invoke(app, arguments)
    assert f"{faces.label_name(0)} -> {other}: 1" in done.output
    assert open_arrays(tmp_path / "fixed").label_name(0) == other
