"""The CRC-32 of a zip record, several times as fast as zlib on large ones.

A CRC is the remainder of the data, taken as a polynomial over two elements, by a fixed one. With
``x**(8 * FAR) == x**(8 * NEAR) + 1`` modulo it, a byte may be moved FAR - NEAR and FAR bytes
further on, by adding it (exclusive or) there, and the remainder stays: all but the last FAR bytes
fold into those, block by block, and zlib sums up what is left.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

# The first such pair; a test compares with zlib.
FAR, NEAR = 91_639, 41_678
_STEP = FAR - NEAR
_ONES = 0xFFFFFFFF


def crc32(chunks: Iterable[bytes | bytearray | memoryview], length: int) -> int:
    """The CRC-32 of chunks that are ``length`` bytes together.

    >>> crc32([b"1234", b"56789"], 9) == zlib.crc32(b"123456789")
    True
    """
    try:
        import numpy as np
    except ImportError:  # torch runs without it
        length = 0
    if length < 4 * FAR:
        crc = 0
        for chunk in chunks:
            crc = zlib.crc32(chunk, crc)
        return crc
    # What was added to the next FAR bytes so far; the position of the next one in this ring.
    ring = np.zeros(FAR, np.uint8)
    ring[:4] = 0xFF  # a CRC begins with ones
    here, left, rest = 0, length, b""
    for chunk in chunks:
        data = np.frombuffer(chunk, np.uint8)
        while len(data) and left > FAR:
            there = (here + _STEP) % FAR
            size = min(_STEP, NEAR, len(data), left - FAR, FAR - here, FAR - there)
            block, later = ring[here : here + size], ring[there : there + size]
            np.bitwise_xor(block, data[:size], out=block)
            np.bitwise_xor(later, block, out=later)
            here, left, data = (here + size) % FAR, left - size, data[size:]
        rest += data.tobytes()
    last = np.concatenate([ring[here:], ring[:here]])
    last ^= np.frombuffer(rest, np.uint8)
    return zlib.crc32(last.tobytes(), _ONES)
