"""How library functions report: progress through a callback, warnings through the logger `mien`. They print nothing."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int | None], None]
"""Called with the number of items that are done, and the total, None where it is not known."""

_log = logging.getLogger("mien")
log_warning = _log.warning


@contextmanager
def warnings_to(receive: Callable[[str], None]) -> Iterator[None]:
    """Gives `receive` each warning of the block as a line, and nobody else. Of nested blocks the innermost counts."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: receive(record.getMessage())  # type: ignore[method-assign]
    before, propagate = _log.handlers[:], _log.propagate
    _log.handlers[:], _log.propagate = [handler], False
    try:
        yield
    finally:
        _log.handlers[:], _log.propagate = before, propagate


@contextmanager
def each_warning_once() -> Iterator[None]:
    """Lets each line pass once: for many runs on the same faces."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        line = record.getMessage()
        return not (line in said or said.add(line))  # type: ignore[func-returns-value]

    _log.addFilter(is_new)
    try:
        yield
    finally:
        _log.removeFilter(is_new)
