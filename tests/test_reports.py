"""Every kind of report in Chromium: from disk, without requests and errors, axe-core, 320 px, and hostile texts.

One file, so that one browser is started for all of it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("axe_playwright_python", reason="it brings axe-core")

from playwright.sync_api import Browser, Page, expect, sync_playwright

from made_data import make
from made_runs import made_run
from mien.data.audit import audit_dataset
from mien.data.dedupe import groups_page
from mien.data.duplicates import find_duplicates
from mien.data.explore import explore
from mien.data.samples import Samples
from mien.data.screen import Rejected, rejected_page
from mien.data.settings import AuditSettings
from mien.data.toy import toy_faces
from mien.evaluation.compare import compare
from mien.evaluation.compare_page import comparison_page
from mien.evaluation.evaluate import Extras, evaluate_samples
from mien.evaluation.extremes import explain_extremes
from mien.evaluation.page import write_page
from mien.files import literal
from mien.model_file import ModelFile
from mien.pipeline.run import write_overview
from mien.pipeline.state import Job, Outcome, StageRecord, StageReport, StageResult
from mien.training.recipe import load_recipe
from mien.training.run_page import write_run_page
from mien.training.tuned import Tried, Tuned, write_tuned
from page_browser import CHROMIUM, axe_findings
from tiny_models import make_model

if CHROMIUM is None:
    pytest.skip("Chromium is not installed", allow_module_level=True)

EVIL = "<img src=x onerror=document.title=1>'\"\u202e"
LABELS = (EVIL, "=cmd|'/c calc'!A0", "happy")


def faces(count: int = 24) -> Samples:
    """Toy faces with hostile names; the second half are copies of the first."""
    images = toy_faces(count // 2, seed=1).images
    names = tuple(f"{EVIL}/{i}.png" for i in range(count))
    return Samples(np.concatenate((images, images)), np.arange(count) % 3, LABELS, names)


def data(count: int = 24):
    samples = faces(count)
    images = list(samples.images)
    images[0] = np.full_like(images[0], 90)
    splits = ["train", "train", "validation", EVIL] * (count // 4)
    return make(images, samples.labels, splits, names=LABELS, sources=list(samples.sources))


def evaluation(out: Path) -> Path:
    models = [ModelFile(make_model(out / f"m{seed}.onnx", LABELS, seed=seed)) for seed in (0, 1)]
    samples = faces(60)
    columns = {EVIL: np.array([EVIL, "b"] * 30)}
    extras = Extras(columns=columns, target_accuracy=0.2, speed=True, robustness_faces=6)
    found = evaluate_samples(models, samples, extras=extras, data=EVIL, split="validation")
    found = replace(found, models=(replace(found.models[0], name=EVIL), *found.models[1:]), notes=(EVIL,))
    return write_page(found, out, samples=samples, extremes=explain_extremes(models, found, samples, count=2))


def run(out: Path) -> Path:
    recipe = replace(load_recipe("toy"), name=EVIL, description=EVIL)
    made_run(out / "run", 0.5, n=60)
    course = [{"head": "label", "epoch": e, "labels": LABELS, "counts": np.eye(3).tolist()} for e in range(1, 5)]
    (out / "run" / "confusions.json").write_text(json.dumps(course))
    return write_run_page(recipe, out / "run", np.zeros((60, 8, 8, 1), np.uint8))


def comparison(out: Path) -> Path:
    folders = [made_run(out / name, right) for name, right in (("a", 0.5), ("b", 0.7))]
    comparison_page(compare(folders, names=[EVIL, "b"])).write(out / "compare.html")
    return out / "compare.html"


def tuning(out: Path) -> Path:
    trials = [
        Tried(i, "complete", 0.5 + i / 50, 3, (("rate", f"{10.0**-i}"), (EVIL, f'"{EVIL}{i % 2}"'))) for i in range(6)
    ]
    trials.append(Tried(6, "failed", None, 1, trials[0].changes, EVIL))
    recipe = load_recipe("toy")
    write_tuned(Tuned(recipe, 0.6, 5, tuple(trials), (("rate", 0.7), (EVIL, 0.3))), out)
    return out / "tune.html"


def audit(out: Path) -> Path:
    audit_dataset(data(), out / "audit", AuditSettings(suspects=False))
    return out / "audit" / "index.html"


def screening(out: Path) -> Path:
    images = faces(2).images
    rejected = [Rejected(f"{EVIL}{i}", EVIL, EVIL, f"no face found by {EVIL}") for i in range(2)]
    rejected_page(rejected, {one.source: image for one, image in zip(rejected, images, strict=True)}, 5).write(
        out / "r.html"
    )
    return out / "r.html"


def copies(out: Path) -> Path:
    dataset = data()
    groups_page(dataset, find_duplicates(dataset), np.arange(len(dataset)) < 12).write(out / "groups.html")
    return out / "groups.html"


def pipeline(out: Path) -> Path:
    outcome = Outcome((), (StageReport(EVIL, f"{EVIL}.html"),), 3, 2, 1, EVIL)
    job = Job.__new__(Job)
    results = [StageResult(EVIL, "ran", record=StageRecord(job, outcome, (), 1.5)), StageResult("b", "left", EVIL)]
    write_overview(out / "index.html", EVIL, results)
    return out / "index.html"


KINDS: dict[str, Callable[[Path], Path]] = {
    "evaluation": evaluation, "run": run, "comparison": comparison, "tuning": tuning, "audit": audit,
    "explore": lambda out: explore(data(), out / "explore", per_class=2), "screening": screening, "copies": copies,
    "pipeline": pipeline,
}  # fmt: skip

LINES = ("evaluation", "run", "comparison", "tuning")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The page of a kind, made once. Files of charts, which take the most time, are tested elsewhere."""
    made: dict[str, Path] = {}

    def report(kind: str) -> Path:
        if kind not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("mien.pages.Page.write_figures", lambda *_, **__: None)
                made[kind] = KINDS[kind](tmp_path_factory.mktemp(kind))
        return made[kind]

    return report


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a report from disk; in the end none has asked for anything, said anything or run a foreign script."""
    pages: list[Page] = []
    problems: list[str] = []

    def open_one(place: Path, *, width: int = 1280, dark: bool = False) -> Page:
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light")
        pages.append(page)
        asked = lambda url: url.startswith(("data:", "blob:")) or url == place.as_uri()  # noqa: E731
        page.on("request", lambda r: None if asked(r.url.partition("#")[0]) else problems.append(f"asked {r.url}"))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(place.as_uri())
        return page

    yield open_one
    assert all(page.title() != "1" for page in pages)
    for page in pages:
        page.close()
    assert not problems


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_opens_from_disk_fits_a_phone_and_is_accessible(kind, reports, open_page):
    page = open_page(reports(kind), width=320)
    assert page.evaluate("document.documentElement.scrollWidth <= 320")
    assert page.evaluate("[...document.images].every(i => i.loading === 'lazy' || i.naturalWidth)")
    assert not page.locator("img[onerror], b b, [src=x]").count()
    assert "<img src=x onerror" in page.inner_text("body").replace("\n", " ")
    assert page.inner_text("h1") and page.locator("h1").count() == 1
    page.set_viewport_size({"width": 1280, "height": 800})
    assert bool(page.locator(".plot").count()) == (kind in LINES)
    if kind in LINES:
        say_their_values(page)
    serious = ("serious", "critical")
    assert [found for found in axe_findings(page) if found[1] in serious] == []
    page.emulate_media(color_scheme="dark")  # only colours change
    assert axe_findings(page, runOnly=["color-contrast"]) == []


def say_their_values(page):
    """The lines of a report are drawn, and say their values at the keyboard and under the pointer."""
    expect(page.locator(".plot canvas")).to_have_count(page.locator(".plot").count())
    plot = page.locator(".plot").first
    plot.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert any(letter.isdigit() for letter in plot.locator(".tip").inner_text())
    page.mouse.move(0, 0)
    plot.hover()
    assert plot.locator(".tip").is_visible()


def test_a_cell_of_the_confusion_matrix_opens_its_faces(reports, open_page):
    page = open_page(reports("evaluation"))
    assert not page.locator(".behind:visible").count()
    cell = page.locator(".matrix a").first
    count = int(cell.inner_text())
    cell.focus()
    page.keyboard.press("Enter")
    assert page.locator(".behind:visible").count() == 1
    assert page.locator(".behind:visible img").count() == min(count, 8)
    page.locator(".behind:visible a").click()
    assert not page.locator(".behind:visible").count()


def test_ticks_are_saved_as_csv(reports, open_page):
    page = open_page(reports("audit"))
    page.locator(".pick select").first.select_option(LABELS[1])
    page.locator(".pick input").nth(1).check()
    assert page.inner_text(".decisions output") == "2 ticked"
    with page.expect_download() as download:
        page.click("#save")
    text = Path(download.value.path()).read_text("utf-8")
    assert ",=" not in text and '"=' not in text
    rows = [{key: literal(cell) for key, cell in row.items()} for row in csv.DictReader(io.StringIO(text))]
    assert len(rows) == 2 and rows[0]["new_label"] == LABELS[1] and rows[0]["source"].startswith("<img src=x")
    assert list(rows[0]) == ["row", "source", "split", "label", "new_label", "reason"]


def test_a_page_prints_on_white_with_its_charts(reports, open_page):
    page = open_page(reports("run"), dark=True)
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf()[:5] == b"%PDF-"
