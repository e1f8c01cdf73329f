"""NumPy's files, `.npy` and `.npz`, of strangers.

What a header declares is compared with the file's real size before memory is taken for it: a header
of 128 bytes can claim 40 TB. Objects, which are pickles, are refused.
"""

import contextlib
import io
import lzma
import math
import os
import sys
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.read.archives import CHUNK, FREE_BYTES, MAX_RATIO

SUFFIX = ".npy"
MAGIC = b"\x93NUMPY"
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
START = 16
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

# What the readers of zip and of NumPy let out on damaged files. RuntimeError: an encrypted member.
DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


class Arrays:
    """The arrays of an open `.npz`, read one by one: `arrays[name]`.

    Attributes:
        names: of all arrays, in the order of the file.
        others: names of what else the zip holds.
    """

    def __init__(self, archive: zipfile.ZipFile, path: str | os.PathLike, advice: str) -> None:
        self._archive, self._path, self._advice = archive, path, advice
        members = [info.filename for info in archive.infolist() if not info.is_dir()]
        self.names = [one.removesuffix(SUFFIX) for one in members if one.endswith(SUFFIX)]
        self.others = [one for one in members if not one.endswith(SUFFIX)]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> np.ndarray:
        """An array; InputError where it is missing, damaged or not as large as it declares."""
        with _as_messages(f"array {name!r} of {self._path}", self._advice):
            info = self._archive.getinfo(f"{name}{SUFFIX}")
            with self._archive.open(info) as stream:
                return _read(stream, info.file_size)


@contextlib.contextmanager
def open_npz(path: str | os.PathLike, advice: str) -> Iterator[Arrays]:
    """The arrays of an `.npz`, for a block that reads them.

    Args:
        path: the file.
        advice: what was expected and what to do; ends the messages.

    Raises:
        InputError: the file is missing, damaged or no `.npz`; an array holds objects, or declares
            another size than the file has; the whole would grow to more than `MAX_RATIO` times the
            file.
    """
    with contextlib.ExitStack() as stack:
        listing.check_opens(path)
        with _as_messages(path, advice):
            stream = stack.enter_context(open(path, "rb"))
            start = stream.read(START)
            if not start.startswith(ZIP_MAGICS):
                raise ValueError(f"it is no zip, which an .npz is: it begins with {start!r}")
            archive = stack.enter_context(zipfile.ZipFile(stream))
            check_growth(path, sum(info.file_size for info in archive.infolist()), advice)
            arrays = Arrays(archive, path, advice)
        yield arrays


def read_npz(path: str | os.PathLike, advice: str) -> dict[str, np.ndarray]:
    """All arrays of an `.npz`; arguments and errors as those of `open_npz`."""
    with open_npz(path, advice) as arrays:
        return {name: arrays[name] for name in arrays.names}


def map_npy(path: str | os.PathLike, advice: str) -> np.ndarray:
    """The array of an `.npy`, read from the disk as it is used.

    Raises:
        InputError: it is missing or damaged, holds objects, or is not as large as it declares.
    """
    listing.check_opens(path)
    with _as_messages(path, advice):
        with open(path, "rb") as stream:
            _check_header(stream, os.fstat(stream.fileno()).st_size)
        return np.load(path, mmap_mode="r", allow_pickle=False)


def check_growth(path: str | os.PathLike, declared: int, advice: str) -> None:
    """Raises InputError where a compressed file would grow out of proportion.

    Args:
        path: the file.
        declared: bytes that its content has unpacked.
        advice: ends the message.
    """
    most = FREE_BYTES + MAX_RATIO * os.path.getsize(path)
    if declared > most:
        raise InputError(
            f"{path} has {os.path.getsize(path)} bytes and declares {declared} unpacked, more "
            f"than the {most} that a file of its size may hold; {advice}"
        )


@contextlib.contextmanager
def _as_messages(what: str | os.PathLike, advice: str) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise InputError(f"{what} needs more memory than there is; {advice}") from error
    except DAMAGED as error:
        words = error.args[0] if isinstance(error, KeyError) and error.args else error
        reason = str(words) or type(error).__name__
        raise InputError(f"{what} cannot be read ({reason}); {advice}") from error


def _read(stream: IO[bytes], size: int) -> np.ndarray:
    shape, by_columns, dtype = _check_header(stream, size)
    array = np.empty(math.prod(shape), dtype)
    rest = memoryview(array.view(np.uint8))  # pyright: ignore[reportArgumentType]
    while len(rest):
        count = stream.readinto(rest[:CHUNK])  # pyright: ignore[reportAttributeAccessIssue]
        if not count:
            raise EOFError("it breaks off")
        rest = rest[count:]
    if dtype.kind == "U":
        letters = array.view(np.dtype("u4").newbyteorder(dtype.byteorder))
        if letters.max(initial=0) > sys.maxunicode:
            raise ValueError("it has letters that do not exist")
    return array.reshape(shape, order="F" if by_columns else "C")


def _check_header(stream: IO[bytes], size: int) -> tuple[tuple, bool, np.dtype]:
    """Shape, whether by columns, and type; ValueError where they do not fit the size in bytes."""
    start = stream.read(np.lib.format.MAGIC_LEN)
    if not start.startswith(MAGIC):
        raise ValueError(f"it is no array of NumPy: it begins with {start!r}")
    version = np.lib.format.read_magic(io.BytesIO(start))
    if version not in HEADERS:
        raise ValueError(f"it is of format {version}, which plain numbers never are")
    length = _Counting(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of headers that Python 2 wrote
        shape, by_columns, dtype = HEADERS[version](length)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never read")
    if not dtype.itemsize or any(type(one) is not int or one < 0 for one in shape):
        raise ValueError(f"its shape is {shape}, its type {dtype}")
    found = size - len(start) - length.count
    declared = math.prod(shape) * dtype.itemsize
    if declared != found:
        raise ValueError(f"it declares {declared} bytes, shape {shape}, and has {found}")
    return shape, by_columns, dtype


class _Counting:
    """A stream that counts the bytes read from it; one inside a zip cannot always tell."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.count = 0

    def read(self, length: int = -1, /) -> bytes:
        data = self._stream.read(length)
        self.count += len(data)
        return data
