"""The page's files: its own, the design of all pages, the samples, and below `/device` those of an exported folder."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.exporting.web import WORKER_POLICY, check_web_export
from mien.pages import DESIGN


def page_or(not_found: ASGIApp, on_device: Path | None = None) -> ASGIApp:
    """Serves the page's files for paths without a route. As a mounted route it would turn 405 of other routes into 404.

    on_device: an exported folder; the files below its `device` replace those of the page. Raises ExportError.
    """
    package = Path(str(resources.files("mien")))
    page = GZipMiddleware(StaticFiles(directory=package / "serving" / "static", html=True))
    below: dict[str, ASGIApp] = {
        "design": GZipMiddleware(StaticFiles(directory=DESIGN)),
        "examples": StaticFiles(directory=package / "examples"),
        **({"device": _device_files(on_device)} if on_device else {}),
    }

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        first, slash, _ = scope["path"].removeprefix("/").partition("/")
        if scope["type"] != "http" or first == "v1":
            await not_found(scope, receive, send)
        elif slash and first in below:
            await below[first]({**scope, "root_path": f"{scope.get('root_path', '')}/{first}"}, receive, send)
        else:
            await page(scope, receive, send)

    return serve


def _device_files(folder: Path) -> ASGIApp:
    """Serves the files of an exported folder, which may compile WebAssembly. Raises ExportError."""
    check_web_export(folder)
    files = StaticFiles(directory=folder / "device")

    async def device(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = WORKER_POLICY
                headers["cache-control"] = "no-cache"
            await send(message)

        await files(scope, receive, send_with_policy)

    return device
