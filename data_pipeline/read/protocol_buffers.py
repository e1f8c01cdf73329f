"""Messages of protocol buffers, as far as files of pictures hold some."""

from collections.abc import Iterator


def messages(message: bytes | memoryview, wanted: int) -> Iterator[memoryview]:
    """The values of one field that are strings, bytes or messages.

    Raises:
        ValueError, IndexError: it is no message.
    """
    for field, value in _fields(message):
        if field == wanted and isinstance(value, memoryview):
            yield value


def numbers(message: bytes | memoryview) -> dict[int, int]:
    """The fields that are whole numbers, each with its last value; errors as of `messages`."""
    return {field: value for field, value in _fields(message) if isinstance(value, int)}


def varint(view: bytes | memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends.

    Raises:
        ValueError, IndexError: as `messages`.
    """
    number = 0
    for shift in range(0, 70, 7):
        byte = view[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("a number of more than ten bytes")


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    view, at = memoryview(message), 0
    while at < len(view):
        tag, at = varint(view, at)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            number, at = varint(view, at)
            yield field, number
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size, at = varint(view, at)
            if at + size > len(view):
                raise ValueError("it is cut off")
            yield field, view[at : at + size]
            at += size
        else:
            raise ValueError("it is no message")
