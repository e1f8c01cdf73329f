"""Text files that name pictures: `path identity` on each line, as several data sets have them."""

import os
from collections.abc import Sequence

from data_pipeline import whole_numbers
from data_pipeline.datasets import folders
from data_pipeline.errors import InputError
from data_pipeline.read import listing


def pairs(path: str, example: str) -> list[tuple[str, int]]:
    """The names and identities of a list. Windows line ends and blank lines do no harm.

    Args:
        path: the list.
        example: a line as it should be, for messages.

    Returns:
        (name, identity) of every line, in order.

    Raises:
        InputError: the list cannot be read, is empty or has a line that is no such pair.
    """
    found, numbers = [], []
    for number, fields in enumerate(map(str.split, lines(path, example)), 1):
        if not fields:
            continue
        if len(fields) != 2 or not fields[1].isdecimal():
            raise InputError(
                f"line {number} of {path} is {' '.join(fields)!r}; expected a line like {example!r}"
            )
        pid = whole_numbers.parse(fields[1], "identity", f"line {number} of {path}")
        found.append((slashes(fields[0]), pid))
        numbers.append(number)
    if not found:
        raise InputError(f"{path} names no picture; expected lines like {example!r}")
    check_once(path, numbers, [name for name, _ in found])
    return found


def lines(path: str, example: str) -> list[str]:
    """The lines of a list. Bytes that are no UTF-8 stay what they are, as in names of files.

    Raises:
        InputError: the file cannot be read or is no text.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            found = list(file)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; it is part of the data set and has lines like "
            f"{example!r}"
        ) from error
    if any("\0" in line for line in found):
        raise InputError(
            f"{path} is not a text file of one byte a letter; save it as UTF-8, or fetch it again; "
            f"expected lines like {example!r}"
        )
    return found


def slashes(name: str) -> str:
    """A path of a list with the separators of this system's: Windows writes `\\`."""
    return name.replace("\\", "/")


def check_once(source: str, numbers: Sequence[int], names: Sequence[str]) -> None:
    """Refuses a list that names a picture twice.

    Args:
        source: the list.
        numbers: [N] lines.
        names: [N] what each names.

    Raises:
        InputError: two lines name the same.
    """
    first: dict[str, int] = {}
    for number, name in zip(numbers, names, strict=True):
        if first.setdefault(name, number) != number:
            raise InputError(
                f"{source} names {name} twice, in the lines {first[name]} and {number}; remove one"
            )


def check_present(home: str, names: Sequence[str], source: str) -> None:
    """Refuses a list whose pictures are not all there.

    Every folder is read once, which for a hundred thousand pictures takes a second; to ask for
    each picture takes minutes on a network drive.

    Args:
        home: folder that the names are relative to.
        names: paths below it, with `/`.
        source: what names them, for messages.

    Raises:
        InputError: some are missing.
    """
    missing = folders.missing(home, names)
    if missing:
        raise InputError(
            f"{home} lacks {len(missing)} of the {len(names)} pictures that {source} names: "
            f"{folders.some(missing)}; {_near(home, missing[0])}. Unpack the archive again, or "
            "take lists and pictures from the same release"
        )


def _near(home: str, name: str) -> str:
    """What is there in the place of a missing picture."""
    path = os.path.join(home, name)
    folder, file = os.path.split(path)
    if not listing.is_folder(folder):
        return f"there is no folder {folder}"

    def stem(one: str) -> str:
        return os.path.splitext(one)[0].lower()

    alike = [one for one in listing.names(folder) if stem(one) == stem(file)]
    return f"there is no {path}{f' but {alike[0]} beside it' if alike else ''}"
