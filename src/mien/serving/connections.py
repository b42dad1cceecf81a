"""Time limits of connections: uvicorn's protocols with the limits that uvicorn leaves to a proxy.

Three things have a time limit: a request's head, the rest of an upload that was already refused, and a response that
the client does not read. Connections above the limit get 503 at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from mien.serving.gate import SECURITY_HEADERS
from mien.serving.refusals import Refusal, bad_request, busy
from mien.serving.settings import ServeSettings


class _Clock:
    """A timer that ends a connection."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._handle: asyncio.TimerHandle | None = None

    def run(self, end: Callable[[], None]) -> None:
        """Starts the timer unless it is running."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self._seconds, end)

    def stop(self) -> None:
        """Stops the timer if it is running."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class _ReadInTime(asyncio.Protocol):
    """A connection whose client must read what is sent within the time limit."""

    settings: ServeSettings
    transport: asyncio.Transport

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._sending = _Clock(self.settings.answer_timeout_s)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._sending.run(self.transport.abort)

    def resume_writing(self) -> None:
        self._sending.stop()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._sending.stop()
        super().connection_lost(exc)


class _Http(_ReadInTime, H11Protocol):
    """HTTP/1.1 with time limits for heads, refused bodies and responses."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._head = _Clock(self.settings.head_timeout_s)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            transport.write(_raw_response(busy("too many connections")))
            transport.close()
            self._sending.run(transport.abort)
            return
        self._head.run(transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        self.transport.write(_raw_response(bad_request("bad_http", "this is not valid HTTP")))
        self.transport.close()

    def _watch(self) -> None:
        """Runs the timer while a head is incomplete, and while a body arrives after its response was sent."""
        working = self.conn.their_state is not h11.IDLE and self.conn.our_state not in (h11.DONE, h11.MUST_CLOSE)
        self._head.stop() if working else self._head.run(self.transport.abort)


class _WebSocket(_ReadInTime, WebSocketsSansIOProtocol):
    """A WebSocket with a time limit for what is sent."""


def protocols(settings: ServeSettings) -> tuple[type[asyncio.Protocol], type[asyncio.Protocol]]:
    """Returns the protocol classes for HTTP and WebSockets, with the limits of the settings."""
    limited = {"settings": settings}
    return type("Http", (_Http,), limited), type("WebSocket", (_WebSocket,), limited)


def _raw_response(refusal: Refusal) -> bytes:
    """A complete response for a connection without a request."""
    body = refusal.body()
    headers = {**SECURITY_HEADERS, **refusal.headers(), "content-length": str(len(body)), "connection": "close"}
    lines = [f"HTTP/1.1 {int(refusal.status)} {HTTPStatus(refusal.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
