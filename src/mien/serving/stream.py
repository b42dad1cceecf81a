"""The WebSocket for cameras: receives frames and sends results. The newest frame wins.

A client may send faster than the server recognises. A frame that is still waiting when the next one arrives is dropped:
results are never late and memory stays bounded. The `source` of a result is the number of its frame, counted from 0.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from itertools import count

from starlette.websockets import WebSocket, WebSocketDisconnect

from mien.serving.engine import Engine, Upload, weighed
from mien.serving.gate import STREAM_PROTOCOL
from mien.serving.memory import Budget, Places
from mien.serving.metrics import Metrics
from mien.serving.refusals import busy
from mien.serving.settings import ServeSettings

_WRONG_DATA, _GOING_AWAY = 1003, 1001  # close codes of RFC 6455


class Streams:
    """All open streams of one server."""

    def __init__(self, engine: Engine, budget: Budget, settings: ServeSettings, metrics: Metrics) -> None:
        self._engine, self._budget, self._settings, self._metrics = engine, budget, settings, metrics
        full = partial(busy, "there are too many streams", kind="streams")
        self._places = Places(settings.max_streams, settings.client_share, full, metrics.streams)

    async def run(self, socket: WebSocket, *, model: str, detector: str) -> None:
        """Accepts the socket and sends a result for each frame until it closes. Raises Refusal."""
        client, newest = str(socket.scope["mien.client"]), asyncio.Queue[Upload](1)
        # A frame that arrives, the one that waits and the one at work: uvicorn reads them before anyone is asked.
        with self._places.taken(client), self._budget.received(client, 3 * self._settings.frame_bytes):
            await socket.accept(STREAM_PROTOCOL if STREAM_PROTOCOL in socket.scope["subprotocols"] else None)
            try:
                async with asyncio.TaskGroup() as both:
                    answering = both.create_task(self._answer(socket, newest, client, model, detector))
                    await self._receive(socket, newest)
                    answering.cancel()
            except* WebSocketDisconnect:
                pass

    async def _receive(self, socket: WebSocket, newest: asyncio.Queue[Upload]) -> None:
        for number in count():
            try:
                async with asyncio.timeout(self._settings.stream_timeout_s):
                    message = await socket.receive()
            except TimeoutError:
                await socket.close(_GOING_AWAY, "no frame within the time limit")
                return
            if message["type"] == "websocket.disconnect":
                return
            if not message.get("bytes"):
                await socket.close(_WRONG_DATA, "expected binary frames: JPEG, WebP or PNG")
                return
            if newest.full():
                newest.get_nowait()
                self._metrics.frames.labels("dropped").inc()
            newest.put_nowait(Upload(f"frame {number}", message["bytes"]))

    async def _answer(
        self, socket: WebSocket, newest: asyncio.Queue[Upload], client: str, model: str, detector: str
    ) -> None:
        while True:
            upload = await asyncio.to_thread(weighed, await newest.get(), self._settings)
            (result,) = await self._engine.recognize([upload], client=client, model=model, detector=detector)
            self._metrics.frames.labels("answered").inc()
            await socket.send_text(json.dumps(result.to_dict(), ensure_ascii=False))
