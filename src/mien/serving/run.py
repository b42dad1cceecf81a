"""Starts the server: one process, or several that share the port and have their own models."""

from __future__ import annotations

import gc
import importlib.util
import json
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from mien.errors import MienError, MissingExtraError, ServingError
from mien.serving.settings import ServeSettings, is_loopback

if TYPE_CHECKING:
    import uvicorn

_EXTRA = ("fastapi", "prometheus_client", "python_multipart", "uvicorn", "websockets")
_WARNING = (
    "WARNING: anyone who can reach this address may use the server, and traffic is not encrypted: "
    "set --token-file, and put a TLS proxy in front (docs/serving.md)"
)
log = logging.getLogger("mien.serving")


class _Lines(logging.Formatter):
    """Lines of text, or of JSON."""

    def __init__(self, json_lines: bool) -> None:
        super().__init__()
        self._json_lines = json_lines

    def format(self, record: logging.LogRecord) -> str:
        time, text = datetime.fromtimestamp(record.created, UTC), record.getMessage()
        details = getattr(record, "details", {})
        if self._json_lines:
            level, event = record.levelname.lower(), text.partition("\n")[0]
            line = {"time": time.isoformat(timespec="milliseconds"), "level": level, "event": event}
            return json.dumps({**line, **details})
        return f"{time:%H:%M:%S} {text}" + (f"  {details['ms']} ms" if "ms" in details else "")


def set_up_logs(*, json_lines: bool, quiet: bool) -> None:
    """Configures logging of this process. quiet: warnings and errors only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(json_lines))
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    theirs = logging.getLogger("uvicorn.error")  # its INFO lines contain URLs with their parameters
    theirs.setLevel(logging.ERROR)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # its warnings are about what clients send
    for logger in (log, theirs):
        logger.handlers, logger.propagate = [handler], False


def serve(settings: ServeSettings, *, workers: int = 1, log_line: Callable[[str], None] = log.info) -> None:
    """Serves until SIGINT or SIGTERM; running requests then finish.

    workers: processes; one that dies is replaced. log_line: called with the address and each warning.
    Raises MissingExtraError without the extra [web]. Raises ServingError, ModelFileError and DetectorError before it
    listens.
    """
    if workers < 1:
        raise ServingError(f"workers is {workers}; expected at least 1")
    if not all(map(importlib.util.find_spec, _EXTRA)):
        raise MissingExtraError("web", "Serving")
    _raise_file_limit()
    if workers > 1:
        settings = replace(settings, threads=settings.threads or max(1, (os.cpu_count() or 1) // workers))
    server = make_server(settings)  # by each worker too; here all mistakes in the settings are found
    ports = [settings.port, *([settings.admin_port] if settings.admin_port else [])]
    set_up_logs(json_lines=settings.json_logs, quiet=settings.quiet)  # now, as mistakes leave the caller's as they are
    with ExitStack() as stack:
        listening = [stack.enter_context(_listen(settings.host, port)) for port in ports]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"http://{host}:{listening[0].getsockname()[1]}"
        log_line(f"mien serves on {address}" + (f" with {workers} workers" if workers > 1 else ""))
        if not is_loopback(settings.host) and settings.token_file is None:
            log_line(_WARNING)
        if workers == 1:
            with suppress(KeyboardInterrupt):  # uvicorn raises the signal again after its shutdown
                server.run(sockets=listening)
        else:
            del server
            gc.collect()
            _run_many(settings, workers, listening)


def make_server(settings: ServeSettings) -> uvicorn.Server:
    """Returns uvicorn's server with the application and uvicorn's limits; `run(sockets=[...])` serves.

    Raises ServingError, ModelFileError, DetectorError.
    """
    import uvicorn

    from mien.serving.app import create_app

    return uvicorn.Server(_config(settings, create_app(settings)))


def _config(settings: ServeSettings, app: Any, **more: Any) -> uvicorn.Config:
    import uvicorn

    from mien.serving.gate import strict_http

    return uvicorn.Config(
        app,
        loop="asyncio",
        lifespan="on",
        http=strict_http,  # type: ignore[arg-type]
        ws="websockets-sansio",
        ws_max_size=settings.frame_bytes,
        ws_per_message_deflate=False,  # a small message could decompress to a huge one
        timeout_keep_alive=max(1, round(settings.head_timeout_s)),
        timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout_s)),
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        **more,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # With its protocol, by which asyncio knows to send without delay (TCP_NODELAY).
        with socket.socket(family, kind, protocol) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            return made.dup()
    except OSError as error:
        message = f"{host}:{port}: can't listen there ({error.strerror}); choose another --host or port"
        raise ServingError(message) from error


def _raise_file_limit() -> None:
    """Allows as many open connections as the system does."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _run_many(settings: ServeSettings, workers: int, listening: list[socket.socket]) -> None:
    """Runs uvicorn's workers until SIGINT or SIGTERM; it replaces those that die."""
    from uvicorn.supervisors import Multiprocess

    from mien.serving.private_folders import private_folder
    from mien.serving.videos import videos_offered

    with ExitStack() as stack:
        if videos_offered(settings):
            settings = replace(settings, video_folder=stack.enter_context(private_folder()))
        # For /metrics; holds counts only. In memory if possible, as a worker that maps a file of a full disk is killed.
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        counts = tempfile.TemporaryDirectory(prefix="mien-counts-", dir=place)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = stack.enter_context(counts)
        many = {"factory": True, "workers": workers, "timeout_worker_healthcheck": 30}
        config = _config(settings, partial(_worker_app, settings), **many)
        if not settings.quiet:
            logging.getLogger("uvicorn.error").setLevel(logging.INFO)  # in this process it is about workers only
        Multiprocess(config, sockets=listening).run()


def _worker_app(settings: ServeSettings) -> Any:
    """The application of one of several workers. If it can't be made, uvicorn does not try again."""
    from uvicorn.config import STARTUP_FAILURE

    from mien.serving.app import create_app

    set_up_logs(json_lines=settings.json_logs, quiet=settings.quiet)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        return create_app(settings)
    except MienError as error:
        log.error("%s", error)
        sys.exit(STARTUP_FAILURE)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
