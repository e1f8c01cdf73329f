"""The functions and classes that a pickle of plain data may name, each replaced by a harmless one.

A pickle holds a numpy array as the name of a numpy function and its arguments. Called as they
stand, these functions take any amount of memory or trust a state that no pickler writes.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

MAX_DIMENSIONS = 32
MAX_COPIES = 4
MAX_CODE_POINT = 0x10FFFF
DTYPE = re.compile(r"[?biufcSU]\d*")
PLAIN = {str, int, float, bool, bytes, bytearray, complex, type(None)}
SCALARS = (str, int, float, bool, bytes, complex, type(None), np.generic)


class Refused(Exception):
    """What a pickle asks for that is no plain data."""


class Meter:
    """Bytes and items that may still be copied.

    An honest file has its bytes decoded once and put into an array once. One that has the same
    bytes copied again and again would fill the memory.
    """

    def __init__(self, size: int) -> None:
        self._left = MAX_COPIES * size

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError("it grows to a multiple of its size")


@dataclasses.dataclass(frozen=True, slots=True)
class Global:
    """A name that a pickle asked for, and what stands for it: `make(meter, *arguments)`."""

    name: str
    make: Callable[..., Any]


def find(module: str, name: str) -> Global:
    """What stands for a function or class.

    Raises:
        Refused: nothing does.
    """
    full = f"{MOVED.get(module, module)}.{name}"
    if full not in GLOBALS:
        raise Refused(f"{module}.{name}"[:200])
    return Global(full, GLOBALS[full])


def build(meter: Meter, target: Any, state: Any) -> None:
    """Gives an array or a data type the state that follows it in the file.

    Raises:
        Refused: the target is anything else, or the state makes it no array of numbers or strings.
        ValueError: the state does not fit.
    """
    if isinstance(target, np.dtype):
        _set_dtype(target, state)
    elif type(target) is np.ndarray:
        _set_array(meter, target, state)
    else:
        raise Refused(f"a {type(target).__name__} with a state of its own")


def key(value: Any) -> Any:
    """A key of a dict or an item of a set.

    Raises:
        TypeError: it is neither a scalar nor a tuple of them. Hashing tuples nested a million
            times would end the process.
    """
    items = value if type(value) is tuple else (value,)
    if not all(isinstance(item, SCALARS) for item in items):
        raise TypeError("a key that is neither a number nor a string nor a tuple of them")
    return value


def check(value: Any) -> None:
    """That no name which the file asked for is left in its content by itself.

    Raises:
        Refused: one is.
    """
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        kind = type(one)
        if kind in PLAIN or isinstance(one, (np.generic, np.ndarray)):
            continue
        if kind not in (list, tuple, set, frozenset, dict):
            raise Refused(one.name if kind is Global else f"a {kind.__name__} by itself")
        if id(one) not in seen:
            seen.add(id(one))
            waiting.extend(one)
            waiting.extend(one.values() if kind is dict else ())


def _set_dtype(dtype: np.dtype, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "=", "|"):
        raise ValueError("a numpy data type with a strange state")
    if any(part is not None for part in state[2:5]):
        raise Refused("numpy records")
    # The state in the file could make the type any other one; only its byte order is used.
    made = dtype.newbyteorder(state[1])
    dtype.__setstate__(made.__reduce__()[2])  # pyright: ignore[reportAttributeAccessIssue]


def _set_array(meter: Meter, array: np.ndarray, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise ValueError("a numpy array with a strange state")
    shape, dtype, by_columns, data = state[-4:]
    data = _bytes_of(data)
    _check(shape, dtype, data)
    meter.spend(len(data))
    made: Any = (1, shape, dtype, bool(by_columns), bytes(data))
    array.__setstate__(made)


def _bytes_of(data: Any) -> bytes | bytearray:
    """Bytes, which Python 2 wrote as a string."""
    if isinstance(data, (bytes, bytearray)):
        return data
    if isinstance(data, str):
        return data.encode("latin-1")
    raise ValueError("a numpy array without its bytes")


def _check(shape: Any, dtype: Any, data: bytes | bytearray) -> None:
    if not isinstance(dtype, np.dtype) or not dtype.itemsize:
        raise ValueError("a numpy array without a data type")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("a numpy array with a strange shape")
    if len(shape) > MAX_DIMENSIONS or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("a numpy array whose size is not that of its bytes")
    if dtype.kind == "U":
        letters = np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder))
        if letters.max(initial=0) > MAX_CODE_POINT:
            raise ValueError("a numpy array of strings with letters that do not exist")


def _reconstruct(meter: Meter, kind: Any, *_: Any) -> np.ndarray:
    """An array to be built; the file's own shape is not looked at."""
    if not isinstance(kind, Global) or kind.name != "numpy.ndarray":
        raise Refused("a numpy array of a class of its own")
    return np.empty(0, np.int8)


def _scalar(meter: Meter, dtype: Any, data: Any = None) -> Any:
    data = _bytes_of(data)
    _check((), dtype, data)
    meter.spend(len(data))
    return np.ndarray((), dtype, buffer=data)[()]


def _frombuffer(
    meter: Meter, data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
) -> np.ndarray:
    data = _bytes_of(data)
    _check(shape, dtype, data)
    array = np.ndarray(shape, dtype, buffer=data, order="F" if order == "F" else "C")
    if order != "K" or axes is None:
        return array
    if not isinstance(axes, tuple) or sorted(axes) != list(range(len(shape))):
        raise ValueError("a numpy array with a strange order of its axes")
    return array.transpose(axes)


def _dtype(meter: Meter, kind: Any, *_: Any) -> np.dtype:
    if not isinstance(kind, str) or not DTYPE.fullmatch(kind):
        raise Refused(f"a numpy array of {str(kind)[:40]!r} (objects, records or times)")
    # A copy, because its byte order may be set afterwards.
    return np.dtype(kind, False, True)


def _named_only(meter: Meter, *_: Any) -> None:
    """Of the types that are arguments of other calls."""
    raise Refused("a call of a type")


def _encode(meter: Meter, text: Any, encoding: Any) -> bytes:
    """Python 3 writes bytes so for Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("_codecs.encode for anything but bytes")
    meter.spend(len(text))
    return text.encode("latin-1")


def _bytearray(meter: Meter, data: Any = b"", encoding: Any = "latin-1") -> bytearray:
    data = _bytes_of(data)
    meter.spend(len(data))
    return bytearray(data)


def _bytes(meter: Meter) -> bytes:
    return b""


def _items(meter: Meter, items: Any) -> list[Any]:
    if not isinstance(items, list):
        raise ValueError("a set of something else than a list")
    meter.spend(len(items))
    return [key(item) for item in items]


def _set(meter: Meter, items: Any) -> set[Any]:
    return set(_items(meter, items))


def _frozenset(meter: Meter, items: Any) -> frozenset[Any]:
    return frozenset(_items(meter, items))


def _complex(meter: Meter, real: Any, imaginary: Any) -> complex:
    if type(real) is not float or type(imaginary) is not float:
        raise ValueError("a complex number of something else than two numbers")
    return complex(real, imaginary)


def _ordered(meter: Meter, pairs: Any = ()) -> dict[Any, Any]:
    """An OrderedDict; Python 2 gives its pairs as an argument, Python 3 afterwards."""
    meter.spend(len(pairs))
    return {key(name): value for name, value in pairs}


def _default_dict(meter: Meter, *_: Any) -> dict[Any, Any]:
    """A dict with a default, without its default."""
    return {}


# Where Python 2 and older numpy had the same things.
MOVED = {
    "__builtin__": "builtins",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
}

GLOBALS: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _named_only,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _frombuffer,
    "_codecs.encode": _encode,
    "builtins.bytearray": _bytearray,
    "builtins.bytes": _bytes,
    "builtins.complex": _complex,
    "builtins.dict": _named_only,
    "builtins.frozenset": _frozenset,
    "builtins.int": _named_only,
    "builtins.list": _named_only,
    "builtins.set": _set,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _default_dict,
}
