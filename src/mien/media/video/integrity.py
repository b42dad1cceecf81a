"""Checks whether a video file is complete, by the sizes, counts and end marks inside it.

FFmpeg plays a file that was cut off up to its last byte and reports a normal end. Only headers are read here, never the
media. Nothing in a file is trusted: every loop is bounded, and a doubtful end is `UNKNOWN`. MP4, Matroska, AVI,
FLV, MPEG-TS, MJPEG, GIF, PNG and WebP are known; for others `VideoFile` compares durations.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

_MOST_STEPS = 1_000_000  # headers of one file: enough for the packets of some hours
_TAIL_BYTES = 1 << 18
_FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot", b"moof", b"sidx"})
_BOXES = _FIRST_BOXES | {b"mfra", b"uuid", b"udta", b"meta", b"emsg", b"prft", b"pdin", b"ssix"}
_SEGMENT, _CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_TRANSPORT_SIZES = (188, 192, 204)
_NULL_PID = 0x1FFF
_SLACK_S = 0.1  # by which a stated duration may be rounded


@dataclass(frozen=True, slots=True)
class End:
    """How a file ends. cut: where it was cut, in words, or None. known: the container states its end.

    Neither: the container states no length, or it is not understood.
    """

    cut: str | None = None
    known: bool = False


UNKNOWN = End()
WHOLE = End(known=True)


class _Bytes:
    """A file that is read by position, without an end of its own: beyond it are no bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)

    def at(self, position: int, count: int) -> bytes:
        if position >= self.size:
            return b""
        self._file.seek(position)
        return self._file.read(count)

    def tail(self) -> bytes:
        return self.at(max(0, self.size - _TAIL_BYTES), _TAIL_BYTES)


def file_end(path: Path) -> End:
    """How a file ends. Never raises for its content; `UNKNOWN` where it can't be read."""
    try:
        if not path.is_file():  # a pipe would wait
            return UNKNOWN
        with path.open("rb", buffering=0) as file:
            data = _Bytes(file)
            look = _look_for(data.at(0, 4096))
            return look(data) if look else UNKNOWN
    except (OSError, ValueError):
        return UNKNOWN


def _look_for(head: bytes) -> Callable[[_Bytes], End] | None:
    if head[4:8] in _FIRST_BOXES:
        return _look_at_boxes
    for signature, look in _LOOKS:
        if head.startswith(signature):
            return look
    return _look_at_transport if _transport_packets(head) else None


def _look_at_boxes(data: _Bytes) -> End:
    """MP4, MOV, 3GP, AVIF. A fragmented file without index can only be seen to end with a whole fragment."""
    position, before, index_end, reach = 0, b"", 0, 0
    seen: set[bytes] = set()
    indexed: list[int] = []  # parts that each segment index describes
    for _ in repeat(None, _MOST_STEPS):
        if position > data.size:
            if position <= index_end or before in _BOXES or not {b"moov", b"mdat"} <= seen:
                return End("it ends within its index" if position <= index_end else "it ends within its media data")
            return WHOLE  # something appended that is no box
        head = data.at(position, 16)
        kind, size, start = head[4:8], int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), 16
        if len(head) < start or size < start or not kind.isascii():
            if position >= index_end:
                break
            position = index_end  # odd contents of the index
            continue
        if kind == b"sidx":
            parts, length = _indexed_parts(data.at(position, min(size, 1 << 20))[start:])
            reach = max(reach, position + size + length)
            indexed.append(parts)
        if kind == b"moov":  # into it: it states whether fragments follow
            index_end, size = position + size, start
        seen.add(kind)
        position, before = position + size, kind
    else:
        return UNKNOWN
    # An index of one part, or one of several, may be that of a segment, with more to follow.
    whole_index = reach == position and len(indexed) == 1 and indexed[0] > 1
    return _boxes_end(head, seen, before, position, reach, whole_index=whole_index)


def _boxes_end(head: bytes, seen: set[bytes], before: bytes, position: int, reach: int, *, whole_index: bool) -> End:
    """The verdict where no further box follows. head: the bytes that follow. reach: where the indexed bytes end."""
    if not seen & {b"moov", b"meta", b"moof"}:
        return End("its index (moov) is missing")
    if head[:8] == b"\0\0\0\0mdat":  # up to the end, wherever that is
        return UNKNOWN
    fragmented = bool(seen & {b"mvex", b"moof"})
    if 0 < len(head) < 16 and any(head) and (fragmented or b"mdat" not in seen):
        return End("it ends within the header of a box")
    if before == b"moof" or (b"mdat" not in seen and b"trak" in seen and not fragmented):
        return End("the data that its index describes is missing")
    if reach > position:
        return End(f"its index describes {reach:,} bytes")
    return WHOLE if not fragmented or b"mfra" in seen or whole_index else UNKNOWN


def _indexed_parts(body: bytes) -> tuple[int, int]:
    """How many parts a segment index describes, and how many bytes after itself."""
    if len(body) < 20:
        return 0, 0
    wide = body[0] != 0
    offset = int.from_bytes(body[20:28] if wide else body[16:20], "big")
    table = body[28 if wide else 20 :]
    count = min(int.from_bytes(table[2:4], "big"), (len(table) - 4) // 12) if len(table) >= 4 else 0
    return count, offset + sum(int.from_bytes(table[4 + 12 * n : 8 + 12 * n], "big") & 0x7FFFFFFF for n in range(count))


def _look_at_matroska(data: _Bytes) -> End:
    """Matroska, WebM. A segment without a size (live) can only be seen to end with a whole block."""
    position, in_segment = 0, False
    for _ in repeat(None, _MOST_STEPS):
        if position > data.size:
            return End("it ends within a block")
        head = data.at(position, 12)
        if not head and not in_segment:
            return End("nothing follows its header")
        id_bytes = _vint_bytes(head[0]) if head else 0
        size_bytes = _vint_bytes(head[id_bytes]) if len(head) > id_bytes else 1
        if not id_bytes or id_bytes > 4 or not size_bytes:
            break
        start = id_bytes + size_bytes
        if len(head) < start:
            return End("it ends within the header of a block")
        most = (1 << 7 * size_bytes) - 1
        size = int.from_bytes(head[id_bytes:start], "big") & most
        name = head[:id_bytes]
        if name == _SEGMENT and size != most:
            end = position + start + size
            return End(f"its header states {end:,} bytes") if end > data.size else WHOLE
        if size == most and name not in {_SEGMENT, _CLUSTER}:
            break
        in_segment = in_segment or name == _SEGMENT
        position += start if size == most else start + size
    return UNKNOWN


def _vint_bytes(first: int) -> int:
    """How long a number of Matroska is, by its first byte; 0 where it is none."""
    return 9 - first.bit_length() if first else 0


def _look_at_riff(data: _Bytes) -> End:
    """AVI and WebP. An AVI that was written into a pipe states no sizes: it can only be seen to end with a chunk."""
    position = 0
    for _ in repeat(None, _MOST_STEPS):
        head = data.at(position, 12)
        if len(head) < 12 or head[:4] != b"RIFF":
            return End("it ends within a header") if 0 < len(head) < 12 and b"RIFF".startswith(head[:4]) else WHOLE
        size = int.from_bytes(head[4:8], "little")
        if size in {0, 0xFFFFFFFF}:
            return _look_at_chunks(data, position + 12)
        if position + 8 + size > data.size:
            return End(f"its header states {position + 8 + size:,} bytes")
        position += 8 + size + size % 2  # the byte that fills it up is often forgotten
    return UNKNOWN


def _look_at_chunks(data: _Bytes, position: int) -> End:
    for _ in repeat(None, _MOST_STEPS):
        if position > data.size:
            return End("it ends within a chunk")
        head = data.at(position, 12)
        if not head or not head[:4].isascii():
            return UNKNOWN
        if len(head) < 8:
            return End("it ends within the header of a chunk")
        size = int.from_bytes(head[4:8], "little")
        inside = head[:4] == b"LIST" and (head[8:12] == b"movi" or size in {0, 0xFFFFFFFF})
        position += 12 if inside else 8 + size + size % 2
    return UNKNOWN


def _look_at_flash(data: _Bytes) -> End:
    """FLV: the header states the duration, and the bytes where the writer could go back."""
    position = int.from_bytes(data.at(5, 4), "big") + 4
    last_s = duration_s = stated = 0.0
    for _ in repeat(None, _MOST_STEPS):
        if position > data.size + 4:  # some leave out the very last size
            return End("it ends within a tag")
        head = data.at(position, 11)
        if head and head[0] & 0x1F not in {8, 9, 18}:
            return UNKNOWN
        if len(head) < 11:
            break
        size = int.from_bytes(head[1:4], "big")
        if head[0] & 0x1F == 18 and not duration_s:
            body = data.at(position + 11, min(size, 1 << 16))
            duration_s, stated = _flash_number(body, b"duration"), _flash_number(body, b"filesize")
        elif head[0] & 0x1F != 18:
            last_s = max(last_s, int.from_bytes(head[7:8] + head[4:7], "big") / 1000)
        position += 11 + size + 4
    if head:
        return End("it ends within the header of a tag")
    if stated != position and duration_s - last_s > (_SLACK_S if stated > position else 5 * _SLACK_S):
        return End(f"its header states {duration_s:.2f} s")
    return WHOLE if duration_s and stated <= position else UNKNOWN


def _flash_number(body: bytes, key: bytes) -> float:
    place = body.lower().find(key + b"\0")
    data = body[place + len(key) + 1 :][:8] if place >= 0 else b""
    value = struct.unpack(">d", data)[0] if len(data) == 8 else 0.0
    return float(value) if 0 < value < 1e15 else 0.0


def _transport_packets(data: bytes) -> tuple[int, int] | None:
    """Where the first sync byte of an MPEG transport stream stands, and the packets' size; None where it is none."""
    for size in _TRANSPORT_SIZES:
        for first in range(min(size, len(data))):
            marks = data[first : first + 6 * size : size]
            if len(marks) >= 3 and marks == b"\x47" * len(marks):
                return first, size
    return None


def _look_at_transport(data: _Bytes) -> End:
    """MPEG-TS: the last packet is whole, and so is the last piece of each track that states its size."""
    tail = data.tail()
    start = max(0, len(tail) - 40 * 204)
    found = _transport_packets(tail[start:])
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


def _look_at_mjpeg(data: _Bytes) -> End:
    """MJPEG: the last image has its end mark."""
    tail = data.tail()
    return UNKNOWN if tail.rfind(b"\xff\xd9") > tail.rfind(b"\xff\xd8\xff") else End("its last image has no end mark")


def _look_at_png(data: _Bytes) -> End:
    return WHOLE if b"IEND\xaeB`\x82" in data.tail() else End("its end mark is missing")


def _look_at_gif(data: _Bytes) -> End:
    return WHOLE if data.tail().rstrip(b"\0\r\n ").endswith(b"\0;") else End("its end mark is missing")


_LOOKS: tuple[tuple[bytes, Callable[[_Bytes], End]], ...] = (
    (b"\x1a\x45\xdf\xa3", _look_at_matroska),
    (b"RIFF", _look_at_riff),
    (b"FLV\x01", _look_at_flash),
    (b"\xff\xd8\xff", _look_at_mjpeg),
    (b"\x89PNG\r\n\x1a\n", _look_at_png),
    (b"GIF8", _look_at_gif),
)
