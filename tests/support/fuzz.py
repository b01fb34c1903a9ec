"""How many inputs a fuzz test mutates: few, or ENTROPY_GROUNDING_FUZZ times as many."""

import os

import numpy as np

TIMES = int(os.environ.get("ENTROPY_GROUNDING_FUZZ", "1"))


def tries(count):
    return range(count * TIMES)


def damaged(content, generator):
    """Return bytes with a flipped bit, a hole, a cut end, doubled, or none at all."""
    kind = generator.integers(5)
    data = bytearray(content)
    if not data:
        return b"\x00"
    place = int(generator.integers(len(data)))
    if kind == 0:
        data[place] ^= 1 << int(generator.integers(8))
    elif kind == 1:
        data[place : place + int(generator.integers(1, 64))] = b""
    elif kind == 2:
        data = data[:place]
    elif kind == 3:
        data[place : place + 16] = generator.integers(0, 256, 16, dtype=np.uint8).tobytes()
    else:
        data = data[:place] + data[place : place + 100] + data[place:]
    return bytes(data)


def retyped(value, generator):
    """Return another JSON value in place of one."""
    others = [None, "", "text", -1, 0, 1e9, 3.5, True, [], {}, [1, 2, 3], {"a": 1}]
    return others[int(generator.integers(len(others)))]
