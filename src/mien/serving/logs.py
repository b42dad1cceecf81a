"""The server's log on standard error, as plain text or JSON lines. No names, no pixels, no probabilities."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage().partition("\n")[0],
            **getattr(record, "details", {}),
        }
        return json.dumps(line)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        took = getattr(record, "details", {}).get("ms")
        text = f"{time} {record.getMessage()}"
        return text if took is None else f"{text}  {took} ms"


def set_up_logs(*, json_lines: bool, quiet: bool) -> None:
    """Configures logging of this process. quiet: warnings and errors only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if json_lines else _Plain())
    own = logging.getLogger("mien.serving")
    own.setLevel(logging.WARNING if quiet else logging.INFO)
    theirs = logging.getLogger("uvicorn.error")  # its INFO lines contain URLs with their parameters
    theirs.setLevel(logging.ERROR)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # its warnings are about what clients send
    for logger in (own, theirs):
        logger.handlers, logger.propagate = [handler], False
