"""Pipelines: killed, resumed, changed, and with errors in the file."""

import csv
import importlib
import inspect
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
import types
from dataclasses import MISSING, fields
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from mien.cli import app
from mien.cli.compare import compare
from mien.cli.data.auditing import audit, drop
from mien.cli.data.cropping import crop, screen
from mien.cli.data.dedupe import dedupe
from mien.cli.data.exporting import split
from mien.cli.data.looking import explore
from mien.cli.evaluate import evaluate
from mien.data.arrays import open_arrays
from mien.data.settings import SplitSettings
from mien.data.toy import write_toy_folders
from mien.errors import DataError, MienError, OutputError, RecipeError, TrainingError
from mien.model_file import ModelFile
from mien.pipeline import run_pipeline
from mien.pipeline.plan import make_plan
from mien.pipeline.run import KINDS, starter
from mien.pipeline.settings import (
    AuditTable,
    CompareTable,
    CropTable,
    DedupeTable,
    DropTable,
    EvaluateTable,
    ExploreTable,
    ScreenTable,
    read_settings,
)

CHAIN = (
    "[toy]\n[import]\n[[train]]\nrecipe = 'toy'\nname = 'a'\nstop_after = 1\n[[train]]\nrecipe = 'toy'\nname = 'c'\n"
)
RUN = 'recipe = "toy"\nset = ["optimizer.epochs={epochs}", "optimizer.batch_size=16", "network.widths=[4]"]\n'
TOML = f"""
out = "work"
name = "toy-faces"
seed = 3
threads = 1
[toy]
train = 140
validation = 0
test = 0
[import]
[dedupe]
[audit]
suspects = false
[drop]
only = ["blank", "low-contrast"]
[split]
validation = 0.2
test = 0.2
[explore]
per_class = 2
[[train]]
name = "a"
{RUN.format(epochs=6)}
[[train]]
name = "b"
{RUN.format(epochs=2)}
[compare]
[ensemble]
[evaluate]
splits = ["test"]
speed = false
[export]
data = ["npy"]
[card]
"""
STAGES = [
    "toy", "import", "dedupe", "audit", "drop", "split", "explore", "train/a", "train/b", "compare", "ensemble",
    "evaluate", "export", "card",
]  # fmt: skip

TWO_TARGETS = """
[[train]]
name = "a"
recipe = "toy"
[[train]]
name = "b"
recipe = "toy"
set = ["targets.votes=1", "targets.label=0"]
"""


def states(result):
    found = {}
    for stage in result.stages:
        found.setdefault(stage.state, []).append(stage.name)
    return found


def reasons(result):
    return {stage.name: stage.reason for stage in result.stages if stage.reason}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that was killed in the training of `a`, when that had a checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "mien.toml").write_text(TOML)
    command = [sys.executable, "-m", "mien", "run", str(folder / "mien.toml")]
    checkpoint = folder / "work/.building/train/a/models/checkpoint.safetensors"
    with subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        said = process.stderr.read().decode()
    assert process.returncode < 0, said
    assert not (folder / "work/train").exists()
    return folder


@pytest.fixture(scope="module")
def resumed(killed):
    """The killed run, resumed, without the files of its charts, which take the most time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.pages.Page.write_figures", lambda *_, **__: None)
        return killed, run_pipeline(killed / "mien.toml")


@pytest.fixture
def project(resumed, tmp_path):
    """A finished pipeline in a folder of its own."""
    folder = tmp_path / "project"
    shutil.copytree(resumed[0], folder)
    return folder


def change(folder, before, after):
    text = (folder / "mien.toml").read_text()
    assert before in text
    (folder / "mien.toml").write_text(text.replace(before, after, 1))


def test_a_killed_run_goes_on_where_it_stopped(resumed):
    folder, result = resumed
    assert [stage.name for stage in result.stages] == STAGES
    assert states(result) == {"done": STAGES[:7], "ran": STAGES[7:]}
    with (folder / "work/train/a/models/timing.csv").open() as file:
        epochs = [int(row["epoch"]) for row in csv.DictReader(file)]
    assert epochs == sorted(set(epochs))  # an epoch that was done is not done again
    assert epochs[-1] == 6
    assert sorted(p.name for p in (folder / "work").iterdir() if p.name.startswith(".")) == []
    assert len(open_arrays(folder / "work/split/toy-faces")) == 140
    assert ModelFile(folder / "work/export/ensemble.onnx").info.members == ("a", "b")
    assert "toy-faces" in ModelFile(folder / "work/train/a/models/a.onnx").info.data
    assert (folder / "work/export/npy/train_images.npy").exists()
    assert (folder / "work/card/ensemble.md").read_text().startswith("# ensemble")


def test_the_page_links_reports_that_are_there(resumed):
    _, result = resumed
    text = result.page.read_text("utf-8")
    links = [unquote(link) for link in re.findall(r'href="([^#"]+)"', text)]
    assert len(links) >= 8
    assert "evaluate/ensemble-test/report.html" in links
    assert "compare/compare.html" in links
    assert not [link for link in links if not (result.page.parent / link).is_file()]
    for stage in STAGES:
        assert f"<td>{stage}</td>" in text


def test_nothing_runs_again_where_nothing_changed(project):
    assert states(run_pipeline(project / "mien.toml")) == {"done": STAGES}


def test_a_changed_setting_runs_its_stage_and_those_after_it(project):
    change(project, '[evaluate]\nsplits = ["test"]\nspeed = false\n', "")  # takes seconds
    change(project, "[ensemble]", '[ensemble]\nweights = "fit"')
    planned = [name for name in STAGES if name != "evaluate"]
    before = (project / "work/ensemble/models/ensemble.onnx").read_bytes()
    result = run_pipeline(project / "mien.toml")
    assert states(result) == {"done": planned[:10], "ran": planned[10:]}
    assert reasons(result) == {
        "ensemble": "settings changed: weights", "export": "input changed: ensemble", "card": "input changed: ensemble",
    }  # fmt: skip
    after = (project / "work/ensemble/models/ensemble.onnx").read_bytes()
    assert before != after == (project / "work/export/ensemble.onnx").read_bytes()
    assert not list((project / "work").glob(".*"))
    assert states(run_pipeline(project / "mien.toml")) == {"done": planned}


def test_a_changed_run_leaves_the_other_alone(project):
    change(project, '"optimizer.epochs=2"', '"optimizer.epochs=1"')
    result = run_pipeline(project / "mien.toml", dry_run=True)
    assert states(result) == {"done": STAGES[:8], "would run": STAGES[8:]}
    assert reasons(result)["train/b"] == "settings changed: optimizer.epochs"
    assert reasons(result)["compare"] == "after train/b"


def test_a_dry_run_says_why_and_writes_nothing(project):
    change(project, "validation = 0.2", "validation = 0.3")
    before = {p: p.stat().st_mtime_ns for p in project.rglob("*")}
    done = CliRunner().invoke(app, ["run", str(project / "mien.toml"), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "drop: done before" in done.output
    assert "split: would run (settings changed: validation)" in done.output
    assert "train/a: would run (after split)" in done.output
    assert {p: p.stat().st_mtime_ns for p in project.rglob("*")} == before


def test_the_same_output_made_again_changes_nothing_after_it(project):
    result = run_pipeline(project / "mien.toml", only="dedupe", force=True)
    assert states(result)["ran"] == ["dedupe"]
    assert states(run_pipeline(project / "mien.toml")) == {"done": STAGES}


STAGED = f"""
out = "work"
threads = 1
[toy]
train = 120
validation = 40
test = 0
[import]
[[train]]
name = "first"
{RUN.format(epochs=2)}
[[train]]
name = "half"
{RUN.format(epochs=2)}
stop_after = 1
[[train]]
name = "last"
model = "final"
{RUN.format(epochs=1)}
weights = ["first", "half/best.safetensors"]
teachers = ["first"]
calibrate = ["label"]
reach = {{ label = 1.0, within = 0.0 }}
"""


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """Stages of training, of which the last falls short; and the error."""
    folder = tmp_path_factory.mktemp("staged")
    (folder / "mien.toml").write_text(STAGED)
    with pytest.raises(TrainingError) as short:
        run_pipeline(folder / "mien.toml")
    return folder, short.value


def test_a_run_that_falls_short_stops_the_pipeline_and_can_be_accepted(staged):
    folder, short = staged
    assert re.match(r"train/last: label 0\.\d+ on validation; 'reach' expects 1 within 0. The run is in ", str(short))
    epoch = (folder / "work/.building/train/last/models/timing.csv").read_bytes()
    change(folder, "within = 0.0", "within = 1.0")
    result = run_pipeline(folder / "mien.toml")
    assert states(result) == {"done": ["toy", "import", "train/first", "train/half"], "ran": ["train/last"]}
    assert (folder / "work/train/last/models/timing.csv").read_bytes() == epoch
    final = ModelFile(folder / "work/train/last/models/final.onnx").info
    assert "vector fitted to validation" in final.data
    assert not list((folder / "work/train/half/models").glob("*.onnx"))
    change(folder, "stop_after = 1", "stop_after = 2")
    again = run_pipeline(folder / "mien.toml", dry_run=True)
    assert reasons(again) == {"train/half": "settings changed: stop_after", "train/last": "after train/half"}


def test_a_dry_run_lists_what_each_run_needs(tmp_path):
    (tmp_path / "mien.toml").write_text(STAGED)
    done = CliRunner().invoke(app, ["run", str(tmp_path / "mien.toml"), "--dry-run"])
    assert "train/last: would run (never ran); needs import, train/first, train/half" in done.output


def test_flags_that_a_person_edited_are_dropped_anew(project):
    with (project / "work/audit/audit/flags.csv").open("a") as file:
        file.write("\n")
    result = run_pipeline(project / "mien.toml", dry_run=True)
    assert states(result)["done"][-1] == "audit"
    assert reasons(result)["drop"] == "input changed: audit"


def test_the_old_output_stays_where_its_stage_fails(project):
    change(project, "validation = 0.2", 'validation = 0.2\ngroup_by = ["nobody"]')
    with pytest.raises(DataError, match="no column 'nobody'"):
        run_pipeline(project / "mien.toml")
    assert len(open_arrays(project / "work/split/toy-faces")) == 140
    change(project, '\ngroup_by = ["nobody"]', "")
    assert states(run_pipeline(project / "mien.toml")) == {"done": STAGES}


def test_a_kill_between_record_and_move_loses_nothing(project):
    (project / "work/.building").mkdir()
    (project / "work/dedupe").rename(project / "work/.building/dedupe")
    before = (project / "work/.building/dedupe/toy-faces/manifest.parquet").stat()
    result = run_pipeline(project / "mien.toml")
    assert states(result)["ran"] == ["dedupe"]
    assert (project / "work/dedupe/toy-faces/manifest.parquet").stat().st_ino == before.st_ino


def test_only_and_from_leave_the_others_alone(project):
    change(project, "validation = 0.2", "validation = 0.3")
    result = run_pipeline(project / "mien.toml", start="explore")
    assert states(result) == {"left": STAGES[:6], "done": STAGES[6:]}
    assert reasons(result) == {"split": "settings changed: validation"}
    result = run_pipeline(project / "mien.toml", only="train", dry_run=True, force=True)
    assert states(result)["would run"] == ["train/a", "train/b"]
    shutil.rmtree(project / "work/split")
    with pytest.raises(RecipeError, match=r"'explore' needs the output of 'split'.*--from split"):
        run_pipeline(project / "mien.toml", only="explore", force=True)
    with pytest.raises(RecipeError, match=r"--only trian: no such stage .* did you mean 'train'"):
        run_pipeline(project / "mien.toml", only="trian")


def test_folders_that_are_not_the_pipelines_are_left_alone(project, tmp_path):
    shutil.rmtree(project / "work/explore")
    (project / "work/explore").mkdir()
    (project / "work/explore/mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not made by a pipeline"):
        run_pipeline(project / "mien.toml")
    assert (project / "work/explore/mine.txt").read_text() == "mine"
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "mien.toml").write_text('out = "."\n[toy]\n[import]\n')
    with pytest.raises(OutputError, match="set 'out' to a new folder"):
        run_pipeline(tmp_path / "mien.toml")


def test_records_that_could_not_be_used_are_counted(tmp_path):
    write_toy_folders(tmp_path / "faces", train=7, validation=0, test=0)
    (tmp_path / "faces/train/happy/broken.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "mien.toml").write_text('[import]\nsource = "faces"\n')
    done = CliRunner().invoke(app, ["run", str(tmp_path / "mien.toml"), "--quiet"])
    assert done.exit_code == 3, done.output
    assert "import: 1 records could not be used" in done.output
    assert "import/faces/problems.csv" in (tmp_path / "work/index.html").read_text()
    time.sleep(0.01)
    (tmp_path / "faces/train/happy/broken.png").unlink()
    result = run_pipeline(tmp_path / "mien.toml")
    assert (reasons(result), result.problems) == ({"import": "input changed: file faces"}, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[dedup]", "unknown key 'dedup'; did you mean 'dedupe'?"),
        ("[import]\nsorce = 'x'", "unknown key 'import.sorce'; did you mean 'import.source'?"),
        ("[[train]]\nrecipe = 'toy'\nsett = []", r"unknown key 'train\[0\].sett'; did you mean 'train\[0\].set'?"),
        ("dedupe = true", r"'dedupe' must be a table \(\[dedupe\]\)"),
        ("[drop]", "missing key.* drop.only"),
        ("out =", "not valid TOML"),
        ("", "names no stage"),
        ("[dedupe]", r"\[dedupe\] needs data; add \[import\]"),
        ("[toy]", r"add \[import\]"),
        ("[import]", "'import.source': name the data to import"),
        ("[toy]\n[import]\nsource = 'x'", "'import.source': remove it"),
        ("[toy]\n[import]\n[drop]\nonly = ['blank']", r"\[drop\] needs \[audit\]"),
        ("[toy]\n[import]\n[evaluate]", r"\[evaluate\] needs a model; add a \[\[train\]\]"),
        ("[toy]\n[import]\n[[train]]\nrecipe = 'toy'\n[ensemble]", r"\[ensemble\] needs two models"),
        ("[toy]\n[import]\n[[train]]\nrecipe = 'toy'\n[card]\nmodels = ['tox']", "no run 'tox'; did you mean 'toy'?"),
        (
            "[toy]\n[import]\n[[train]]\nrecipe = 'toy'\n[compare]\nhead = 'votes'",
            r"the head 'votes' in all runs \(toy: label\)",
        ),
        (f"[toy]\n[import]\n{TWO_TARGETS}[compare]", r"a head that all runs have \(a: label; b: votes\); choose runs"),
        ("[toy]\n[import]\n[[train]]\nrecipe = 'toy'\n[[train]]\nrecipe = 'toy'", "two runs are called 'toy'"),
        ("[toy]\n[import]\n[[train]]\nrecipe = 'toy'\nname = '../x'", "expected a name of letters"),
        ("[toy]\n[import]\n[[train]]\nrecipe = 'none'", "no recipe 'none'"),
        ("[toy]\n[import]\n[[train]]\nrecipe = 'toy'\nset = ['epochs=1']", "unknown key 'epochs'"),
        (f"{CHAIN}weights = ['b']", "'weights' of the run 'c': no run 'b' before it"),
        (f"{CHAIN}weights = ['c']", "'weights' of the run 'c': no run 'c' before it"),
        (f"{CHAIN}teachers = ['a']", "'teachers' of the run 'c': no run 'a' before it that has a model"),
        (f"{CHAIN}reach = {{ label = 3 }}", r"train\[1\].reach.label is 3"),
        (f"{CHAIN}reach = {{ lable = 0.3 }}", r"unknown key 'train\[1\].reach.lable'; did you mean"),
        ("[toy]\n[import]\n[crop]\nmargin = 9", "margin is 9"),
        ("[evaluate]\nsplits = ['tests']", "allowed: 'train', 'validation', 'test'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path, text, says):
    (tmp_path / "mien.toml").write_text(text)
    with pytest.raises(MienError, match=says) as caught:
        run_pipeline(tmp_path / "mien.toml")
    assert "\n" not in str(caught.value).rstrip()
    assert not (tmp_path / "work").exists()


def test_models_ask_for_faces_framed_as_the_pipeline_framed_them(tmp_path):
    text = "[toy]\n[import]\n[crop]\nmargin = 0.3\nalign = true\n[[train]]\nrecipe = 'toy'\n"
    (tmp_path / "mien.toml").write_text(text)
    plan = {stage.name: stage for stage in make_plan(read_settings(tmp_path / "mien.toml"))}
    assert plan["train/toy"].settings["crop"] == {"margin": 0.3, "align": True, "shift_y": 0.0}
    (tmp_path / "mien.toml").write_text(text + "set = ['crop.margin=0.1']")
    plan = {stage.name: stage for stage in make_plan(read_settings(tmp_path / "mien.toml"))}
    assert plan["train/toy"].settings["crop"]["margin"] == 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_init_writes_a_file_that_can_be_planned_and_overwrites_none(tmp_path, kind):
    place = tmp_path / "mien.toml"
    done = CliRunner().invoke(app, ["init", "--for", kind, "--out", str(place)])
    assert done.exit_code == 0, done.output
    assert place.read_text("utf-8") == starter(kind)
    plan = [stage.name for stage in make_plan(read_settings(place))]
    assert plan[-1] == "card"
    again = CliRunner().invoke(app, ["init", "--for", kind, "--out", str(place)])
    assert isinstance(again.exception, OutputError)


def test_a_missing_file_says_how_to_write_one(tmp_path):
    with pytest.raises(RecipeError, match=r"can't be read .* mien init"):
        run_pipeline(Path(tmp_path / "mien.toml"))


def test_the_comparison_is_that_of_mien_compare(resumed, tmp_path):
    folder, _ = resumed
    runs = [str(folder / f"work/train/{name}/models") for name in "ab"]
    done = CliRunner().invoke(app, ["compare", *runs, "--out", str(tmp_path / "compared"), "--quiet"])
    assert done.exit_code == 0, done.output
    ours, theirs = (
        json.loads((f / "compare.json").read_text()) for f in (folder / "work/compare", tmp_path / "compared")
    )
    assert sorted(run.pop("run") for run in ours["runs"]) == ["a", "b"]
    assert ours["runs"] == [{key: value for key, value in run.items() if key != "run"} for run in theirs["runs"]]
    assert ours["mcnemar"] == theirs["mcnemar"]


CHANGED = [
    ("mien.data.toy.write_toy_folders", "train", "ToyTable"), ("mien.data.settings.CropSettings", "size", "CropTable"),
    ("mien.crop_spec.CropSpec", "margin", "CropTable"),
    ("mien.data.dedupe.dedupe", "near", "DedupeTable"),
    ("mien.data.explore.explore", "per_class", "ExploreTable"),
    ("mien.evaluation.evaluate.evaluate_samples", "tta", "EvaluateTable"),
    ("mien.evaluation.evaluate.Extras", "target_accuracy", "EvaluateTable"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "key", "table"), CHANGED)
def test_a_changed_default_of_a_command_changes_that_of_mien_toml(monkeypatch, command, key, table):
    module, _, name = command.rpartition(".")
    original = getattr(importlib.import_module(module), name)
    signature = inspect.signature(original)
    parameters = [p.replace(default=0.125) if p.name == key else p for p in signature.parameters.values()]
    changed = types.FunctionType((lambda: None).__code__, {})
    changed.__signature__ = signature.replace(parameters=parameters)
    monkeypatch.setattr(command, changed)
    tables = runpy.run_path(inspect.getfile(read_settings))
    assert tables[table].__dataclass_fields__[key].default == 0.125


CLI = [
    (crop, CropTable), (screen, ScreenTable), (dedupe, DedupeTable), (audit, AuditTable), (drop, DropTable),
    (split, SplitSettings), (explore, ExploreTable), (evaluate, EvaluateTable), (compare, CompareTable),
]  # fmt: skip


@pytest.mark.parametrize(("command", "settings"), CLI)
def test_mien_toml_and_the_command_line_have_the_same_defaults(command, settings):
    parameters = inspect.signature(command).parameters
    absent = (MISSING, inspect.Parameter.empty)
    both = [f for f in fields(settings) if f.name in parameters]
    both = [f for f in both if f.default not in absent and parameters[f.name].default not in absent]
    assert both
    differing = {
        field.name: (field.default, parameters[field.name].default)
        for field in both
        if (field.default or None) != (parameters[field.name].default or None)
    }
    assert differing == {}
