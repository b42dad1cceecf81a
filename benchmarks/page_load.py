"""Measures the load time of the page of `mien serve` in headless Chromium, without a cache, on loopback.

    python benchmarks/page_load.py [--browser /usr/bin/chromium]

*Shown* is the first paint of content, *loaded* the load event, *ready* the moment when the page shows the server's
models and limits. The browser's first page after its start comes first, then pages in new contexts. *kB on the wire* is
what the browser received for it, headers included; models are not part of it.
"""

from __future__ import annotations

import statistics
import time

from page import arguments, table, write_page
from playwright.sync_api import Browser, expect, sync_playwright
from serve import server

from mien.releases import DEFAULT_MODEL

SHOWN = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
WIRE = """performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
  .reduce((sum, one) => sum + one.transferSize, 0) / 1000"""
MOST_KB, MOST_SHOWN_MS = 250, 1500  # the budget of a page
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def load(browser: Browser, port: int) -> tuple[float, float, float, float]:
    """Shown, loaded, ready in milliseconds, kB on the wire; stops where the page asks anybody but the server."""
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    began = time.perf_counter()
    page.goto(f"http://127.0.0.1:{port}/")
    expect(page.locator("#limits")).to_contain_text("MB")
    ready = (time.perf_counter() - began) * 1000
    while not page.evaluate("performance.getEntriesByName('first-contentful-paint').length"):
        time.sleep(0.01)
    times = page.evaluate(SHOWN), page.evaluate(LOADED), ready, page.evaluate(WIRE)
    outside = [url for url in asked if not url.startswith((f"http://127.0.0.1:{port}/", "blob:", "data:"))]
    if outside:
        raise SystemExit(f"the page asked another server: {outside}")
    context.close()
    return times


def main() -> None:
    parser = arguments(__doc__, repeats=11)
    parser.add_argument("--browser", default="/usr/bin/chromium", help="Chromium's executable")
    options = parser.parse_args()
    with server(DEFAULT_MODEL, 1) as (port, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.browser)
        cold = load(browser, port)
        warm = [load(browser, port) for _ in range(options.repeats)]
        version = browser.version
        browser.close()
    if cold[3] > MOST_KB or statistics.median(times[0] for times in warm) > MOST_SHOWN_MS:
        raise SystemExit(f"over the budget of {MOST_KB} kB and {MOST_SHOWN_MS} ms: {cold}, {warm}")
    rows = [("the browser's first page", *(f"{v:.0f}" for v in cold))]
    rows.append((f"median of {options.repeats}", *(f"{statistics.median(v):.0f}" for v in zip(*warm, strict=True))))
    rows.append(("slowest of them", *(f"{max(v):.0f}" for v in zip(*warm, strict=True))))
    budget = f"Budget: {MOST_KB} kB on the wire, shown in {MOST_SHOWN_MS} ms."
    about = f"Chromium {version}, headless; nothing was asked of another server. {budget}"
    lines = [about, "", *table(("page", "shown ms", "loaded ms", "ready ms", "kB on the wire"), rows)]
    write_page(options.results, "page-load", "The first load of the page", lines, packages=("uvicorn", "fastapi"))


if __name__ == "__main__":
    main()
