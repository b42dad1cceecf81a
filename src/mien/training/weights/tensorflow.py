"""Reads TensorFlow 1 checkpoints (version 2, the "tensor bundle") without TensorFlow.

PREFIX.index is a sorted table as LevelDB writes it, of tensor names -> BundleEntryProto (tensor_bundle.proto);
PREFIX.data-00000-of-00001, ... hold the numbers. Every length and checksum is checked before it is believed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mien.errors import TrainingError
from mien.training.weights.crc32c import masked_crc32c
from mien.training.weights.layout import Stored

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # types.proto; others hold no weights
_PART = re.compile(r"(.+)\.(?:index|data-\d{5}-of-\d{5})")


class _Damaged(ValueError):
    """What in a file can't be right; the reader adds the file's name."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """The location of a tensor: shape, shard, offset and size in bytes, checksum. dtype: 0 if it is not numeric."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


def find_index(path: Path) -> Path | None:
    """The .index of a checkpoint that is named by any of its parts, its prefix or its folder; None where it is none."""
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        return found[0] if len(found) == 1 else None
    part = _PART.fullmatch(path.name)
    index = path.with_name(f"{part[1] if part else path.name}.index")
    return index if index.is_file() else None


@contextmanager
def open_checkpoint(path: Path) -> Iterator[dict[str, Stored]]:
    """The tensors of a checkpoint by their variables' names. Raises TrainingError for a damaged one."""
    index = find_index(path)
    if index is None:
        raise TrainingError(f"{path}: no TensorFlow checkpoint; expected a file that ends in .index beside its data")
    try:
        entries = dict(_table(index.read_bytes()))
        shards = _shard_count(entries.pop(b"", b""))
        stored = {}
        for name, value in entries.items():
            entry = _entry(value)
            if entry.sliced or entry.dtype not in _DTYPES:
                raise _Damaged(f"{name.decode()} is sliced or holds no numbers")
            stored[name.decode()] = _stored(entry, index, shards)
    except (OSError, ValueError, IndexError, struct.error) as error:  # ValueError: _Damaged and UnicodeDecodeError
        raise TrainingError(f"{index}: damaged, or no TensorFlow checkpoint ({error})") from error
    yield stored


def _stored(entry: _Entry, index: Path, shards: int) -> Stored:
    data = index.with_name(f"{index.name.removesuffix('.index')}.data-{entry.shard:05d}-of-{shards:05d}")

    def read() -> Tensor:
        try:
            with data.open("rb") as file:
                file.seek(entry.offset)
                raw = file.read(entry.size)
        except OSError as error:
            raise TrainingError(f"{data}: can't be read ({error.strerror}); it belongs to {index.name}") from error
        if len(raw) != entry.size or masked_crc32c(raw) != entry.checksum:
            raise TrainingError(f"{data}: damaged: {entry.size} bytes at {entry.offset} are not those of {index.name}")
        values = np.frombuffer(raw, _DTYPES[entry.dtype]).reshape(entry.shape)
        return torch.from_numpy(values.astype(np.float32))

    return Stored(entry.shape, read)


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All keys and values of a sorted table, in their order."""
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise _Damaged("it does not end as one")
    footer = data[-_FOOTER:]
    _, at = _block_handle(footer, 0)  # the first is of a block of filters, which is empty
    handle, _ = _block_handle(footer, at)
    for _, value in _block(data, handle):
        yield from _block(data, _block_handle(value, 0)[0])


def _block_handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """A block's offset and size, and where to read on."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(data: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a block: each key shares its first bytes with the one before it."""
    offset, size = handle
    content, trailer = data[offset : offset + size], data[offset + size : offset + size + 5]
    if len(content) != size or len(trailer) != 5 or size < 4:
        raise _Damaged("a block is outside the file")
    kind, checksum = struct.unpack("<BI", trailer)
    if masked_crc32c(content + trailer[:1]) != checksum:
        raise _Damaged("a block's checksum is wrong")
    if kind != 0:
        raise _Damaged("a block is compressed, which TensorFlow does not do by itself")
    end = size - 4 - 4 * struct.unpack("<I", content[-4:])[0]  # after the entries: the restart points, and their number
    key, at = b"", 0
    while at < end:
        shared, at = _varint(content, at)
        fresh, at = _varint(content, at)
        length, at = _varint(content, at)
        if shared > len(key) or at + fresh + length > end:
            raise _Damaged("an entry is outside its block")
        key = key[:shared] + content[at : at + fresh]
        yield key, content[at + fresh : at + fresh + length]
        at += fresh + length


def _shard_count(header: bytes) -> int:
    """Of BundleHeaderProto: how many files hold the numbers. They must be little-endian."""
    fields = dict(_fields(header))
    shards, big_endian = fields.get(1, 0), fields.get(2, 0)
    if not isinstance(shards, int) or not 1 <= shards <= 99999 or big_endian != 0:
        raise _Damaged("its header is missing, or its numbers are big-endian")
    return shards


def _entry(message: bytes) -> _Entry:
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}  # dtype, shard, offset, size, checksum: fields that are 0 are left out
    shape: list[int] = []
    sliced = False
    for field, value in _fields(message):
        if field == 2 and isinstance(value, bytes):
            shape = [_dimension(dim) for number, dim in _fields(value) if number == 2 and isinstance(dim, bytes)]
        elif field == 7:
            sliced = True
        elif field in numbers and isinstance(value, int):
            numbers[field] = value
    dtype, shard, offset, size, checksum = numbers.values()
    if dtype in _DTYPES and not sliced and prod(shape) * np.dtype(_DTYPES[dtype]).itemsize != size:
        raise _Damaged(f"a tensor of {shape} does not fit into {size} bytes")
    return _Entry(dtype, tuple(shape), shard, offset, size, checksum, sliced)


def _dimension(message: bytes) -> int:
    size = dict(_fields(message)).get(1, 0)
    if not isinstance(size, int):
        raise _Damaged("a shape is not one of numbers")
    return size


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffers message: number and value, strings and messages as bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        length, at = (8, at) if kind == 1 else (4, at) if kind == 5 else _varint(message, at)
        if kind not in (1, 2, 5) or at + length > len(message):
            raise _Damaged("a message is cut off")
        content = message[at : at + length]
        at += length
        yield tag >> 3, content if kind == 2 else int.from_bytes(content, "little")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where to read on."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Damaged("a number is too long")
