"""Checks whether a video file is complete, by the sizes, counts and end marks inside it.

FFmpeg plays a file that was cut off up to its last byte and reports a normal end. Only headers are read here, never the
media. Nothing in a file is trusted: every loop is bounded, and a doubtful end is `UNKNOWN`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

HEAD_BYTES = 4096
TAIL_BYTES = 1 << 18
_MOST_STEPS = 1_000_000  # headers of one file: enough for the packets of some hours
_MOST_READ = 1 << 20  # of one header
_LOOK_BACK = 16  # bytes before the last request that a walk may request again


@dataclass(frozen=True, slots=True)
class End:
    """How a file ends. cut: where it was cut, in words, or None. known: the container states its end.

    Neither: the container states no length, or it is not understood.
    """

    cut: str | None = None
    known: bool = False


UNKNOWN = End()
WHOLE = End(known=True)

Walk = Generator[tuple[int, int], bytes, End]
"""Yields requests for bytes, (position, count), in growing order; gets fewer at the end of a file; returns the End."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The first and last bytes of a file of `size` bytes."""

    head: bytes
    tail: bytes
    size: int


def file_end(path: Path) -> End:
    """How a file ends. Never raises for its content; `UNKNOWN` where it can't be read."""
    try:
        if not path.is_file():  # a pipe would wait
            return UNKNOWN
        with path.open("rb", buffering=0) as file:
            head = file.read(HEAD_BYTES)
            size = file.seek(0, 2)
            walk, look = choose(head)
            if walk is not None:

                def read(position: int, count: int) -> bytes:
                    if position >= size:
                        return b""
                    file.seek(position)
                    return file.read(count)

                return _drive(walk(), read)
            if look is not None:
                file.seek(max(0, size - TAIL_BYTES))
                return look(Ends(head, file.read(TAIL_BYTES), size))
    except (OSError, ValueError):
        pass
    return UNKNOWN


class StreamEnd:
    """The same for a pipe: `feed` it every piece in order, then call `end`."""

    def __init__(self) -> None:
        self._head = self._kept = b""
        self._size = 0
        self._walk: Walk | None = None
        self._look: Callable[[Ends], End] | None = None
        self._chosen = False
        self._wanted = (0, 0)
        self._steps = 0
        self._end: End | None = None

    def feed(self, piece: bytes) -> None:
        """The next bytes."""
        self._size += len(piece)
        self._kept += piece
        if not self._chosen:
            if len(self._kept) < HEAD_BYTES:
                return
            self._choose()
        self._advance()

    def end(self) -> End:
        """The verdict, once all has been given."""
        if not self._chosen:
            self._choose()
        self._advance(last=True)
        if self._look is not None:
            return self._look(Ends(self._head, self._kept, self._size))
        return self._end or UNKNOWN

    def _choose(self) -> None:
        self._chosen = True
        self._head = self._kept[:HEAD_BYTES]
        walk, self._look = choose(self._head)
        if walk is not None:
            self._walk = walk()
            self._wanted = next(self._walk)

    def _advance(self, *, last: bool = False) -> None:
        """Advances the walk as far as there are bytes, and drops those that it no longer needs."""
        start = self._size - len(self._kept)
        while self._walk is not None:
            position, count = self._wanted
            if position < start or count > _MOST_READ or self._steps > _MOST_STEPS:
                self._walk = None
                break
            if position + count > self._size and not last:
                break
            self._steps += 1
            try:
                self._wanted = self._walk.send(self._kept[position - start :][:count])
            except StopIteration as done:
                self._end, self._walk = done.value, None
        if self._walk is not None:
            keep = max(0, self._size - self._wanted[0]) + _LOOK_BACK
        else:
            keep = TAIL_BYTES if self._look is not None else 0
        if len(self._kept) > 2 * keep:
            self._kept = self._kept[len(self._kept) - keep :]


def choose(head: bytes) -> tuple[Callable[[], Walk] | None, Callable[[Ends], End] | None]:
    """By the first bytes: a function that walks over headers, or one that checks the ends; None, None for others."""
    from mien.media.video import integrity_sized as sized
    from mien.media.video import integrity_streams as streams

    if head[4:8] in sized.FIRST_BOXES:
        return sized.walk_boxes, None
    for signature, walk in sized.WALKS:
        if head.startswith(signature):
            return walk, None
    for signature, look in streams.LOOKS:
        if head.startswith(signature):
            return None, look
    return None, streams.look_at_transport if streams.transport_packets(head) else None


def _drive(walk: Walk, read: Callable[[int, int], bytes]) -> End:
    try:
        position, count = next(walk)
        for _ in range(_MOST_STEPS):
            if count > _MOST_READ or position < 0:
                break
            position, count = walk.send(read(position, count))
    except StopIteration as done:
        verdict: End = done.value
        return verdict
    return UNKNOWN
