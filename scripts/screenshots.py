"""Takes screenshots of pages in headless Chromium, as small WebP files.

    python scripts/screenshots.py OUT report=results/report.html run=runs/a/run.html

Writes OUT/report.webp and OUT/run.webp: the top of each page, 1280 px wide, below 80 kB each. Without names it writes
explore, audit and dedupe of toy faces with planted copies: faces of real data sets may not be in a repository.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import mien
from mien.data.audit import audit_dataset
from mien.data.dedupe import dedupe
from mien.data.explore import explore
from mien.data.settings import AuditSettings
from mien.data.toy import write_toy_folders
from mien.images import read_image
from mien.pages import png

WIDTH, HEIGHT, MOST_BYTES = 1280, 1700, 80_000


def main() -> None:
    """Takes the screenshots that the arguments name."""
    out, *named = sys.argv[1:]
    Path(out).mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        named = named or toy_reports(Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for text in named:
            name, _, address = text.partition("=")
            place = Path(out) / f"{name}.webp"
            place.write_bytes(small(screenshot(browser, address)))
            print(f"{place}: {place.stat().st_size:,} bytes")
        browser.close()


def toy_reports(folder: Path) -> list[str]:
    """Pages of 1,400 toy faces, some of which are there twice, with noise or another label."""
    write_toy_folders(folder / "toy", train=1120, validation=280, test=0, seed=5)
    places = sorted((folder / "toy" / "train").rglob("*.png"))
    rng = np.random.default_rng(1)
    for number, place in enumerate(places[:: len(places) // 24]):
        face = read_image(place, grey=True)
        if number % 3:
            face = np.clip(face + rng.normal(0, 3 * (number % 3), face.shape), 0, 255).astype(np.uint8)
        other = place.parent if number % 4 else places[-number].parent
        (other / f"copy-{number}.png").write_bytes(png(face))
    (places[0].parent / "empty.png").write_bytes(png(np.full((48, 48, 1), 128, np.uint8)))
    data = mien.import_dataset(folder / "toy", folder / "faces", check=False)
    audit_dataset(data, folder / "audit", AuditSettings(suspects=False))
    copies = dedupe(data, folder / "clean", near=4).page
    explored = explore(data, folder / "explore")
    return [f"explore={explored}", f"audit={folder / 'audit' / 'index.html'}", f"dedupe={copies}"]


def screenshot(
    browser: Browser, address: str, *, width: int = WIDTH, height: int = HEIGHT, dark: bool = False, full: bool = False
) -> bytes:
    """The top of a page, a file or an address, as PNG; full: all of it."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
    page.goto(address if "://" in address else Path(address).resolve().as_uri())
    page.wait_for_timeout(400)
    data = page.screenshot(full_page=full)
    page.close()
    return data


def small(png: bytes, most: int = MOST_BYTES) -> bytes:
    """A PNG as WebP in the best quality that fits into `most` bytes."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in range(90, 0, -5):
        data = io.BytesIO()
        image.save(data, "WEBP", quality=quality, method=6)
        if data.tell() <= most:
            break
    return data.getvalue()


if __name__ == "__main__":
    main()
