"""What holds for the project as a whole: light imports, import layers, documented commands."""

import dataclasses
import json
import os
import re
import subprocess
import sys

import pytest

from mien.model_file import load_model, shipped_models
from mien.training.recipe import Recipe
from places import ROOT

HEAVY = {"torch", "matplotlib", "pandas", "pyarrow", "onnx", "sklearn", "PIL"}


def modules_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sorted(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


HELP = "import sys, mien.cli; sys.argv = ['mien', '--help']\ntry: mien.cli.main()\nexcept SystemExit: print()"
PREDICT = "import mien; mien.Recognizer().predict(mien.__file__.replace('__init__.py', 'examples/astronaut.png'))"


@pytest.mark.parametrize(
    ("code", "also"),
    [
        ("import mien", {"cv2", "onnxruntime", "numpy", "rich"}),
        ("import mien.cli", {"cv2", "onnxruntime"}),
        (HELP, {"cv2", "onnxruntime"}),
        (PREDICT, set()),
    ],
)
def test_nothing_heavy_is_imported(code, also):
    assert not modules_after(code) & (HEAVY | also)


def test_recognising_leaves_nothing_behind(tmp_path):
    """onnxruntime would: a number for the machine, a database of what to report, a session's name in TMPDIR."""
    homes = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA", "APPDATA")
    hushed = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "PYTEST_CURRENT_TEST"}  # it is silent with them
    environment = {name: value for name, value in os.environ.items() if name not in hushed}
    environment |= dict.fromkeys(homes, str(tmp_path))
    subprocess.run([sys.executable, "-c", PREDICT], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_import_layers():
    done = subprocess.run(["lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def commands():
    """Every command as it is typed (`mien data import`), and the function behind it."""
    from mien.cli import app

    for command in app.registered_commands:
        yield f"mien {command.name or command.callback.__name__}", command.callback
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands:
            yield f"mien {group.typer_instance.info.name} {command.name}", command.callback


def test_every_command_is_documented():
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))
    for typed, _ in commands():
        assert typed in pages


def test_help_of_every_command_has_an_example():
    for typed, function in commands():
        assert re.search(r"Examples?:", function.__doc__ or ""), typed
        assert typed in function.__doc__


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_readme_and_card_agree_with_the_metrics(name):
    """The tables of models, the model card and the shipped file say what the committed metrics.json say."""
    pages = (ROOT / "README.md", ROOT / "docs/models/README.md")
    (short,), (row,) = (
        [line for line in page.read_text("utf-8").splitlines() if line.startswith(f"| [`{name}`]")] for page in pages
    )
    card = (ROOT / "docs/models" / f"{name}.md").read_text("utf-8")
    sha256 = load_model(name).sha256
    for truth in ("votes", "label"):
        metrics = json.loads((ROOT / "docs/results" / name / f"metrics-{truth}.json").read_text("utf-8"))
        assert f"{metrics['accuracy']:.3f}" in short
        assert f"{metrics['accuracy']:.3f} (" in row
        assert f"{metrics['balanced_accuracy']:.3f}" in row
        assert f"{metrics['accuracy']:.4f} (" in card
        assert metrics["models"][0]["sha256"] == sha256


def test_the_readme_says_of_peers_what_was_measured():
    table = (ROOT / "README.md").read_text("utf-8").partition("<!-- peers table -->")[2].partition("<!-- end")[0]
    (link,) = re.findall(r"on two cores on \[[\d-]+\]\((.+?)\)", (ROOT / "README.md").read_text("utf-8"))
    page = (ROOT / link).read_text("utf-8")
    names = {"fer": "fer, tflite", "human": "human (Node, wasm)", "mien-small": "**mien-small**"}
    names["mien-small-fer2013"] = "**mien-small-fer2013**"
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.splitlines()]
    measured = [row for row in rows if row[-1].endswith(" ms")]
    assert {row[0] for row in measured} == set(names)
    for name, _, _, label, votes, speed, photo in measured:
        figures = "".join(line for line in page.splitlines() if line.startswith(f"| {names[name]} |"))
        assert f"**{label}** (" in figures and f"| {votes} |" in figures
        assert f"| {speed} |" in figures and f"| {photo.removesuffix(' ms')} |" in figures


def test_readme_python_blocks_run(tmp_path):
    readme = (ROOT / "README.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", readme, re.S))
    code = code.replace('"drawn.jpg"', repr(str(tmp_path / "drawn.jpg")))
    code = code.replace("holiday/*.jpg", "src/mien/examples/*.png")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("happy 0.")
    assert "expression\nhappy " in done.stdout


CAMERA = """
import cv2
FRAMES = [cv2.imread("src/mien/examples/astronaut.png")]
class Camera:
    def __init__(self, index): pass
    def read(self): return (True, FRAMES.pop()) if FRAMES else (False, None)
cv2.VideoCapture = Camera
"""


def test_readme_opencv_loop_runs(tmp_path):
    readme = (ROOT / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```py\n(.*?)```", readme, re.S)
    code = CAMERA + code.replace('"drawn.jpg"', repr(str(tmp_path / "drawn.jpg")))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert " happy 0." in done.stdout
    assert (tmp_path / "drawn.jpg").stat().st_size > 1000


def test_every_recipe_key_is_documented():
    page = (ROOT / "docs/training.md").read_text("utf-8")
    for table in dataclasses.fields(Recipe):
        settings = table.default_factory
        if settings is dataclasses.MISSING or not dataclasses.is_dataclass(settings):
            continue
        assert f"`[{table.name}]`" in page
        for key in dataclasses.fields(settings):
            assert f"`{key.name}`" in page, f"{table.name}.{key.name}"


def test_a_command_imports_no_other():
    typed = ["mien", "models", "show", "mien-nano"]
    code = f"import sys, mien.cli; sys.argv = {typed}\ntry: mien.cli.main()\nexcept SystemExit: pass"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*(m for m in sys.modules if m.startswith('mien.cli.')))"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {name.removeprefix("mien.cli.") for name in done.stdout.splitlines()[-1].split()}
    assert imported == {"models", "completion", "model_options", "output_options"}
