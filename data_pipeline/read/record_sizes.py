"""What the records of an ArrayRecord file declare of their size, read without unpacking them.

The form is that of Riegeli. A file is made of blocks, each with a header of its own that cuts
through whatever lies there. In it stand chunks: a header, and data that may be compressed. The last
block tells where a chunk lies whose records tell where all others do.
"""

import os
import struct

import numpy as np
import pyarrow as pa

from data_pipeline.errors import InputError
from data_pipeline.read import protocol_buffers
from data_pipeline.read.archives import FREE_BYTES, MAX_RATIO

BLOCK, BLOCK_HEADER = 1 << 16, 24
# Of the header of a chunk: bytes of its data, kind, bytes of its records unpacked.
CHUNK = struct.Struct("<8xQ8xB7xQ")
PLAIN_KIND = ord("r")
CODECS = {ord("b"): "brotli", ord("s"): "snappy", ord("z"): "zstd"}
# Fields: of the record of the last block; of those of the footer.
FOOTER, OFFSET, NUMBER = 1, 1, 3
FIRST = 1
"""Place of the first record of the footer that tells of a chunk."""


class RecordSizes:
    """Where the chunks of a file lie.

    Args:
        path: an ArrayRecord file.

    Raises:
        InputError: it is no such file, is damaged, or its footer would grow out of proportion.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            with open(path, "rb") as file:
                last = max(os.fstat(file.fileno()).st_size - 1, 0) // BLOCK * BLOCK
                values, starts = _records(file.fileno(), last)
                end = protocol_buffers.numbers(values[: starts[1]])
                self._chunks, self._starts = _records(file.fileno(), end[FOOTER])
            self._group = self._chunk(0)[NUMBER] if len(self._starts) > FIRST + 1 else 1
        except (OSError, ValueError, LookupError, OverflowError, struct.error) as error:
            raise InputError(
                f"{path} is no ArrayRecord file or a damaged one ({error}); copy it again"
            ) from error

    def check(self, number: int) -> None:
        """Raises InputError where the chunk of a record declares more than `MAX_RATIO` times its
        data and `FREE_BYTES`."""
        try:
            with open(self._path, "rb") as file:
                _header(file.fileno(), self._chunk(number // self._group)[OFFSET])
        except (OSError, ValueError, LookupError, OverflowError, struct.error) as error:
            raise InputError(
                f"record {number} of {self._path} cannot be read: {error}; copy the file again"
            ) from error

    def _chunk(self, index: int) -> dict[int, int]:
        """The footer's record of a chunk. All chunks but the last have equally many records."""
        start, end = self._starts[FIRST + index : FIRST + index + 2]
        return protocol_buffers.numbers(self._chunks[start:end])


def _records(file: int, offset: int) -> tuple[memoryview, np.ndarray]:
    """The records of a chunk of the plain kind, joined, and where each begins and the last ends.

    All but the first have less than 128 bytes, as those that tell of chunks have.
    """
    size, kind, _ = _header(file, offset)
    data = memoryview(_read(file, offset, CHUNK.size + size))[CHUNK.size :]
    if kind != PLAIN_KIND:
        raise ValueError(f"a chunk of kind {kind}")
    length, at = protocol_buffers.varint(data, 1)
    sizes = _unpacked(data[at : at + length], data[0])
    values = _unpacked(data[at + length :], data[0])
    first, at = protocol_buffers.varint(sizes, 0)
    rest = np.frombuffer(sizes, np.uint8)[at:]
    if np.any(rest > 127):
        raise ValueError("its last records are none of chunks")
    return values, np.cumsum(np.concatenate([[0, first], rest.astype(np.int64)]))


def _header(file: int, offset: int) -> tuple[int, int, int]:
    """Size of a chunk's data, its kind, and the size of its records unpacked."""
    size, kind, unpacked = CHUNK.unpack(_read(file, offset, CHUNK.size))
    if size > os.fstat(file).st_size:
        raise ValueError(f"it declares {size} bytes, more than the file has")
    _check_growth(size, unpacked)
    return size, kind, unpacked


def _unpacked(data: memoryview, codec: int) -> memoryview:
    if not codec:
        return data
    if codec not in CODECS:
        raise ValueError(f"an unknown compression, {codec}")
    size, at = protocol_buffers.varint(data, 0)
    _check_growth(len(data), size)
    return memoryview(pa.Codec(CODECS[codec]).decompress(data[at:], size)).cast("B")


def _check_growth(size: int, unpacked: int) -> None:
    most = FREE_BYTES + MAX_RATIO * size
    if unpacked > most:
        raise ValueError(
            f"{size} bytes declare {unpacked} unpacked, more than the {most} that so many may hold"
        )


def _read(file: int, offset: int, size: int) -> bytes:
    """Bytes of a chunk from its place in the file on, without the headers of blocks."""
    pieces = []
    while size:
        if offset % BLOCK == 0:
            offset += BLOCK_HEADER
        piece = os.pread(file, min(size, BLOCK - offset % BLOCK), offset)
        if not piece:
            raise ValueError("it is cut off")
        pieces.append(piece)
        offset, size = offset + len(piece), size - len(piece)
    return b"".join(pieces)
