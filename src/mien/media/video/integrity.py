"""Checks whether a video file is complete, by the sizes, counts and end marks inside it.

FFmpeg plays a file that was cut off up to its last byte and reports a normal end. Only headers are read here, never the
media. Nothing in a file is trusted: every loop is bounded, and a doubtful end is `UNKNOWN`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from mien.media.video.integrity_sized import FIRST_BOXES, UNKNOWN, WALKS, WHOLE, End, Walk, walk_boxes

__all__ = ["UNKNOWN", "WHOLE", "End", "StreamEnd", "file_end"]

HEAD_BYTES = 4096
TAIL_BYTES = 1 << 18
_MOST_STEPS = 1_000_000  # headers of one file: enough for the packets of some hours
_MOST_READ = 1 << 20  # of one header
_LOOK_BACK = 16  # bytes before the last request that a walk may request again

_TRANSPORT_SIZES = (188, 192, 204)
_NULL_PID = 0x1FFF
_LAST_BYTES = 40 * 204  # of which the packets are found
_CHROMA = {"420": Fraction(3, 2), "422": Fraction(2), "444": Fraction(3), "mono": Fraction(1)}


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
    if head[4:8] in FIRST_BOXES:
        return walk_boxes, None
    for signature, walk in WALKS:
        if head.startswith(signature):
            return walk, None
    for signature, look in LOOKS:
        if head.startswith(signature):
            return None, look
    return None, look_at_transport if transport_packets(head) else None


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


def transport_packets(data: bytes) -> tuple[int, int] | None:
    """Where the first sync byte of an MPEG transport stream stands, and the packets' size; None where it is none."""
    for size in _TRANSPORT_SIZES:
        for first in range(min(size, len(data))):
            marks = data[first : first + 6 * size : size]
            if len(marks) >= 3 and marks == b"\x47" * len(marks):
                return first, size
    return None


def look_at_transport(ends: Ends) -> End:
    """MPEG-TS: the last packet is whole, and so is the last piece of each track that states its size."""
    tail = ends.tail
    start = max(0, len(tail) - _LAST_BYTES)
    found = transport_packets(tail[start:])
    if found is None:
        return UNKNOWN
    first, size = start + found[0], found[1]
    lead = 4 if size == 192 else 0  # a time stands before each sync byte
    rest = (len(tail) - first + lead) % size
    mark = tail[len(tail) - rest + lead :][:1]
    if rest and mark in {b"", b"\x47"}:
        return End("it ends within a packet")
    packets = [tail[at : at + 188] for at in range(first % size, len(tail) - 187, size)]
    return End("it ends within a piece of a track") if _unfinished(packets) else UNKNOWN


def _unfinished(packets: list[bytes]) -> bool:
    """Whether the last PES of a track is shorter than it states."""
    missing: dict[int, int] = {}  # bytes, for each track
    for packet in packets:
        if packet[0] != 0x47:  # joined of parts
            missing.clear()
            continue
        pid = int.from_bytes(packet[1:3], "big") & 0x1FFF
        control = packet[3] >> 4 & 3
        payload = b"" if not control & 1 else packet[5 + packet[4] if control & 2 else 4 :]
        if packet[1] & 0x40 and payload[:3] == b"\0\0\1" and len(payload) >= 6 and pid != _NULL_PID:
            length = int.from_bytes(payload[4:6], "big")
            missing[pid] = length + 6 - len(payload) if length else 0
        elif pid in missing and missing[pid] > 0:
            missing[pid] -= len(payload)
    return any(count > 0 for count in missing.values())


def look_at_program(ends: Ends) -> End:
    """MPEG-PS: the last packet is whole."""
    data = ends.tail
    start = data.find(b"\0\0\1\xba")
    while start >= 0:
        verdict = _program_from(data, start)
        if isinstance(verdict, End):
            return verdict
        start = data.find(b"\0\0\1\xba", max(start + 4, verdict))
    return UNKNOWN


def _program_from(data: bytes, at: int) -> End | int:
    """The verdict of the packets from there on, or where they turn out to be none."""
    while at < len(data):
        if data[at : at + 3] != b"\0\0\1"[: len(data) - at]:
            return at if any(data[at:]) else UNKNOWN  # filled up with zeros
        if at + 6 > len(data):
            return UNKNOWN if data[at + 3 : at + 4] == b"\xb9" else End("it ends within the header of a packet")
        kind = data[at + 3]
        if kind == 0xB9:
            at += 4
        elif kind == 0xBA:
            second = data[at + 4] >> 6 == 1
            if at + (14 if second else 12) > len(data):
                return End("it ends within the header of a packet")
            at += 14 + (data[at + 13] & 7) if second else 12
        elif kind >= 0xBB:
            at += 6 + int.from_bytes(data[at + 4 : at + 6], "big")
        else:
            return at
    return End("it ends within a packet") if at > len(data) else UNKNOWN


def look_at_mjpeg(ends: Ends) -> End:
    """MJPEG: the last image has its end mark."""
    whole = ends.tail.rfind(b"\xff\xd9") > ends.tail.rfind(b"\xff\xd8\xff")
    return UNKNOWN if whole else End("its last image has no end mark")


def look_at_y4m(ends: Ends) -> End:
    """Y4M: frames of one size."""
    header, _, after = ends.head.partition(b"\n")
    match = re.fullmatch(rb"YUV4MPEG2(?: [^C]\S*)*?(?: C(420|422|444|mono)(jpeg|paldv|mpeg2)?)?(?: [^C]\S*)*", header)
    size = re.search(rb" W(\d{1,5}) H(\d{1,5})(?: |$)", header)
    if match is None or size is None or not after.startswith(b"FRAME\n"):
        return UNKNOWN
    width, height = int(size[1]), int(size[2])
    chroma = (match[1] or b"420").decode()
    half = {"420": 2 * ((width + 1) // 2) * ((height + 1) // 2), "422": 2 * ((width + 1) // 2) * height}
    frame = 6 + width * height + half.get(chroma, round((_CHROMA[chroma] - 1) * width * height))
    return End("it ends within a frame") if (ends.size - len(header) - 1) % frame else UNKNOWN


LOOKS: tuple[tuple[bytes, Callable[[Ends], End]], ...] = (
    (b"\0\0\1\xba", look_at_program),
    (b"\xff\xd8\xff", look_at_mjpeg),
    (b"YUV4MPEG2 ", look_at_y4m),
)
