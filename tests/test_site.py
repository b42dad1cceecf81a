"""The documentation site: it builds without a warning; its reference has every name, command, key and route."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mien
from mien.cli import app
from mien.pipeline import settings as pipeline
from mien.training.recipe import Recipe
from places import ROOT

pytest.importorskip("mkdocs", reason="the extra [docs] is not installed")
pytest.importorskip("fastapi", reason="the extra [web] is not installed")


@pytest.fixture(scope="module")
def pages():
    """Place of a generated page -> its Markdown."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import site_pages
    finally:
        sys.path.pop(0)
    return {place: text for section in site_pages.reference().values() for place, text in section.items()}


def commands():
    """Each command as it is typed."""
    for command in app.registered_commands:
        yield f"mien {command.name}"
    for group in app.registered_groups:
        typed = f"mien {group.typer_instance.info.name}"
        yield from (f"{typed} {command.name}" for command in group.typer_instance.registered_commands if command.name)


def test_every_public_name_has_one_entry(pages):
    entries = re.findall(r"(?m)^::: mien\.(\w+)$", "\n".join(pages.values()))
    assert sorted(entries) == sorted(set(mien.__all__) - {"__version__"})


def test_every_command_has_a_heading_and_its_options(pages):
    text = "\n".join(page for place, page in pages.items() if "/commands/" in place)
    headings = re.findall(r"(?m)^#+ `(mien [\w -]+)`$", text)
    assert set(commands()) <= set(headings)
    assert "`-o, --out FILE`" in pages["reference/commands/predict.md"]


@pytest.mark.parametrize(
    ("place", "tables"),
    [
        ("reference/recipe.md", [Recipe, *(f.default_factory for f in dataclasses.fields(Recipe))]),
        ("reference/pipeline.md", [pipeline.General, *pipeline._STAGES.values()]),
    ],
)
def test_every_key_has_a_row(pages, place, tables):
    rows = re.findall(r"(?m)^\| `(\w+)` \|", pages[place])
    tables = [kind for kind in tables if dataclasses.is_dataclass(kind)]
    keys = [key for kind in tables for key in dataclasses.fields(kind)]
    plain = [key.name for key in keys if not dataclasses.is_dataclass(key.default_factory)]
    assert rows == plain


def test_every_route_has_a_heading(pages):
    for route in ("POST /v1/predict", "GET /v1/models", "POST /v1/videos", "GET /healthz"):
        assert f"\n## `{route}`\n" in pages["reference/http.md"]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    """Broken links and anchors, pages outside the navigation and unknown names are warnings."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "reference/python/recognise.html").read_text("utf-8")
    assert 'id="mien.predict"' in page and 'id="mien.Face.top"' in page
    assert not [link for each in tmp_path.rglob("*.html") for link in loaded_from_elsewhere(each)]


def loaded_from_elsewhere(page: Path):
    """Scripts, styles and images that a page would load from another server."""
    return re.findall(
        r'<(?:script|link rel="stylesheet"|img)[^>]*(?:src|href)="(https?:[^"]+)"', page.read_text("utf-8")
    )
