"""Threads between a source and its reader: a bounded queue, and a source that can be closed while it blocks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from mien.media.video.frames import Frame, FrameSource

T = TypeVar("T")


class Channel(Generic[T]):
    """A queue from one thread to another. It is full with `size` items, or if their weights reach `budget`."""

    def __init__(self, size: int, *, budget: float = float("inf"), drop_oldest: bool = False) -> None:
        """drop_oldest: a full channel drops its oldest item instead of making the sender wait."""
        self._size, self._budget, self._drop_oldest = size, budget, drop_oldest
        self._items: deque[tuple[T, float]] = deque()
        self._weight = 0.0
        self._changed = threading.Condition()
        self._ended = self._stopped = self._sender_waits = False
        self.error: BaseException | None = None
        """The error that ended the sender; valid once all items are taken."""
        self.dropped = 0

    def put(self, item: T, weight: float = 0.0) -> bool:
        """Adds an item; waits while the channel is full. Returns False if the receiver has stopped."""
        with self._changed:
            while self._full(weight) and not self._stopped:
                if self._drop_oldest:
                    self._weight -= self._items.popleft()[1]
                    self.dropped += 1
                else:
                    self._sender_waits = True
                    self._changed.notify_all()
                    self._changed.wait()
            self._sender_waits = False
            if self._stopped:
                return False
            self._items.append((item, weight))
            self._weight += weight
            self._changed.notify_all()
            return True

    def take(self, most: int = 1, *, least: int = 1) -> list[T]:
        """Waits for `least` items, or as many as fit, and returns up to `most`; fewer at the end, then none."""
        with self._changed:
            while not (len(self._items) >= least or self._sender_waits or self._ended or self._stopped):
                self._changed.wait()
            self._sender_waits = False
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._weight -= sum(weight for _, weight in taken)
            self._changed.notify_all()
            return [item for item, _ in taken]

    def end(self, error: BaseException | None = None) -> None:
        """Marks the end of the items. error: why the sender failed."""
        with self._changed:
            self._ended = True
            self.error = self.error or error
            self._changed.notify_all()

    def stop(self) -> None:
        """Stops the receiver: waiting items are discarded, and waiting threads continue."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()

    def _full(self, weight: float) -> bool:
        return len(self._items) >= self._size or (bool(self._items) and self._weight + weight > self._budget)


class Relayed:
    """The frames of `source`. Closing it does not wait for the device or the network.

    newest: a frame that is not taken in time is replaced by the next one, as behind a camera; otherwise it waits.
    """

    def __init__(self, source: FrameSource, *, newest: bool) -> None:
        self._source = source
        self._channel: Channel[Frame] = Channel(1, drop_oldest=newest)
        self._closed = False
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
        """That of the source; None if it has none."""
        return getattr(self._source, "end_verified", None)

    def __iter__(self) -> Iterator[Frame]:
        # A daemon: a read that hangs must not keep the program from ending.
        threading.Thread(target=self._read, name="mien-source", daemon=True).start()
        try:
            while taken := self._channel.take():
                yield taken[0]
            if self._channel.error is not None and not self._closed:
                raise self._channel.error
        finally:
            self.close()

    def close(self) -> None:
        """Ends the iteration; the source is closed when its pending read returns."""
        self._closed = True
        self._channel.stop()
        self._source.close()

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for frame in self._source:
                if not self._channel.put(frame):
                    return
        except BaseException as reason:  # raised in the thread that takes the frames
            error = reason
        finally:
            self._channel.end(error)
