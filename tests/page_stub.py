"""A small server for tests of the page: the page itself, canned answers, and videos as the page expects them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from mien.labels import EIGHT
from mien.serving.gate import SECURITY_HEADERS
from mien.serving.page import page_or

MODEL = {"name": "stub", "labels": list(EIGHT), "target": "votes", "sha256": ["0" * 64]}


def shares(expression: str, share: float) -> dict[str, float]:
    """Probabilities of one likely label; the others share the rest."""
    return {label: share if label == expression else (1 - share) / (len(EIGHT) - 1) for label in EIGHT}


def face(box: Sequence[float], expression: str, share: float) -> dict[str, Any]:
    return {
        "box": list(box), "detection_score": 0.99, "expression": expression, "confidence": share,
        "probabilities": shares(expression, share), "abstained": False, "landmarks": None,
    }  # fmt: skip


def timeline(seconds: float, rate: int = 10) -> str:
    """A timeline of two faces: one for the whole time, one for its second half."""
    rows = [
        "frame,time_s,track,x1,y1,x2,y2,detection_score,expression,confidence,"
        + ",".join(EIGHT)
        + ",smoothed_expression"
    ]
    for frame in range(int(seconds * rate)):
        time_s = frame / rate
        for track, name in ((1, "happy"), (2, "sad")):
            if track == 1 or time_s >= seconds / 2:
                numbers = ",".join(str(round(p, 4)) for p in shares(name, 0.7).values())
                rows.append(f"{frame},{time_s},{track},1,2,30,40,0.9,{name},0.7,{numbers},{name}")
    return "\n".join(rows) + "\n"


class Stub:
    """What the stub answers with, and what it has seen.

    faces: of every image. busy: so many requests are refused first. video: the finished job's file. states: of a
    job, one for each question; the last one stays.
    """

    def __init__(self) -> None:
        self.faces = [face((40, 30, 100, 110), "happy", 0.9), face((150, 40, 200, 100), "sad", 0.4)]
        self.busy = 0
        self.video = b""
        self.timeline = timeline(2)
        self.states: list[dict[str, Any]] = []
        self.asked: list[str] = []

    def app(self) -> FastAPI:
        app = FastAPI()
        answer = self._answer

        @app.middleware("http")
        async def seal(request: Request, call: Any) -> Response:
            self.asked.append(f"{request.method} {request.url.path}")
            response: Response = await call(request)
            response.headers.update(SECURITY_HEADERS)
            return response

        @app.get("/v1/models")
        async def models() -> Any:
            limits = {"max_upload_mb": 1, "max_pixels": 1000000, "max_files": 8}
            return {
                "models": [MODEL, {**MODEL, "name": "other"}],
                "detectors": ["a", "b"],
                "videos": True,
                "limits": limits,
            }

        @app.post("/v1/predict")
        async def predict(request: Request) -> Response:
            async with request.form() as form:
                name = form["files"].filename  # type: ignore[union-attr]
            if self.busy:
                self.busy -= 1
                return Response(b"{}", 503, headers={"retry-after": "0.01"})
            image = {"source": name, "width": 240, "height": 160, "faces": self.faces, "error": None}
            return answer({"model": MODEL, "images": [image]})

        @app.post("/v1/videos")
        async def upload(request: Request) -> Response:
            async for _ in request.stream():
                pass
            return answer({"id": "job-1"}, 202)

        @app.get("/v1/videos/job-1")
        async def state() -> Response:
            return answer(self.states.pop(0) if len(self.states) > 1 else self.states[0])

        @app.get("/v1/videos/job-1/timeline.csv")
        async def csv() -> Response:
            return Response(self.timeline, media_type="text/csv")

        @app.get("/v1/videos/job-1/video.mp4")
        async def video() -> Response:
            return Response(self.video, media_type="video/mp4")

        @app.delete("/v1/videos/job-1")
        async def delete() -> Response:
            return Response(status_code=204)

        app.router.default = page_or(app.router.default)
        return app

    @staticmethod
    def _answer(document: Any, status: int = 200) -> Response:
        return Response(json.dumps(document), status, media_type="application/json")

    @contextmanager
    def serving(self) -> Iterator[int]:
        """Its port."""
        config = uvicorn.Config(self.app(), log_config=None, access_log=False, lifespan="off", ws="none")
        server = uvicorn.Server(config)
        listening = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(20)
            listening.close()
