"""Containers made of parts that state their sizes: MP4, Matroska, AVI, FLV, ASF, Ogg, IVF; GIF, PNG, WebP, AVIF.

Each walk goes from part to part. To check that a part is complete, it requests the last byte of the part together with
the header of the next; it gets nothing if the file ends before.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass

FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot", b"moof", b"sidx"})
_BOXES = FIRST_BOXES | {b"mfra", b"uuid", b"udta", b"meta", b"emsg", b"prft", b"pdin", b"ssix"}
_SEGMENT, _CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ASF_INDEX = bytes.fromhex("90080033b1e5cf1189f400a0c90349cb")
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

Walk = Generator[tuple[int, int], bytes, End]
"""Yields requests for bytes, (position, count), in growing order; gets fewer at the end of a file; returns the End."""


def _after(position: int, count: int) -> Generator[tuple[int, int], bytes, bytes | None]:
    """The bytes from `position` on; None where the file does not reach it."""
    if position <= 0:
        data = yield 0, count
        return data
    data = yield position - 1, count + 1
    return data[1:] if data else None


def walk_boxes() -> Walk:
    """MP4, MOV, 3GP, AVIF. A fragmented file without index can only be seen to end with a whole fragment."""
    position, before, index_end, reach = 0, b"", 0, 0
    seen: set[bytes] = set()
    indexed: list[int] = []  # parts that each segment index describes
    while True:
        head = yield from _after(position, 16)
        if head is None:
            if position <= index_end or before in _BOXES or not {b"moov", b"mdat"} <= seen:
                return End("it ends within its index" if position <= index_end else "it ends within its media data")
            return WHOLE  # something appended that is no box
        kind, size, start = head[4:8], int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), 16
        if len(head) < start or size < start or not kind.isascii():
            if position >= index_end:
                break
            position = index_end  # odd contents of the index
            continue
        if kind == b"ftyp" and position >= index_end and b"moov" in seen and not seen & {b"mvex", b"moof"}:
            return End("a second video is joined to its end")  # by cat; FFmpeg plays the first
        if kind == b"sidx":
            body = yield position, min(size, 1 << 20)
            parts, length = _indexed_parts(body[start:])
            reach = max(reach, position + size + length)
            indexed.append(parts)
        if kind == b"moov":  # into it: it states whether fragments follow
            index_end, size = position + size, start
        seen.add(kind)
        position, before = position + size, kind
    # An index of one part, or one of several, may be that of a segment, with more to follow.
    whole_index = reach == position and len(indexed) == 1 and indexed[0] > 1
    return _boxes_end(head, seen, before, position, reach, whole_index=whole_index)


def _boxes_end(head: bytes, seen: set[bytes], before: bytes, position: int, reach: int, *, whole_index: bool) -> End:
    """The verdict where no further box follows. head: the bytes that follow. reach: where the indexed bytes end."""
    to_the_end = head[:8] == b"\0\0\0\0mdat"
    if not seen & {b"moov", b"meta", b"moof"}:
        return End("its index (moov) is missing")
    if to_the_end:
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


def walk_matroska() -> Walk:
    """Matroska, WebM. A segment without a size (live) can only be seen to end with a whole block."""
    position, in_segment = 0, False
    while True:
        head = yield from _after(position, 12)
        if head is None:
            return End("it ends within a block")
        if not head:
            return UNKNOWN if in_segment else End("nothing follows its header")
        id_bytes = _vint_bytes(head[0])
        size_bytes = _vint_bytes(head[id_bytes]) if len(head) > id_bytes else 1
        if not id_bytes or id_bytes > 4 or not size_bytes:
            return UNKNOWN
        start = id_bytes + size_bytes
        if len(head) < start:
            return End("it ends within the header of a block")
        bits = 7 * size_bytes
        size = int.from_bytes(head[id_bytes:start], "big") & ((1 << bits) - 1)
        unknown = size == (1 << bits) - 1
        name = head[:id_bytes]
        if name == _SEGMENT and not unknown:
            rest = yield from _after(position + start + size, 0)
            return End(f"its header states {position + start + size:,} bytes") if rest is None else WHOLE
        if unknown and name not in {_SEGMENT, _CLUSTER}:
            return UNKNOWN
        in_segment = in_segment or name == _SEGMENT
        position += start if unknown else start + size


def walk_riff() -> Walk:
    """AVI and WebP. An AVI that was written into a pipe states no sizes: it can only be seen to end with a chunk."""
    position = 0
    while True:
        head = yield from _after(position, 12)
        if head is None:
            return End(f"its header states {position:,} bytes")
        if len(head) < 12 or head[:4] != b"RIFF":
            if 0 < len(head) < 12 and b"RIFF".startswith(head[:4]):
                return End("it ends within a header")
            return WHOLE
        size = int.from_bytes(head[4:8], "little")
        if size in {0, 0xFFFFFFFF}:
            return (yield from _walk_chunks(position + 12))
        end = position + 8 + size
        rest = yield from _after(end, 0)
        if rest is None:
            return End(f"its header states {end:,} bytes")
        position = end
        if size % 2:  # the byte that fills it up is often forgotten
            rest = yield from _after(end + 1, 0)
            if rest is None:
                return WHOLE
            position = end + 1


def _walk_chunks(position: int) -> Walk:
    while True:
        head = yield from _after(position, 12)
        if head is None:
            return End("it ends within a chunk")
        if not head:
            return UNKNOWN
        if len(head) < 8:
            return End("it ends within the header of a chunk")
        size = int.from_bytes(head[4:8], "little")
        if not head[:4].isascii():
            return UNKNOWN
        inside = head[:4] == b"LIST" and (head[8:12] == b"movi" or size in {0, 0xFFFFFFFF})
        position += 12 if inside else 8 + size + size % 2


def walk_flash() -> Walk:
    """FLV."""
    first = yield 0, 9
    position = int.from_bytes(first[5:9], "big") + 4
    last_s = duration_s = stated = 0.0
    while True:
        head = yield from _after(position, 11)
        if head is None:
            size_bytes = yield position - 5, 5
            if len(size_bytes) == 1:  # some leave out the very last size
                break
            return End("it ends within a tag")
        if not head:
            break
        if head[0] & 0x1F not in {8, 9, 18}:
            return UNKNOWN
        if len(head) < 11:
            return End("it ends within the header of a tag")
        size = int.from_bytes(head[1:4], "big")
        if head[0] & 0x1F == 18 and not duration_s:
            body = yield position + 11, min(size, 1 << 16)
            duration_s, stated = _flash_number(body, b"duration"), _flash_number(body, b"filesize")
        elif head[0] & 0x1F != 18:
            last_s = max(last_s, int.from_bytes(head[7:8] + head[4:7], "big") / 1000)
        position += 11 + size + 4
    if stated == position:
        return WHOLE
    if duration_s - last_s > (_SLACK_S if stated > position else 5 * _SLACK_S):
        return End(f"its header states {duration_s:.2f} s")
    return WHOLE if duration_s and stated <= position else UNKNOWN


def _flash_number(body: bytes, key: bytes) -> float:
    place = body.lower().find(key + b"\0")
    data = body[place + len(key) + 1 :][:8] if place >= 0 else b""
    value = struct.unpack(">d", data)[0] if len(data) == 8 else 0.0
    return float(value) if 0 < value < 1e15 else 0.0


def walk_asf() -> Walk:
    """ASF, WMV."""
    first = yield 0, 30
    end, position, stated, live, packet = int.from_bytes(first[16:24], "little"), 30, 0, False, 0
    while position < end or len(first) < 30:
        part = yield from _after(position, 100)
        if part is None or len(part) < 24:
            return End("it ends within its header")
        if part[:16] == _ASF_PROPERTIES and len(part) == 100:
            stated, live = int.from_bytes(part[40:48], "little"), bool(part[88] & 1)
            packet = int.from_bytes(part[92:96], "little")
        position += max(24, int.from_bytes(part[16:24], "little"))
    return (yield from _walk_asf_objects(end, 0 if live else stated, packet))


def _walk_asf_objects(position: int, stated: int, packet: int) -> Walk:
    """What follows the header. stated: the file's bytes, 0 where it was written live."""
    while True:
        part = yield from _after(position, 50)
        if part is None:
            return End("it ends within its data")
        if position == stated:
            return WHOLE
        if len(part) < 24:
            break
        size = int.from_bytes(part[16:24], "little")
        if part[:16] == _ASF_DATA and (not stated or size < 50):
            return (yield from _whole_packets(position + 50, packet))
        if size < 24:
            return UNKNOWN
        position += size
    if part or stated > position:
        return End(f"its header states {stated:,} bytes")
    return WHOLE if stated else UNKNOWN


def _whole_packets(position: int, packet: int) -> Walk:
    """Data without a stated length, in packets of one size."""
    if packet < 32:
        return UNKNOWN
    while True:
        head = yield from _after(position, 24)
        if not head:
            return UNKNOWN if head is not None else End("it ends within a packet")
        if head[:16] == _ASF_INDEX:
            rest = yield from _after(position + int.from_bytes(head[16:24], "little"), 0)
            return WHOLE if rest is not None else End("it ends within its index")
        position += packet


def walk_ogg() -> Walk:
    """Ogg: the last page carries an end mark."""
    position, last = 0, False
    while True:
        head = yield from _after(position, 282)
        if head is None:
            return End("it ends within a page")
        if not head:
            return WHOLE if last else End("its end mark is missing")
        if not head.startswith(b"OggS"[: len(head)]):
            return UNKNOWN
        table = head[27 : 27 + head[26]] if len(head) > 26 else b""
        if len(head) < 27 or len(table) < head[26]:
            return End("it ends within the header of a page")
        last = bool(head[5] & 4)
        position += 27 + len(table) + sum(table)


def walk_ivf() -> Walk:
    """IVF: frames with their sizes; the header may have their number."""
    first = yield 0, 32
    if len(first) < 32:
        return End("it ends within its header")
    position, count, stated = int.from_bytes(first[6:8], "little"), 0, int.from_bytes(first[24:28], "little")
    while True:
        head = yield from _after(position, 12)
        if head is None or 0 < len(head) < 12:
            return End("it ends within a frame")
        if not head:
            return WHOLE if count == stated else UNKNOWN
        position += 12 + int.from_bytes(head[:4], "little")
        count += 1


def walk_png() -> Walk:
    """PNG and APNG: up to IEND."""
    position = 8
    while True:
        head = yield from _after(position, 8)
        if head is None or len(head) < 8:
            return End("its end mark is missing")
        position += 12 + int.from_bytes(head[:4], "big")
        if head[4:8] == b"IEND":
            rest = yield from _after(position, 0)
            return End("it ends within its end mark") if rest is None else WHOLE


def walk_gif() -> Walk:
    """GIF: up to its trailer."""
    first = yield 0, 13
    if len(first) < 13:
        return End("it ends within its header")
    position = 13 + _palette(first[10])
    while True:
        head = yield from _after(position, 10)
        if not head:
            return End("its end mark is missing")
        if head[0] == 0x3B:
            return WHOLE
        if head[0] == 0x21:
            position += 2
        elif head[0] == 0x2C and len(head) == 10:
            position += 11 + _palette(head[9])
        else:
            return UNKNOWN if head[0] != 0x2C else End("its end mark is missing")
        while True:
            length = yield from _after(position, 1)
            if not length:
                return End("its end mark is missing")
            position += 1 + length[0]
            if length[0] == 0:
                break


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _vint_bytes(first: int) -> int:
    """How long a number of Matroska is, by its first byte; 0 where it is none."""
    return 9 - first.bit_length() if first else 0


WALKS: tuple[tuple[bytes, Callable[[], Walk]], ...] = (
    (b"\x1a\x45\xdf\xa3", walk_matroska),
    (b"RIFF", walk_riff),
    (b"FLV\x01", walk_flash),
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), walk_asf),
    (b"OggS", walk_ogg),
    (b"DKIF", walk_ivf),
    (b"\x89PNG\r\n\x1a\n", walk_png),
    (b"GIF8", walk_gif),
)
