"""A small server for tests of the page: the page itself, canned answers, and videos as the page expects them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from mien.labels import EIGHT
from mien.serving.page import page_or
from mien.serving.settings import SECURITY_HEADERS

MODEL = {"name": "stub", "labels": list(EIGHT), "target": "votes", "sha256": ["0" * 64]}


def shares(expression: str, share: float) -> dict[str, float]:
    """Probabilities of one likely label; the others share the rest."""
    return {label: share if label == expression else (1 - share) / (len(EIGHT) - 1) for label in EIGHT}


def face(box: Sequence[float], expression: str, share: float) -> dict[str, Any]:
    return {
        "box": list(box), "detection_score": 0.99, "expression": expression, "confidence": share,
        "probabilities": shares(expression, share), "abstained": False, "landmarks": None,
    }  # fmt: skip


def timeline(seconds: float, rate: int = 10) -> tuple[dict[str, Any], dict[str, Any]]:
    """frames.json and the summary of two faces: one for the whole time, one for its second half."""
    frames = []
    for number in range(int(seconds * rate) + 1):
        time_s = number / rate
        faces = [
            {
                **face((1, 2, 30, 40), name, 0.4),
                "track": track,
                "smoothed": shares(name, 0.7),
                "smoothed_expression": name,
            }
            for track, name in ((1, "happy"), (2, "sad"))
            if track == 1 or time_s >= seconds / 2
        ]
        frames.append({"frame": number, "time_s": time_s, "width": 96, "height": 64, "faces": faces})
    tracks = [
        {
            "track": track, "first_s": first, "last_s": seconds, "seconds": seconds - first, "transitions": [],
            "expressions": [{"expression": name, "seconds": seconds - first, "share": 1}],
        }
        for track, name, first in ((1, "happy", 0), (2, "sad", seconds / 2))
    ]  # fmt: skip
    return {"model": MODEL, "frames": frames}, {"frames": len(frames), "seconds": seconds, "tracks": tracks}


class Stub:
    """What the stub answers with, and what it has seen.

    faces: of every image. busy: so many requests are refused first. uploads: set where an upload is answered. video:
    the finished job's file, and the original. frames: frames.json. states: of a job, one for each question; the last
    one stays.
    """

    def __init__(self) -> None:
        self.faces = [face((40, 30, 100, 110), "happy", 0.9), face((150, 40, 200, 100), "sad", 0.4)]
        self.busy = 0
        self.uploads = threading.Event()
        self.uploads.set()
        self.video = b""
        self.frames, self.summary = timeline(2)
        self.models = [MODEL, {**MODEL, "name": "other"}]
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
                "models": self.models,
                "detectors": ["a", "b"][: len(self.models)],
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
            return answer({"model": self.models[0], "images": [image]})

        @app.post("/v1/videos")
        async def upload(request: Request) -> Response:
            async for _ in request.stream():
                pass
            while not self.uploads.is_set():
                await asyncio.sleep(0.02)
            return answer({"id": "job-1"}, 202)

        @app.get("/v1/videos/job-1")
        async def state() -> Response:
            return answer(self.states.pop(0) if len(self.states) > 1 else self.states[0])

        @app.get("/v1/videos/job-1/{name}")
        async def file(name: str) -> Response:
            if name == "frames.json":  # a frame a line, as the server writes them
                lines = ",\n".join(map(json.dumps, self.frames["frames"]))
                text = f'{{"model": {json.dumps(self.frames["model"])}, "frames": [\n{lines}\n]}}\n'
                return Response(text, media_type="application/json")
            return Response(b"csv" if name == "timeline.csv" else self.video)

        @app.delete("/v1/videos/job-1")
        async def delete() -> Response:
            return Response(status_code=204)

        app.router.default = page_or(app.router.default)
        return app

    def done(self, **more: Any) -> dict[str, Any]:
        """The state of a finished job."""
        return {"state": "done", "progress": 1, "summary": self.summary, "removed_in_s": 900, "error": None, **more}

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
