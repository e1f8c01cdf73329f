"""Pickles of strangers, read without running anything that they ask for.

Key lists of LMDB files and detections of videos come as pickles, and Python's own `pickle.load`
calls whatever function a file names. The reader here knows lists, tuples, sets, dicts, numbers,
strings, bytes, None and numpy arrays and scalars of numbers or strings. It takes no more memory
than a fixed multiple of the file's size.
"""

import os
import struct
from collections.abc import Callable
from typing import Any

from data_pipeline.errors import InputError
from data_pipeline.read import plain_globals
from data_pipeline.read.plain_globals import Global, Refused

EXPECTED = "lists, dicts, numbers, strings and numpy arrays of numbers or strings"

# What a damaged file makes of the handlers below.
DAMAGED = (
    AttributeError,
    LookupError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)


def load(path: str | os.PathLike) -> Any:
    """The content of a pickle file of any protocol, also one written by Python 2.

    Strings of Python 2 come as text, byte by byte (latin-1). Line ends may have become CRLF.

    Raises:
        InputError: the file is missing or damaged, or asks for anything but plain data; the
            message names what it asks for.
    """
    try:
        with open(path, "rb") as file:
            machine = _Machine(file.read())
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; check that the data set is complete and mounted"
        ) from error
    try:
        return machine.run()
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


class _Machine:
    """Carries out the instructions of a pickle, as far as they make plain data.

    The names of instructions are those of Python's `pickletools`.
    """

    def __init__(self, data: bytes) -> None:
        # The zeros let a size at the very end be read before it is found to be cut off.
        self.data, self.size, self.at = data + bytes(5), len(data), 0
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: list[Any] = []
        self.meter = plain_globals.Meter(len(data))
        self.asked = False

    def run(self) -> Any:
        data, actions = self.data, ACTIONS
        while self.at < self.size and data[self.at] != STOP:
            code = data[self.at]
            if code not in actions:
                raise ValueError(f"byte {self.at} is no instruction")
            self.at += 1
            actions[code](self, code)
        if self.at >= self.size:
            raise ValueError("it ends in the middle")
        if len(self.stack) != 1 or self.outer:
            raise ValueError("it ends in the middle")
        (value,) = self.stack
        if self.asked:
            plain_globals.check(value)
        return value

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > self.size:
            raise ValueError(f"it ends after {self.size} bytes, {end} are announced")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def line(self) -> bytes:
        end = self.data.index(b"\n", self.at)
        piece = self.data[self.at : end]
        self.at = end + 1
        return piece.removesuffix(b"\r")

    def marked(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def remember(self, place: int) -> None:
        # Every earlier place has cost its bytes, so a larger one is no pickler's.
        if not 0 <= place <= self.at:
            raise ValueError(f"place {place} of the memo, at byte {self.at}")
        if place >= len(self.memo):
            self.memo.extend([None] * (place + 1 - len(self.memo)))
        self.memo[place] = self.stack[-1]


def _mark(machine: _Machine, code: int) -> None:
    machine.outer.append(machine.stack)
    machine.stack = []


def _discard(machine: _Machine, code: int) -> None:
    if code == ord("1") or not machine.stack:
        machine.marked()
    else:
        machine.stack.pop()


def _again(machine: _Machine, code: int) -> None:
    machine.stack.append(machine.stack[-1])


def _skip(machine: _Machine, code: int) -> None:
    """PROTO and FRAME say nothing about the content."""
    machine.take(1 if code == 0x80 else 8)


def _constant(machine: _Machine, code: int) -> None:
    machine.stack.append(CONSTANTS[code])


def _empty(machine: _Machine, code: int) -> None:
    machine.stack.append(EMPTY[code]())


def _fixed(machine: _Machine, code: int) -> None:
    layout = FIXED[code]
    machine.stack.append(layout.unpack(machine.take(layout.size))[0])


def _strings(machine: _Machine, code: int) -> None:
    """A string, and all those that follow it at once: a list of a million keys is little else."""
    data, at, stack, memo = machine.data, machine.at - 1, machine.stack, machine.memo
    while True:
        if data[at] == SHORT_BINUNICODE:
            begin, size = at + 2, data[at + 1]
        elif data[at] == BINUNICODE:
            begin, size = at + 5, U32(data, at + 1)[0]
        else:
            break
        at = begin + size
        if at > machine.size:
            raise ValueError(f"it ends after {machine.size} bytes, {at} are announced")
        stack.append(data[begin:at].decode("utf-8", "surrogatepass"))
        if data[at] == MEMOIZE:
            memo.append(stack[-1])
            at += 1
        elif data[at] == LONG_BINPUT and U32(data, at + 1)[0] == len(memo):
            memo.append(stack[-1])
            at += 5
    machine.at = at


def _sized(machine: _Machine, code: int) -> None:
    width, make = SIZED[code]
    size = int.from_bytes(machine.take(width), "little")
    machine.stack.append(make(machine.take(size)))


def _line(machine: _Machine, code: int) -> None:
    machine.stack.append(LINES[code](machine.line()))


def _collect(machine: _Machine, code: int) -> None:
    """A container of what lies above the mark."""
    items = machine.marked()
    if code == ord("d"):
        machine.stack.append({})
        _put(machine.stack[-1], items)
    elif code == 0x91:
        machine.stack.append(frozenset(map(plain_globals.key, items)))
    else:
        machine.stack.append(items if code == ord("l") else tuple(items))


def _small_tuple(machine: _Machine, code: int) -> None:
    size = code - 0x84
    if len(machine.stack) < size:
        raise IndexError("a tuple of more than there is")
    machine.stack[-size:] = [tuple(machine.stack[-size:])]


def _append(machine: _Machine, code: int) -> None:
    item = machine.stack.pop()
    _exactly(list, machine.stack[-1]).append(item)


def _appends(machine: _Machine, code: int) -> None:
    items = machine.marked()
    _exactly(list, machine.stack[-1]).extend(items)


def _add_items(machine: _Machine, code: int) -> None:
    items = machine.marked()
    _exactly(set, machine.stack[-1]).update(map(plain_globals.key, items))


def _set_item(machine: _Machine, code: int) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _put(machine.stack[-1], [key, value])


def _set_items(machine: _Machine, code: int) -> None:
    items = machine.marked()
    _put(machine.stack[-1], items)


def _put(target: Any, items: list[Any]) -> None:
    keys, values = map(plain_globals.key, items[::2]), items[1::2]
    _exactly(dict, target).update(zip(keys, values, strict=True))


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} was to be filled")
    return value


def _remember(machine: _Machine, code: int) -> None:
    if code == 0x94:
        machine.remember(len(machine.memo))
    elif code == ord("p"):
        machine.remember(int(machine.line()))
    else:
        machine.remember(int.from_bytes(machine.take(1 if code == ord("q") else 4), "little"))


def _recall(machine: _Machine, code: int) -> None:
    if code == ord("g"):
        place = int(machine.line())
    else:
        place = int.from_bytes(machine.take(1 if code == ord("h") else 4), "little")
    if not 0 <= place < len(machine.memo):
        raise IndexError(f"place {place} of a memo of {len(machine.memo)}")
    machine.stack.append(machine.memo[place])


def _global(machine: _Machine, code: int) -> None:
    if code == 0x93:
        name, module = machine.stack.pop(), machine.stack.pop()
    else:
        module, name = machine.line().decode(), machine.line().decode()
    machine.asked = True
    machine.stack.append(plain_globals.find(_exactly(str, module), _exactly(str, name)))


def _instance(machine: _Machine, code: int) -> None:
    module, name = machine.line().decode(), machine.line().decode()
    raise Refused(f"an instance of {module}.{name}")


def _reduce(machine: _Machine, code: int) -> None:
    arguments = _exactly(tuple, machine.stack.pop())
    machine.stack[-1] = _exactly(Global, machine.stack[-1]).make(machine.meter, *arguments)


def _build(machine: _Machine, code: int) -> None:
    state = machine.stack.pop()
    plain_globals.build(machine.meter, machine.stack[-1], state)


def _refuse(machine: _Machine, code: int) -> None:
    raise Refused(REFUSED[code])


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", "surrogatepass")


def _latin(piece: bytes) -> str:
    return piece.decode("latin-1")


def _integer(piece: bytes) -> int:
    return int.from_bytes(piece, "little", signed=True)


def _number(line: bytes) -> int | bool:
    """A number in decimal digits; Python 2 wrote its truth values so too."""
    if line in (b"00", b"01"):
        return line == b"01"
    return int(line.removesuffix(b"L"))


def _quoted(line: bytes) -> str:
    line = line.strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError("a string without quotes")
    return line[1:-1].decode("unicode_escape")


STOP = ord(".")
SHORT_BINUNICODE, BINUNICODE = 0x8C, ord("X")
MEMOIZE, LONG_BINPUT = 0x94, ord("r")
U32 = struct.Struct("<I").unpack_from

CONSTANTS = {ord("N"): None, 0x88: True, 0x89: False, ord(")"): ()}
EMPTY: dict[int, Callable[[], Any]] = {ord("]"): list, ord("}"): dict, 0x8F: set}
FIXED = {
    ord(letter): struct.Struct(layout)
    for letter, layout in {"J": "<i", "K": "<B", "M": "<H", "G": ">d"}.items()
}

# Bytes that hold the size, and what is made of so many bytes.
SIZED: dict[int, tuple[int, Callable[[bytes], Any]]] = {
    ord("U"): (1, _latin),
    ord("T"): (4, _latin),
    0x8D: (8, _text),
    ord("C"): (1, bytes),
    ord("B"): (4, bytes),
    0x8E: (8, bytes),
    0x96: (8, bytearray),
    0x8A: (1, _integer),
    0x8B: (4, _integer),
}
LINES: dict[int, Callable[[bytes], Any]] = {
    ord("I"): _number,
    ord("L"): _number,
    ord("F"): float,
    ord("S"): _quoted,
    ord("V"): lambda line: line.decode("raw_unicode_escape"),
}
REFUSED = {
    ord("P"): "an object that is not in the file",
    ord("Q"): "an object that is not in the file",
    ord("o"): "an instance of a class",
    0x81: "an instance of a class",
    0x82: "an extension by its number",
    0x83: "an extension by its number",
    0x84: "an extension by its number",
    0x92: "an instance of a class",
    0x97: "a buffer that is not in the file",
    0x98: "a buffer that is not in the file",
}

ACTIONS: dict[int, Callable[[_Machine, int], None]] = {
    **dict.fromkeys(CONSTANTS, _constant),
    **dict.fromkeys(EMPTY, _empty),
    **dict.fromkeys(FIXED, _fixed),
    **dict.fromkeys(SIZED, _sized),
    **dict.fromkeys(LINES, _line),
    **dict.fromkeys(REFUSED, _refuse),
    **dict.fromkeys((ord("l"), ord("d"), ord("t"), 0x91), _collect),
    **dict.fromkeys((0x85, 0x86, 0x87), _small_tuple),
    **dict.fromkeys((ord("p"), ord("q"), ord("r"), 0x94), _remember),
    **dict.fromkeys((ord("g"), ord("h"), ord("j")), _recall),
    **dict.fromkeys((ord("c"), 0x93), _global),
    **dict.fromkeys((0x80, 0x95), _skip),
    **dict.fromkeys((ord("0"), ord("1")), _discard),
    SHORT_BINUNICODE: _strings,
    BINUNICODE: _strings,
    ord("("): _mark,
    ord("2"): _again,
    ord("a"): _append,
    ord("e"): _appends,
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x90: _add_items,
    ord("i"): _instance,
    ord("R"): _reduce,
    ord("b"): _build,
}
"""What each instruction does."""
