"""ASGI middleware for every request: access, security headers, one shape of errors, counts and logs.

The outer one, `Envelope`, turns every exception into a response. The inner one, `Gate`, checks the Host (DNS
rebinding), the Origin (pages of other sites) and the token.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.serving.connections import MOST_HEAD
from mien.serving.metrics import Metrics
from mien.serving.refusals import ClientGone, Refusal, bad_request
from mien.serving.settings import ServeSettings, is_loopback

TOKEN_PROTOCOL = "mien.token."
"""Prefix of the token as a subprotocol, offered beside `mien.v1`: browsers can't set the headers of a WebSocket."""
STREAM_PROTOCOL = "mien.v1"

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_PROBES = {"/healthz", "/readyz"}  # are also open to any Host, and reveal only whether the server is up
_METRICS = "/metrics"
_PUBLIC = "/v1/openapi.json"  # the page links to it, and a link has no token
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.ASCII | re.IGNORECASE)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WS"}

log = logging.getLogger("mien.serving")


class Envelope:
    """Adds headers, and handles errors, counts and logs."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[Any], stopping: Event, metrics: Metrics) -> None:
        """routes: of the application; their paths are the names of requests in metrics and logs."""
        self._app, self._stopping, self._metrics = app, stopping, metrics
        self._routes = [(route.path_regex, str(route.path)) for route in routes if hasattr(route, "path_regex")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request or one WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began, status, refused = time.monotonic(), 0, None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                status = message.get("status", 101)
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                if self._stopping.is_set() and scope["type"] == "http":
                    headers["connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientGone:
            status = status or 499
        except Exception as error:
            refused = error if isinstance(error, Refusal) else _bug(error)
            if status:
                raise RuntimeError("failed after the response began") from None  # the connection is closed
            content = {"error": {"code": refused.code, "message": refused.message}}
            await JSONResponse(content, int(refused.status), refused.headers)(scope, receive, send_with_headers)
            self._metrics.refused.labels(refused.code, refused.kind).inc()
        finally:
            self._count(scope, status, time.monotonic() - began, refused)

    def _count(self, scope: Scope, status: int, seconds: float, refused: Refusal | None) -> None:
        route = next((path for regex, path in self._routes if regex.match(scope["path"])), "other")
        method = scope.get("method", "WS")
        method = method if method in _METHODS else "other"
        self._metrics.requests.labels(route, method, str(status)).inc()
        if scope["type"] == "http":
            self._metrics.request_seconds.labels(route).observe(seconds)
        details = {"route": route, "method": method, "status": status, "ms": round(seconds * 1000, 1)}
        details |= {"refused": refused.kind} if refused else {}
        log.info("%s %s %d", method, route, status, extra={"details": details})


class Gate:
    """Checks access. Raises Refusal."""

    def __init__(self, app: ASGIApp, *, settings: ServeSettings, tokens: Sequence[str]) -> None:
        """tokens: accepted tokens; none needed if empty."""
        self._app, self._settings = app, settings
        self._digests = [_digest(token) for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Checks a request and passes it on."""
        if scope["type"] in ("http", "websocket") and scope["path"] not in _PROBES:
            is_admin = (scope.get("server") or ("", 0))[1] == (self._settings.admin_port or None)
            if is_admin and scope["path"] != _METRICS:
                raise Refusal(HTTPStatus.NOT_FOUND, "not_found", "this port has probes and metrics only")
            headers = Headers(scope=scope)
            _check_head(headers)
            self._check_host(headers)
            self._check_origin(headers)
            scope["mien.client"] = _network(scope)
            is_protected = scope["path"].startswith(("/v1", _METRICS)) and scope["path"] != _PUBLIC and not is_admin
            if self._digests and is_protected:
                self._check_token(scope, headers)
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        """On loopback the Host must be a local name: any other name is DNS rebinding by a web page."""
        found = _HOST.fullmatch(headers.get("host", ""))
        if found is None or (self._settings.loopback and not is_loopback(found[1])):
            message = "the Host header is not a name of this server"
            raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, "wrong_host", message)

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self._settings.allowed_origins:
            return
        try:
            same = urlsplit(origin).netloc.lower() == headers["host"].lower()
        except ValueError:
            same = False
        if not same:
            message = "pages of other sites may not use this server; allow one with --allow-origin"
            raise Refusal(HTTPStatus.FORBIDDEN, "wrong_origin", message)

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else ""
        if scope["type"] == "websocket" and not given:
            offered = [p for p in scope.get("subprotocols", ()) if p.startswith(TOKEN_PROTOCOL)]
            given = offered[0].removeprefix(TOKEN_PROTOCOL) if offered else ""
        digest = _digest(given)
        # All are compared, each in constant time, so that the time reveals nothing about the tokens.
        if sum(hmac.compare_digest(digest, known) for known in self._digests) == 0:
            message = "a valid token is required: send it as  Authorization: Bearer TOKEN"
            scheme = 'Bearer realm="mien"'
            raise Refusal(HTTPStatus.UNAUTHORIZED, "token_needed", message, www_authenticate=scheme)
        scope["mien.caller"] = scope["mien.client"] = digest.hex()  # the owner of uploaded videos


def _check_head(headers: Headers) -> None:
    """Refuses what proxies read in different ways, and what arrived too fast for the parser's own limit."""
    if "content-length" in headers and "transfer-encoding" in headers:
        raise bad_request("bad_http", "the request has both Content-Length and Transfer-Encoding; send one")
    if sum(len(name) + len(value) for name, value in headers.raw) > MOST_HEAD:
        message = f"the headers have more than {MOST_HEAD:,} bytes"
        raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "bad_http", message)


def _network(scope: Scope) -> str:
    """The client's address; of IPv6 the first half, as one client has all addresses of the second."""
    address = str((scope.get("client") or ("",))[0])
    with suppress(ValueError):
        found = ipaddress.ip_address(address)
        if found.version == 6 and not found.ipv4_mapped:
            return str(ipaddress.ip_network((found, 64), strict=False))
    return address


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", errors="surrogatepass")).digest()


def _bug(error: Exception) -> Refusal:
    """Logs the type and traceback; not the message, which may contain a file name or content."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    kind, place = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
    log.error("a request failed: %s\n%s", kind, place, extra={"details": {"error": kind, "traceback": place}})
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "internal error; see the server's log")
