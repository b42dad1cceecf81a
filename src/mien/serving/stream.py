"""The WebSocket for cameras: receives frames and sends results. The newest frame wins.

A client may send faster than the server recognises. A frame that is still waiting when the next one arrives is dropped:
results are never late and memory stays bounded. The `source` of a result is the number of its frame, counted from 0.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter

from starlette.websockets import WebSocket, WebSocketDisconnect

from mien.serving.engine import Engine, Upload
from mien.serving.gate import STREAM_PROTOCOL
from mien.serving.memory import Budget
from mien.serving.metrics import Metrics
from mien.serving.refusals import busy
from mien.serving.settings import ServeSettings
from mien.serving.uploads import weighed

_WRONG_DATA, _GOING_AWAY = 1003, 1001  # close codes of RFC 6455


class Streams:
    """All open streams of one server."""

    def __init__(self, engine: Engine, budget: Budget, settings: ServeSettings, metrics: Metrics) -> None:
        self._engine, self._budget, self._settings, self._metrics = engine, budget, settings, metrics
        self._open: Counter[str] = Counter()

    async def run(self, socket: WebSocket, *, model: str, detector: str) -> None:
        """Accepts the socket and sends a result for each frame until it closes. Raises Refusal."""
        client, most = str(socket.scope["mien.client"]), self._settings.max_streams
        if self._open.total() >= most or self._open[client] >= math.ceil(most * self._settings.client_share):
            raise busy("there are too many streams", kind="streams")
        # A frame that arrives, the one that waits and the one at work: uvicorn reads them before anyone is asked.
        memory = 3 * frame_bytes(self._settings)
        self._budget.receive(client, memory)
        self._change(client, 1)
        newest = _Newest()
        try:
            await socket.accept(STREAM_PROTOCOL if STREAM_PROTOCOL in socket.scope["subprotocols"] else None)
            answering = asyncio.create_task(self._answer(socket, newest, client, model, detector))
            receiving = asyncio.create_task(self._receive(socket, newest))
            done, left = await asyncio.wait((answering, receiving), return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            for task in done:
                task.result()
        except WebSocketDisconnect:
            pass
        finally:
            self._change(client, -1)
            self._budget.give_back(client, memory)

    async def _receive(self, socket: WebSocket, newest: _Newest) -> None:
        while True:
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
            if newest.put(message["bytes"]):
                self._metrics.frames.labels("dropped").inc()

    async def _answer(self, socket: WebSocket, newest: _Newest, client: str, model: str, detector: str) -> None:
        while True:
            upload = await asyncio.to_thread(weighed, await newest.take(), self._settings)
            (result,) = await self._engine.recognize([upload], client=client, model=model, detector=detector)
            self._metrics.frames.labels("answered").inc()
            await socket.send_text(json.dumps(result.to_dict(), ensure_ascii=False))

    def _change(self, client: str, count: int) -> None:
        self._open[client] += count
        if not self._open[client]:
            del self._open[client]
        self._metrics.streams.set(self._open.total())


def frame_bytes(settings: ServeSettings) -> int:
    """The largest frame."""
    return min(settings.max_frame_mb, settings.max_upload_mb) * 1_000_000


class _Newest:
    """Holds one frame; a newer one replaces it."""

    def __init__(self) -> None:
        self._frame: Upload | None = None
        self._count = 0
        self._there = asyncio.Event()

    def put(self, data: bytes) -> bool:
        """Stores a frame. Returns whether an older one was dropped."""
        dropped = self._frame is not None
        self._frame = Upload(f"frame {self._count}", data)
        self._count += 1
        self._there.set()
        return dropped

    async def take(self) -> Upload:
        await self._there.wait()
        self._there.clear()
        frame, self._frame = self._frame, None
        assert frame is not None  # the event is set only after a frame was stored
        return frame
