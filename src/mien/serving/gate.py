"""What lies between uvicorn and the routes: strict heads, open connections, access, headers, errors, counts, logs.

Of the ASGI middleware the outer one, `Envelope`, turns every exception into a response. The inner one, `Gate`, checks
the Host (DNS rebinding), the Origin (pages of other sites) and the token.

The rest is what uvicorn leaves to a proxy. `Connections` looks at its open connections a few times a second and closes
those that are too slow. Requests are never refused for the number of connections: those without a request give way, so
that a probe is always answered.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from threading import Event
from typing import Any
from weakref import WeakKeyDictionary

import h11
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mien.serving.metrics import Metrics
from mien.serving.refusals import ClientGone, Refusal, bad_request
from mien.serving.settings import SECURITY_HEADERS, ServeSettings, host_of, is_loopback

TOKEN_PROTOCOL = "mien.token."
"""Prefix of the token as a subprotocol, offered beside `mien.v1`: browsers can't set the headers of a WebSocket."""
STREAM_PROTOCOL = "mien.v1"
STATE = "mien.connections"
"""Where the application's lifespan keeps its `Connections` for `strict_http`."""
_MOST_HEAD = 32_768  # bytes of a request's head
_BARE_LF = re.compile(rb"(?<!\r)\n")
_PROBES = {"/healthz", "/readyz"}  # are also open to any Host, and reveal only whether the server is up
_METRICS = "/metrics"
_PUBLIC = "/v1/openapi.json"  # the page links to it, and a link has no token
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
        host = host_of(headers.get("host", ""))
        if not host or (is_loopback(self._settings.host) and not is_loopback(host)):
            message = "the Host header is not a name of this server"
            raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, "wrong_host", message)

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self._settings.allowed_origins:
            return
        if origin.lower().partition("://")[2] != headers["host"].lower():
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
    if sum(len(name) + len(value) for name, value in headers.raw) > _MOST_HEAD:
        message = f"the headers have more than {_MOST_HEAD:,} bytes"
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


class _StrictHeads(h11.Connection):
    """Refuses a line feed without its carriage return: proxies disagree on it, and so on where a request ends."""

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE and _BARE_LF.search(self.trailing_data[0].partition(b"\r\n\r\n")[0]):
            raise h11.RemoteProtocolError("a line feed without its carriage return")
        return super().next_event()


def strict_http(**named: Any) -> H11Protocol:
    """Makes uvicorn's HTTP protocol for a new connection."""
    made = H11Protocol(**named)
    made.conn = _StrictHeads(h11.SERVER, _MOST_HEAD)
    named["app_state"][STATE].open = named["server_state"].connections
    return made


class Connections:
    """The open connections of a worker."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._since: WeakKeyDictionary[Any, tuple[Any, float]] = WeakKeyDictionary()
        self.open: set[Any] = set()

    def check(self) -> None:
        """Closes connections that are too slow, and the oldest without a request if there are too many.

        Those of `admin_port` do not count, and stay.
        """
        settings, now = self._settings, time.monotonic()
        limits = {"head": settings.head_timeout_s, "rest": settings.head_timeout_s, "sending": settings.timeout_s}
        unused: list[tuple[float, Any]] = []
        counted: Counter[str] = Counter()
        for connection in list(self.open):
            state = _state(connection)
            before, since = self._since.get(connection, (None, now))
            if state != before:
                self._since[connection] = state, (since := now)
            if now - since > limits.get(state[0], float("inf")):
                self._close(connection, state[0])
            elif connection.server[1] != settings.admin_port:
                counted[_address(connection)] += 1
                if state[0] in ("head", "rest"):
                    unused.append((since, connection))
        most, share = settings.max_connections, max(1, round(settings.max_connections * settings.client_share))
        for _, connection in sorted(unused, key=lambda pair: pair[0]):
            if counted.total() > most or counted[_address(connection)] > share:
                self._close(connection, "too_many")
                counted[_address(connection)] -= 1

    def _close(self, connection: Any, reason: str) -> None:
        connection.transport.abort()
        self._metrics.closed.labels(reason).inc()


def _state(connection: Any) -> tuple[Any, ...]:
    """What a connection does, with its progress: `head`, `rest` (of a refused body), `sending` or `working`."""
    buffered = connection.transport.get_write_buffer_size()
    if buffered:
        return "sending", buffered
    if not isinstance(connection, H11Protocol):
        return ("working",)
    cycle = connection.cycle
    if cycle is None or (cycle.response_complete and connection.conn.their_state is not h11.SEND_BODY):
        return "head", id(cycle)
    return ("rest" if cycle.response_complete else "working"), id(cycle)


def _address(connection: Any) -> str:
    return str((connection.client or ("",))[0])
