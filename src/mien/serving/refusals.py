"""Refusals: one exception and one JSON shape. No message contains a path, a traceback or the text of a library."""

from __future__ import annotations

from http import HTTPStatus


class Refusal(Exception):
    """A request that the server refuses.

    code: for programs. message: for people. kind: what is counted and logged, if it is not the code. headers: of the
    response, such as `retry_after`.
    """

    def __init__(self, status: HTTPStatus, code: str, message: str, *, kind: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.kind = status, code, message, kind or code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class ClientGone(Exception):
    """The client has disconnected."""


def busy(what: str, *, kind: str, retry_after: int = 1) -> Refusal:
    """503: the server is overloaded. kind: what is exhausted, for metrics and logs."""
    message = f"{what}; try again in a moment"
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message, kind=kind, retry_after=str(retry_after))


def too_slow(retry_after: int) -> Refusal:
    """503: the request can't be answered, or was not, before its deadline."""
    message = "the server is too busy to answer in time; try again later, or send fewer or smaller images"
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too_slow", message, retry_after=str(retry_after))


def too_large(what: str) -> Refusal:
    """413: an upload exceeds a limit."""
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", what)


def bad_request(code: str, message: str) -> Refusal:
    """400."""
    return Refusal(HTTPStatus.BAD_REQUEST, code, message)


def no_room() -> Refusal:
    """503: the disk, or the server's share of it, is full."""
    return busy("there is no room for more videos; remove one", kind="disk", retry_after=30)
