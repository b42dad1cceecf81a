"""The pages under docs/: their tables state the defaults of the code, their Python runs."""

import dataclasses
import doctest
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import cv2
import pytest
import typer

import mien
from made_video import make_clip
from mien.cli import app
from mien.config import toml_value
from mien.data.reading.layouts import READ
from mien.data.toy import write_toy_folders
from mien.pipeline import settings as pipeline
from mien.training.recipe import Recipe
from places import ROOT

DOCS = ROOT / "docs"


def defaults_of_recipes():
    """Pairs of "table.key" and the default, as TOML has it."""
    for table in dataclasses.fields(Recipe):
        settings = table.default_factory
        if settings is not dataclasses.MISSING and dataclasses.is_dataclass(settings):
            for key, value in vars_of(settings()).items():
                yield f"{table.name}.{key}", toml_value(value)


def vars_of(settings):
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def documented_defaults(page, general=""):
    """The same from the tables of a page: rows of keys, their defaults, and a meaning."""
    table = ""
    for line in (DOCS / page).read_text("utf-8").splitlines():
        if line.startswith("#"):
            table = general if line == "## General keys" else "".join(re.findall(r"^##+ `\[+(\w+)\]+`", line)[:1])
        elif table and line.startswith("| `"):
            keys, values = (re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")[:2])
            keys = [key if "." in key else f"{table}.{key}" for key in keys]
            yield from zip(keys, values or [None] * len(keys), strict=True)


def defaults_of_pipelines():
    """The same for mien.toml; None for keys without a default. A table in a table has its own name before its keys."""
    tables = (("general", pipeline.General), *pipeline._STAGES.items(), ("reach", pipeline.ReachTable))
    for table, settings in tables:
        for key in dataclasses.fields(settings):
            if dataclasses.is_dataclass(key.default):
                continue
            none = key.default is dataclasses.MISSING or key.default is None
            yield f"{table}.{key.name}", None if none else toml_value(key.default)


def test_the_tables_of_training_state_the_defaults_of_recipes():
    documented = dict(documented_defaults("training.md"))
    assert documented.pop("augment.level") is None  # a shorthand for the other keys
    assert documented == dict(defaults_of_recipes())


def test_the_tables_of_pipelines_state_the_defaults_of_mien_toml():
    assert dict(documented_defaults("pipeline.md", general="general")) == dict(defaults_of_pipelines())


@pytest.mark.parametrize("title", READ)
def test_the_table_of_layouts_has_each_that_is_read(title):
    layouts = (DOCS / "data.md").read_text("utf-8").partition("\n## Layouts\n")[2].partition("\n## ")[0]
    assert f"\n| {title} |" in layouts


def blocks_of(page):
    """The Python of a page as one doctest."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.S))


def make_files(folder):
    """What docs/python.md works on: a photograph, a folder of two, a clip of it, and drawn faces in class folders."""
    photo = cv2.imread(str(ROOT / "src/mien/examples/astronaut.png"))
    (folder / "holiday").mkdir()
    for name in ("photo.jpg", "holiday/beach.jpg", "holiday/hills.jpg"):
        cv2.imwrite(str(folder / name), photo, [cv2.IMWRITE_JPEG_QUALITY, 95])
    still = cv2.cvtColor(cv2.resize(photo, (256, 256)), cv2.COLOR_BGR2RGB)
    make_clip(folder / "talk.mp4", frames=5, size_wh=(256, 256), image_of=lambda *_: still)
    write_toy_folders(folder / "faces", train=140, validation=35, test=35, seed=1)


@pytest.mark.slow
def test_the_python_page_runs(tmp_path, monkeypatch):
    for package, extra in (("torch", "train"), ("av", "video"), ("pandas", "pandas")):
        pytest.importorskip(package, reason=f"the extra [{extra}] is not installed")
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    page = doctest.DocTestParser().get_doctest(blocks_of("python.md"), {"Path": Path}, "docs/python.md", None, 0)
    said = []
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    assert doctest.DocTestRunner(optionflags=options).run(page, out=said.append).failed == 0, "".join(said)


RUN = sorted([*DOCS.glob("how-to/*.md"), *DOCS.glob("migrate/*.md"), *DOCS.glob("tutorial/*.md")])


def steps_of(page):
    """The blocks of a page that are run, in order: (language, code). Only tutorials have commands that are run."""
    blocks = re.findall(r"```(python|sh)\n(.*?)```", page.read_text("utf-8"), re.S)
    return [(kind, code) for kind, code in blocks if kind == "python" or page.parent.name == "tutorial"]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_pages_run_as_they_are_written(page, tmp_path, monkeypatch):
    """Python blocks share their names, as in one session. `pip install` is left out, and training is short."""
    for package, extra in (("torch", "train"), ("av", "video"), ("pandas", "pandas")):
        pytest.importorskip(package, reason=f"the extra [{extra}] is not installed")
    if page.parent.name != "tutorial":
        make_files(tmp_path)
        (tmp_path / "crops").symlink_to(tmp_path / "faces/test/happy")
        (tmp_path / "videos").mkdir()
        shutil.copy(tmp_path / "talk.mp4", tmp_path / "videos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    names = {}
    for kind, code in steps_of(page):
        if kind == "python":
            exec(code, names)
            continue
        lines = [line for line in code.splitlines() if not line.startswith("pip install")]
        script = "\n".join(lines).replace("train=280", "train=105").replace("epochs=4", "epochs=1")
        done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"


PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def anchors_of(page):
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_every_link_of_the_readme_has_an_address_on_pypi():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    text = (ROOT / "README.md").read_text("utf-8")
    for change in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(change["pattern"], change["replacement"], text)
    assert [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("https://", "#"))] == []


def typed_commands(page):
    """Each `mien ...` of a page's shell blocks and code spans, as words."""
    text = page.read_text("utf-8")
    shell = "".join(re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.S)).replace("\\\n", " ")
    spans = re.findall(r"`(mien [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    for line in [*shell.splitlines(), *spans]:
        for typed in re.findall(r"(?:^|[|;&] |do )(mien [a-z].*?)(?=$| +[|;&#]|;)", line):
            yield typed.split()


ROOT_COMMAND = typer.main.get_command(app)


def options_of(words):
    """The options of the command that these words name. KeyError for a command that does not exist."""
    command, words = ROOT_COMMAND, words[1:]
    if words[0] == "export" and words[1:2] not in (["web"], ["model"]):
        words.insert(1, "model")  # the short form
    for word in words:
        if hasattr(command, "commands") and re.fullmatch(r"[a-z][a-z-]*", word):
            command = command.commands[word]
    return {option for each in command.params for option in (*each.opts, *each.secondary_opts)}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_commands_on_pages_exist_with_their_options(page):
    for words in typed_commands(page):
        wrong = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} - options_of(words)
        assert wrong <= {"--help"}, " ".join(words)


def test_public_names_on_pages_exist():
    for page in (page for page in PAGES if page.name != "CHANGELOG.md"):
        code = "".join(re.findall(r"```(?:python|py)\n(.*?)```", page.read_text("utf-8"), re.S))
        assert not set(re.findall(r"\bmien\.([A-Za-z_]+)\b", code)) - {*mien.__all__, "errors", "data"}, page
