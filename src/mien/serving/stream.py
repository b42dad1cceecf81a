"""The WebSocket for cameras: frames in, answers out, and the newest frame wins.

A client may send faster than the server works: a frame that still waits when the next one comes is dropped, so that
answers are never late and memory never grows. The answer's `source` says which frame it is about, counted from 0.
"""

from __future__ import annotations

import asyncio
import json

from starlette.websockets import WebSocket, WebSocketDisconnect

from mien.serving.engine import Engine, Upload
from mien.serving.gate import STREAM_PROTOCOL
from mien.serving.metrics import Metrics

_WRONG_DATA, _GOING = 1003, 1001


class Streams:
    """All open streams of one server."""

    def __init__(self, engine: Engine, metrics: Metrics, *, most: int, timeout_s: float) -> None:
        """most: streams at one moment. timeout_s: a stream ends after so long without a frame."""
        self._engine, self._metrics, self._most, self._timeout_s = engine, metrics, most, timeout_s
        self._open = 0

    @property
    def full(self) -> bool:
        """Whether no further stream can open."""
        return self._open >= self._most

    async def run(self, socket: WebSocket, *, model: str, detector: str) -> None:
        """Accepts the socket and answers its frames until it ends."""
        self._change(1)
        newest = _Newest()
        try:
            await socket.accept(STREAM_PROTOCOL if STREAM_PROTOCOL in socket.scope["subprotocols"] else None)
            answering = asyncio.create_task(self._answer(socket, newest, model, detector))
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
            self._change(-1)

    async def _receive(self, socket: WebSocket, newest: _Newest) -> None:
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    message = await socket.receive()
            except TimeoutError:
                await socket.close(_GOING, "no frame for a long time")
                return
            if message["type"] == "websocket.disconnect":
                return
            if not message.get("bytes"):
                await socket.close(_WRONG_DATA, "expected binary frames: JPEG, WebP or PNG")
                return
            if newest.put(message["bytes"]):
                self._metrics.frames.labels("dropped").inc()

    async def _answer(self, socket: WebSocket, newest: _Newest, model: str, detector: str) -> None:
        while True:
            upload = await newest.take()
            (result,) = await self._engine.recognize([upload], model=model, detector=detector)
            self._metrics.frames.labels("answered").inc()
            await socket.send_text(json.dumps(result.to_dict(), ensure_ascii=False))

    def _change(self, count: int) -> None:
        self._open += count
        self._metrics.streams.set(self._open)


class _Newest:
    """Room for one frame; a newer one takes its place."""

    def __init__(self) -> None:
        self._frame: Upload | None = None
        self._count = 0
        self._there = asyncio.Event()

    def put(self, data: bytes) -> bool:
        """Whether an older frame was dropped for it."""
        dropped = self._frame is not None
        self._frame = Upload(f"frame {self._count}", data)
        self._count += 1
        self._there.set()
        return dropped

    async def take(self) -> Upload:
        await self._there.wait()
        self._there.clear()
        frame, self._frame = self._frame, None
        assert frame is not None  # the event says so
        return frame
