"""Reads a source that may block (a camera, the network) in its own thread: it can be closed at any time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from mien.media.video.channels import Channel
from mien.media.video.frames import Frame, FrameSource


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
