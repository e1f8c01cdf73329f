"""Matlab's files of version 5 to 7, of strangers.

SciPy takes memory for what an array declares before it looks for its elements: 300 bytes can claim
an array of cells of 16 GB. What is declared is compared with what the file holds first. Version 7.3
is HDF5, which SciPy does not read.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError

from data_pipeline.errors import InputError
from data_pipeline.read import array_files, listing
from data_pipeline.read.archives import FREE_BYTES, MAX_RATIO

# What SciPy's reader lets out on damaged or foreign files.
DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    RecursionError,
    MatReadError,
    struct.error,
    zlib.error,
)
HEADER = 128
"""Bytes before the first variable; the last two tell the order of bytes."""
ORDERS = {b"IM": "<", b"MI": ">"}
MATRIX, COMPRESSED, UNSIGNED = 14, 15, 6
"""Types of elements."""
SPARSE = 5
"""The class of arrays that declare rows and columns without holding them."""
ADVICE = "download it again"


def read(path: str) -> dict[str, Any]:
    """The variables of a Matlab file, by name.

    Raises:
        InputError: the file is missing, damaged or of another version, or declares more than it
            holds: compressed parts may grow to `MAX_RATIO` times the file and `FREE_BYTES`.
    """
    listing.check_opens(path)
    try:
        _check(path)
        return scipy.io.loadmat(path, spmatrix=False)
    except DAMAGED as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} is no readable Matlab file ({reason}); {ADVICE}") from error


def _check(path: str) -> None:
    data = np.memmap(path, np.uint8, "r")
    order = ORDERS.get(bytes(data[HEADER - 2 : HEADER]))
    if order is None:
        return  # version 4, which has no cells, or another kind of file, which SciPy refuses
    unpacked = 0
    for kind, content in _elements(data.data[HEADER:], order):
        if kind == COMPRESSED:
            most = FREE_BYTES + MAX_RATIO * len(data) - unpacked
            whole = zlib.decompressobj().decompress(content, most + 1)
            unpacked += len(whole)
            array_files.check_growth(path, unpacked, ADVICE)
            ((kind, content),) = _elements(memoryview(whole), order)
        if kind == MATRIX:
            _check_matrix(content, order)


def _check_matrix(content: memoryview, order: str) -> None:
    """Raises ValueError where an array, or one in its cells and fields, has fewer bytes than
    elements."""
    if not content:
        return  # an empty cell
    kind, size, flags = struct.unpack_from(f"{order}III", content)
    if (kind, size) != (UNSIGNED, 8):
        raise ValueError("an array has no flags")
    (_, shape), *parts = _elements(content[16:], order)
    lengths = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    if min(lengths, default=0) < 0 or (
        flags & 0xFF != SPARSE and math.prod(lengths) > len(content)
    ):
        raise ValueError(f"an array of {len(content)} bytes declares the shape {lengths}")
    for kind, part in parts:
        if kind == MATRIX:
            _check_matrix(part, order)


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each element of a file, or of an array."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        start = at + 8
        if kind >> 16:  # no more than four bytes, within the tag itself
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        if start + size > len(content) or (start == at + 4 and size > 4):
            raise ValueError(f"an element of {size} bytes is cut off")
        yield kind, content[start : start + size]
        at = at + 8 if start == at + 4 else start + size + (-size % 8 if kind != COMPRESSED else 0)
