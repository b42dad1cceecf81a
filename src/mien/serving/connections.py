"""What uvicorn leaves to a proxy: strict heads, and time limits and numbers of open connections.

`Connections` looks at uvicorn's open connections a few times a second and closes those that are too slow. Requests are
never refused for the number of connections: those without a request give way, so that a probe is always answered.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import Any
from weakref import WeakKeyDictionary

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mien.serving.metrics import Metrics
from mien.serving.settings import ServeSettings

MOST_HEAD = 32_768
"""Bytes of a request's head."""

STATE = "mien.connections"
"""Where the application's lifespan keeps its `Connections` for `strict_http`."""

_BARE_LF = re.compile(rb"(?<!\r)\n")


class _StrictHeads(h11.Connection):
    """Refuses a line feed without its carriage return: proxies disagree on it, and so on where a request ends."""

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE and _BARE_LF.search(self.trailing_data[0].partition(b"\r\n\r\n")[0]):
            raise h11.RemoteProtocolError("a line feed without its carriage return")
        return super().next_event()


def strict_http(**named: Any) -> H11Protocol:
    """Makes uvicorn's HTTP protocol for a new connection."""
    made = H11Protocol(**named)
    made.conn = _StrictHeads(h11.SERVER, MOST_HEAD)
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
