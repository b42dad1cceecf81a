"""Reads a source that may block (a camera, the network) in a thread of its own: it can be closed at any time."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Protocol

from mien.media.video.frames import Frame, FrameSource

_POLL_S = 0.1


class CountingSource(FrameSource, Protocol):
    """A source that counts what it left out."""

    @property
    def skipped(self) -> int:
        """Damaged frames or images left out so far."""
        ...


class Relayed:
    """The frames of `source`. Closing it does not wait for the device or the network.

    newest: a frame that was not taken in time makes way for the next one, as behind a camera; otherwise it waits.
    """

    def __init__(self, source: CountingSource, *, newest: bool) -> None:
        self._source = source
        self._newest = newest
        self._closed = threading.Event()
        self._waiting: queue.Queue[Frame | BaseException | None] = queue.Queue(maxsize=1)
        self.name = source.name
        self.live = source.live
        self.rate = source.rate
        self.frames = source.frames

    @property
    def skipped(self) -> int:
        """Damaged frames left out so far."""
        return self._source.skipped

    @property
    def end_verified(self) -> bool | None:
        """As the source's own; None where it has none."""
        return getattr(self._source, "end_verified", None)

    def __iter__(self) -> Iterator[Frame]:
        # A daemon: a read that hangs must not keep the program from ending.
        threading.Thread(target=self._read, name="mien-source", daemon=True).start()
        try:
            while not self._closed.is_set():
                try:
                    item = self._waiting.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.close()

    def close(self) -> None:
        """Ends the iteration; the source is closed when its pending read returns."""
        self._closed.set()
        self._source.close()

    def _read(self) -> None:
        try:
            for frame in self._source:
                self._hand_over(frame, wait=not self._newest)
                if self._closed.is_set():
                    return
        except BaseException as error:  # raised in the thread that takes the frames
            self._hand_over(error, wait=True)
        else:
            self._hand_over(None, wait=True)

    def _hand_over(self, item: Frame | BaseException | None, *, wait: bool) -> None:
        while not self._closed.is_set():
            try:
                self._waiting.put(item, timeout=_POLL_S if wait else 0)
                return
            except queue.Full:
                if not wait:
                    self._forget_oldest()

    def _forget_oldest(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._waiting.get_nowait()
