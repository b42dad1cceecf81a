"""Takes screenshots of pages in headless Chromium, as small WebP files.

    python scripts/screenshots.py OUT report=results/report.html run=runs/a/run.html

Writes OUT/report.webp and OUT/run.webp: the top of each page, 1280 px wide, below 80 kB each.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

WIDTH, HEIGHT, MOST_BYTES = 1280, 1700, 80_000


def main() -> None:
    """Takes the screenshots that the arguments name."""
    out, *named = sys.argv[1:]
    Path(out).mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for text in named:
            name, _, address = text.partition("=")
            place = Path(out) / f"{name}.webp"
            place.write_bytes(small(screenshot(browser, address)))
            print(f"{place}: {place.stat().st_size:,} bytes")
        browser.close()


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
