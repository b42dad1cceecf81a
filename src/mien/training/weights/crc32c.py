"""CRC-32C (Castagnoli) as TensorFlow's files use it, vectorised: a byte at a time would take minutes for a network.

The remainder of a message is linear in its bits, so words are folded in pairs, each level with the shift of twice as
many bytes as the one before.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78
_ONES = 0xFFFFFFFF
_Words = NDArray[np.uint32]


def masked_crc32c(data: bytes) -> int:
    """The checksum of `data` as it is in LevelDB's and TensorFlow's files: rotated, and moved by a constant."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & _ONES


def crc32c(data: bytes) -> int:
    """The checksum of `data`, 32 bits."""
    if len(data) < 8:
        return _remainder(_ONES, data) ^ _ONES
    # Zeros before a message leave its remainder as it is, once the register's start is in the first four bytes.
    padding = -len(data) % 4
    words = np.frombuffer(bytes(padding) + data, "<u4").copy()
    start = _ONES << (8 * padding)
    words[:2] ^= np.array([start & _ONES, start >> 32], np.uint32)
    level = 0
    while len(words) > 1:
        if len(words) % 2:
            words = np.concatenate([np.zeros(1, np.uint32), words])
        words = _shifted(words[0::2], level) ^ words[1::2]
        level += 1
    return int(_shifted(words, 0)[0]) ^ _ONES


def _remainder(register: int, data: bytes) -> int:
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (_POLYNOMIAL if register & 1 else 0)
    return register


def _shifted(registers: _Words, level: int) -> _Words:
    """What 4 * 2^level zero bytes make of registers: uint32 (N,) -> the same."""
    low, high = _tables(level)
    shifted: _Words = low.take(registers & 0xFFFF) ^ high.take(registers >> 16)
    return shifted


@cache
def _tables(level: int) -> tuple[_Words, _Words]:
    """The same for each value of a register's lower and of its upper half: uint32 (65536,) both."""
    if level > 0:
        low, high = _tables(level - 1)
        return _shifted(low, level - 1), _shifted(high, level - 1)
    tables = []
    for half in (0, 16):
        table = np.zeros(1, np.uint32)
        for bit in range(half, half + 16):
            table = np.concatenate([table, table ^ np.uint32(_remainder(1 << bit, bytes(4)))])
        tables.append(table)
    return tables[0], tables[1]
