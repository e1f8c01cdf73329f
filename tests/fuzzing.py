"""Damage of files, drawn: for tests that ask whether a reader ends in a value or in a message."""

from collections.abc import Callable

import numpy as np

from data_pipeline.errors import InputError

# Numbers that sizes and counts take in hostile headers.
STRANGE = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1)


def mutate(data: bytes, generator: np.random.Generator, head: int = 512) -> bytes:
    """The data with one to four changes: bits, strange numbers, pieces cut, doubled or moved.

    Equal generators give equal damage.

    Args:
        data: at least one byte.
        generator: draws the changes.
        head: half of them fall into so many first bytes, where the sizes are declared.
    """
    changed = bytearray(data)
    for _ in range(int(generator.integers(1, 5))):
        end = len(changed) if generator.random() < 0.5 else min(head, len(changed))
        at = int(generator.integers(max(end, 1)))
        kind = int(generator.integers(6))
        if kind == 0:
            changed[at : at + 1] = bytes([changed[at] ^ 1 << int(generator.integers(8))])
        elif kind == 1:
            changed[at : at + 1] = bytes([int(generator.integers(256))])
        elif kind == 2:
            size = 1 << int(generator.integers(4))
            number = STRANGE[int(generator.integers(len(STRANGE)))] % (1 << 8 * size)
            order = "little" if generator.random() < 0.5 else "big"
            changed[at : at + size] = number.to_bytes(size, order)
        elif kind == 3:
            del changed[at : at + int(generator.integers(1, 64))]
        elif kind == 4:
            other = int(generator.integers(len(changed)))
            changed[at:at] = changed[other : other + int(generator.integers(1, 64))]
        else:
            del changed[max(at, 1) :]
        if not changed:
            changed = bytearray(b"\0")
    return bytes(changed)


def survivors(read: Callable[[bytes], object], data: bytes, count: int, seed: int = 0) -> int:
    """How many of `count` damaged copies are read all the same; the others end in InputError.

    Args:
        read: reads a file's bytes; any other exception passes through and fails the test, with
            the number of the copy in a note.
        data: the whole file.
        count: copies to try.
        seed: of the damage.
    """
    alive = 0
    for number in range(count):
        damaged = mutate(data, np.random.default_rng((seed, number)))
        try:
            read(damaged)
            alive += 1
        except InputError:
            continue
        except BaseException as error:
            error.add_note(f"copy {number} of seed {seed}")
            raise
    return alive
