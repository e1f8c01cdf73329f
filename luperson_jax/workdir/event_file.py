"""Curves for TensorBoard: scalars in an event file.

The file is a sequence of records, each a protocol buffer `Event` between its length and two
checksums. Both forms are fixed (tensorflow/core/util/event.proto and tensorflow/core/lib/io/
record_writer.h), and scalars need four fields of them: written here, they cost no import of a
package that would load a whole deep learning framework beside JAX.
"""

import pathlib
import socket
import struct
import time

VERSION = "brain.Event:2"
"""What the first event of a file says."""

_REVERSED_CASTAGNOLI = 0x82F63B78


class EventFile:
    """One file of scalars in a folder of TensorBoard's.

    Two starts within one second get two files, because the name ends in the time in nanoseconds.
    """

    def __init__(self, folder: pathlib.Path):
        folder.mkdir(parents=True, exist_ok=True)
        stamp = time.time_ns()
        name = f"events.out.tfevents.{stamp // 10**9}.{socket.gethostname()}.{stamp}"
        self._file = (folder / name).open("wb")
        self._write(version_event(time.time()))

    def add(self, name: str, value: float, step: int) -> None:
        """Writes one value of one curve, to be seen by a reader at once."""
        self._write(scalar_event(name, value, step, time.time()))

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def _write(self, event: bytes) -> None:
        self._file.write(record(event))
        self._file.flush()


def version_event(wall_time: float) -> bytes:
    """The event that begins a file."""
    return _number(1, wall_time, "<d") + _text(3, VERSION.encode())


def scalar_event(name: str, value: float, step: int, wall_time: float) -> bytes:
    """The event of one scalar.

    Args:
        name: of the curve.
        value: kept as float32.
        step: where on the curve, from 0.
        wall_time: seconds since 1970.
    """
    point = _text(1, name.encode()) + _number(2, value, "<f")
    return _number(1, wall_time, "<d") + b"\x10" + _varint(step) + _text(5, _text(1, point))


def record(payload: bytes) -> bytes:
    """A payload as a record: length, checksum of it, payload, checksum of it."""
    length = struct.pack("<Q", len(payload))
    return length + _checksum(length) + payload + _checksum(payload)


def _number(field: int, value: float, form: str) -> bytes:
    return bytes([field << 3 | (1 if form == "<d" else 5)]) + struct.pack(form, value)


def _text(field: int, text: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(text)) + text


def _varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _checksum(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted as the format has it."""
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (_REVERSED_CASTAGNOLI if rest & 1 else 0)
    rest ^= 0xFFFFFFFF
    masked = (rest >> 15 | rest << 17) + 0xA282EAD8 & 0xFFFFFFFF
    return struct.pack("<I", masked)
