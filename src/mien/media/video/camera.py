"""Cameras, through OpenCV."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2

from mien.errors import VideoError
from mien.media.video.frames import Frame, SingleUse

_REOPEN_FOR_S = 10.0


class Camera(SingleUse):
    """A camera by its number. Times are those of arrival. A camera that disappears is opened again for some seconds."""

    live = True
    frames: int | None = None

    def __init__(self, number: int, *, reopen_for_s: float = _REOPEN_FOR_S) -> None:
        """Raises VideoError where it can't be opened."""
        super().__init__()
        self._number = number
        self._reopen_for_s = reopen_for_s
        self.name = f"camera {number}"
        self.skipped = 0
        device = _open(number)
        if device is None:
            raise VideoError(
                f"{self.name}: can't be opened; check that it is plugged in, that no other program uses it, "
                "and that you may (Linux: group video)"
            )
        self._device = device
        self.rate: float | None = device.get(cv2.CAP_PROP_FPS) or None

    def _frames(self) -> Iterator[Frame]:
        number, first = 0, 0.0
        while not self._closed.is_set():
            done, image = self._device.read()
            if self._closed.is_set():
                return
            if not done or image is None:
                self._reopen(number)
                continue
            now = time.monotonic()
            if number == 0:
                first = now
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            rgb.flags.writeable = False
            yield Frame(number, now - first, rgb, now)  # type: ignore[arg-type]
            number += 1

    def _release(self) -> None:
        self._device.release()

    def _reopen(self, frames: int) -> None:
        """Tries again after 0.5, 1, 2, ... seconds. Raises VideoError when the time is up."""
        self._device.release()
        give_up = time.monotonic() + self._reopen_for_s
        wait = 0.5
        while not self._closed.wait(min(wait, max(0.0, give_up - time.monotonic()))):
            device = _open(self._number)
            if device is not None:
                self._device = device
                return
            if time.monotonic() >= give_up:
                raise VideoError(
                    f"{self.name}: gone after {frames} frames and not back within {self._reopen_for_s:g} s; "
                    "plug it in and start again"
                )
            wait *= 2


def _open(number: int) -> cv2.VideoCapture | None:
    """The camera, which has given a frame, or None. OpenCV's own warnings are kept from the terminal."""
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        device = cv2.VideoCapture(number)
        if device.isOpened():
            device.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # fewer old frames wait in the driver
            if device.read()[0]:
                return device
        device.release()
    except cv2.error:
        pass
    finally:
        log.setLogLevel(level)
    return None
