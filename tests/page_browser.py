"""Chromium for tests of pages: its flags, what a test reads from a page, and axe-core."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)  # fmt: skip
_FINDINGS = """async (options) => (await axe.run(options)).violations
  .map((v) => [v.id, v.impact, v.nodes.map((n) => n.html + " " + n.failureSummary)])"""
DROP = """async ([selector, files]) => {
  const dataTransfer = new DataTransfer();
  for (const [name, type, bytes] of files) {
    dataTransfer.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, { type }));
  }
  const where = document.querySelector(selector);
  const over = new DragEvent("dragover", { dataTransfer, bubbles: true, cancelable: true });
  const drop = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
  where.dispatchEvent(over);
  where.dispatchEvent(drop);
  return over.defaultPrevented && drop.defaultPrevented;
}"""


def axe_findings(page: Page, **options: Any) -> Any:
    """What axe-core finds on a page: rule, impact and places. options: as `axe.run` takes them."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    return page.evaluate(_FINDINGS, {"resultTypes": ["violations"], **options})


def downloaded(page: Page, button: str) -> bytes:
    with page.expect_download() as waiting:
        page.click(button)
    return Path(waiting.value.path()).read_bytes()


def pixels(page: Page, selector: str) -> Any:
    return page.eval_on_selector(selector, "canvas => canvas.toDataURL()")


def image_file(name: str, width: int = 240, height: int = 160) -> Any:
    data = cv2.imencode(".png", np.full((height, width, 3), 128, np.uint8))[1].tobytes()
    return {"name": name, "mimeType": "image/png", "buffer": data}
