"""The page's files: its own, the design of all pages, the samples, and below `/device` those of an exported folder."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Mount, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from mien.exporting.web import WORKER_POLICY, check_web_export
from mien.pages import DESIGN


def page_or(not_found: ASGIApp, on_device: Path | None = None) -> ASGIApp:
    """Serves the page's files for paths without a route. As a mounted route it would turn 405 of other routes into 404.

    on_device: an exported folder; the files below its `device` replace those of the page. Raises ExportError.
    """
    if on_device is not None:
        check_web_export(on_device)
    package = Path(str(resources.files("mien")))
    page = Router([
        Mount("/design", GZipMiddleware(StaticFiles(directory=DESIGN))),
        Mount("/examples", StaticFiles(directory=package / "examples")),
        *([Mount("/device", _DeviceFiles(directory=on_device / "device"))] if on_device else []),
        Mount("/", GZipMiddleware(StaticFiles(directory=package / "serving" / "static", html=True))),
    ])  # fmt: skip

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        is_file = scope["type"] == "http" and scope["path"].split("/")[1:2] != ["v1"]
        await (page if is_file else not_found)(scope, receive, send)

    return serve


class _DeviceFiles(StaticFiles):
    """The files of an exported folder, which may compile WebAssembly."""

    def file_response(self, *args: Any, **named: Any) -> Response:
        """Adds the policy to a file."""
        response = super().file_response(*args, **named)
        response.headers.update({"content-security-policy": WORKER_POLICY, "cache-control": "no-cache"})
        return response
