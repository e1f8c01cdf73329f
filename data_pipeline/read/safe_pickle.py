"""Pickles of strangers, read with a short list of what they may ask for.

Key lists of LMDB files and detections of videos come as pickles, and Python's own `pickle.load`
calls whatever function a file names. Here a name outside of the list ends the reading; numpy's are
replaced by functions that trust neither a size nor a data type. No code of a file ever runs. What
memory a file takes is bounded by its own size, not to the byte; a file made to harm can still end
the process, by a nesting too deep for Python.
"""

import io
import os
import pickle
import re
import struct
from collections import OrderedDict
from typing import Any, ClassVar

import numpy as np

from data_pipeline.errors import InputError

MAX_BYTES = 4 << 30
"""Of a file: the key list of LUPerson-NL, 10.7 million names, has 0.3 GB."""
MAX_COPIES = 4
"""How many times a file's own size may be copied into arrays."""
EXPECTED = "lists, dicts, numbers, strings and numpy arrays of numbers or strings"
DTYPE = re.compile(r"[?biufcSU]\d*")
DAMAGED = (
    *(pickle.UnpicklingError, EOFError, struct.error, AttributeError, LookupError, MemoryError),
    *(OverflowError, TypeError, ValueError),
)


class Refused(Exception):
    """What a pickle asks for that is no plain data."""


class _DType:
    """A data type by its letters; the state that follows gives the order of its bytes."""

    def __init__(self, code: str, *_: Any) -> None:
        if not isinstance(code, str) or not DTYPE.fullmatch(code):
            raise Refused(f"an array of {code!r}"[:200])
        self.code, self.order = code, "="

    def real(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


def _array(
    data: Any,
    dtype: _DType,
    shape: tuple[int, ...],
    order: str = "C",
    axes: tuple[int, ...] | None = None,
) -> np.ndarray:
    array = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype.real())
    if array.dtype.kind == "U" and np.any(array.view(f"{array.dtype.byteorder}u4") > 0x10FFFF):
        raise ValueError("an array has letters that do not exist")
    if axes is not None:
        return array.reshape(shape).transpose(axes)
    return array.reshape(shape, order=order)  # type: ignore[call-overload]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise Refused("_codecs.encode")
    return text.encode("latin1")


_MULTIARRAY = {
    "_reconstruct": lambda *_: np.empty(0),
    "scalar": lambda dtype, data=b"": _array(data, dtype, ())[()],
}
_BUILTINS = {
    **{kind.__name__: kind for kind in (set, frozenset, complex, list, dict, int, float, str)},
    **{"bytearray": bytearray, "bytes": lambda *text: _encode(*text) if text else b""},
}
_CORE = {"multiarray": _MULTIARRAY, "numeric": {"_frombuffer": _array}}
ALLOWED: dict[str, dict[str, Any]] = {
    "builtins": _BUILTINS,
    "__builtin__": _BUILTINS,
    "_codecs": {"encode": _encode},
    "collections": {"OrderedDict": OrderedDict, "defaultdict": lambda *_: {}},
    "numpy": {"dtype": _DType, "ndarray": "ndarray"},  # the latter an argument and no more
    **{
        f"numpy.{core}.{name}": known for core in ("core", "_core") for name, known in _CORE.items()
    },
}
"""What may be asked for, by module, and what is given."""


# Python's own unpickler in Python, whose memory follows what was read and not what is announced.
_PYTHON: Any = vars(pickle)["_Unpickler"]


class _Unpickler(_PYTHON):
    """It, with the names of `ALLOWED` alone."""

    dispatch: ClassVar = dict(_PYTHON.dispatch)

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._left = MAX_COPIES * len(data)

    def find_class(self, module: str, name: str) -> Any:
        try:
            found = ALLOWED[module][name]
        except KeyError:
            raise Refused(f"{module}.{name}"[:200]) from None
        return self._bytearray if found is bytearray else found

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("something that is not in the file")

    def load_build(self) -> None:
        """Gives an array or a data type the state that follows it; nothing else has one."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _DType):
            target.order = state[1] if state[1] in ("<", ">") else "="
        elif type(target) is np.ndarray:
            shape, dtype, is_fortran, data = state[-4:]
            array = _array(data, dtype, shape, "F" if is_fortran else "C")
            self._spend(array.nbytes)
            # In place: what the file has remembered is the array before its state.
            target.__setstate__((1, shape, array.dtype, is_fortran, array.tobytes("A")))
        else:
            raise Refused(f"a {type(target).__name__} with a state of its own")

    def load_bytearray8(self) -> None:
        """Takes the bytes that are there; Python's own first makes as many as are announced."""
        self.load_binbytes8()
        self.append(self._bytearray(self.stack.pop()))

    def _bytearray(self, data: bytes | str = b"", encoding: str = "latin1") -> bytearray:
        self._spend(len(data))
        return bytearray(data if isinstance(data, bytes) else _encode(data, encoding))

    def _spend(self, num_bytes: int) -> None:
        self._left -= num_bytes
        if self._left < 0:
            raise ValueError("it grows to a multiple of its size")

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def load(path: str | os.PathLike) -> Any:
    """The content of a pickle file of any protocol, also one written by Python 2.

    Strings of Python 2 come as text, byte by byte (latin-1). Line ends may have become CRLF.

    Raises:
        InputError: the file is missing, damaged or larger than `MAX_BYTES`, or asks for anything
            but plain data; the message names what it asks for.
    """
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise InputError(f"{path} has more than {MAX_BYTES} bytes; expected a smaller pickle")
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; check that the data set is complete and mounted"
        ) from error
    try:
        if data[:1] != b"\x80" and b"\r\n" in data:  # of text, with the line ends of another system
            data = data.replace(b"\r\n", b"\n")
        return _Unpickler(data).load()
    except Refused as error:
        raise InputError(
            f"{path} asks for {error}; expected {EXPECTED} only. It may be written to do harm: do "
            "not open it with pickle, and get the data from another source or as plain data"
        ) from error
    except DAMAGED as error:
        raise InputError(
            f"{path} is no pickle file or a damaged one ({error or type(error).__name__}); "
            "expected a complete pickle; get it again"
        ) from error
