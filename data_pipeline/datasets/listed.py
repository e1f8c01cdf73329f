"""Text files that name pictures: `path identity` on each line, as several data sets have them."""

from collections.abc import Sequence

from data_pipeline import whole_numbers
from data_pipeline.datasets import folders
from data_pipeline.errors import InputError


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
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.split() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; expected lines like {example!r}") from error
    found = []
    for number, fields in enumerate(lines, 1):
        if not fields:
            continue
        if len(fields) != 2 or not fields[1].isdecimal():
            raise InputError(
                f"line {number} of {path} is {' '.join(fields)!r}; expected a line like {example!r}"
            )
        pid = whole_numbers.parse(fields[1], "identity", f"line {number} of {path}")
        found.append((fields[0], pid))
    if not found:
        raise InputError(f"{path} names no picture; expected lines like {example!r}")
    return found


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
            f"{folders.some(missing)}; unpack the archive again, or take lists and pictures "
            "from the same release"
        )
