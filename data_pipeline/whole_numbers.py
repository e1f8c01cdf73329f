"""Identities, cameras and tracklets as 64-bit numbers; one that does not fit is named."""

from collections.abc import Callable, Sequence

import numpy as np

from data_pipeline.errors import InputError

LEAST, MOST = (int(limit) for limit in (np.iinfo(np.int64).min, np.iinfo(np.int64).max))
SAFE = len(str(MOST))
"""Fewer letters than these are a number that fits."""
SHOWN = 60


def column(
    values: Sequence[int] | np.ndarray, what: str, where: Callable[[int], str]
) -> np.ndarray:
    """Whole numbers of any kind as int64, [N].

    Args:
        values: [N] as Python's numbers or an array of any type of numbers.
        what: what they are, for messages: "identity".
        where: tells where the number of a row stands: a path, a line of a list.

    Raises:
        InputError: one has more than 64 bits, or is no whole number.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind == "O":
        try:
            return np.array(values, np.int64)
        except OverflowError:
            row = next(row for row, one in enumerate(values) if not LEAST <= one <= MOST)
            raise unfit(values[row], what, where(row)) from None
    if values.dtype.kind == "f":
        # 2^63 is a float and one too many; NaN is not equal to itself.
        fits = (values == np.floor(values)) & (np.abs(values) < float(MOST))
    elif values.dtype.kind == "u":
        fits = values <= np.uint64(MOST)
    else:
        return values.astype(np.int64)
    if not fits.all():
        row = int(np.argmin(fits))
        raise unfit(values[row], what, where(row))
    return values.astype(np.int64)


def parse(text: str, what: str, where: str) -> int:
    """The number that a text is.

    Raises:
        InputError: it has more than 64 bits.
        ValueError: it is no whole number.
    """
    if len(text) < SAFE:
        return int(text)
    # Before `int`, which reads no more than 4300 digits.
    if text.isdecimal() and len(text.lstrip("0")) > len(str(MOST)):
        raise unfit(text, what, where)
    number = int(text)
    if not LEAST <= number <= MOST:
        raise unfit(text, what, where)
    return number


def shifted(values: np.ndarray, offset: int, what: str, where: str) -> np.ndarray:
    """Known numbers, those from 0 on, plus an offset; -1 stays.

    Raises:
        InputError: one would have more than 64 bits.
    """
    if int(values.max(initial=-1)) > MOST - offset:
        raise unfit(int(values.max()) + offset, what, where)
    return np.where(values < 0, values, values + offset)


def unfit(number: object, what: str, where: str) -> InputError:
    """What to say of a number that is too large."""
    shown = str(number)
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}... of {len(shown)} digits"
    return InputError(
        f"{where} has the {what} {shown}; expected a whole number of 64 bits, at most {MOST}; "
        "number identities and cameras anew, from 1"
    )
