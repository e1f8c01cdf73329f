"""The one exception for mistakes that the user can mend, and the hint that goes with it."""

import contextlib
import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

# Ways of not being there, as against being refused: the last two are links in a circle and names
# that no file system takes.
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

ARGUMENT = re.compile(r"`(\w+)`")


class InputError(Exception):
    """A wrong path, key, file, shape or value that came from outside the program.

    The message says what was given, what was expected and what to do, with arguments of functions
    in backticks, see `arguments_named`. The entry points print it without a traceback and exit with
    status 2.
    """


@contextlib.contextmanager
def arguments_named(names: Mapping[str, str]) -> Iterator[None]:
    """Inside, messages call arguments what the user knows them by, as in {"root": "--root"}."""
    try:
        yield
    except InputError as error:
        if type(error) is InputError:  # Others hold more than a message.
            error.args = (ARGUMENT.sub(lambda one: names.get(one[1], one[0]), str(error)),)
        raise


def suggest(given: str, valid: Iterable[str]) -> str:
    """`; did you mean X?` with the nearest valid name, or the list of all: ends a message."""
    names = sorted(valid)
    near = difflib.get_close_matches(given, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; valid are {', '.join(names)}"


def shorten(lines: Sequence[str], limit: int = 10) -> list[str]:
    """The first of many lines, and how many more there are."""
    more = [f"and {len(lines) - limit} more"] if len(lines) > limit else []
    return [*lines[:limit], *more]


def refusal(path: str | os.PathLike[str], error: OSError) -> InputError:
    """What to say of a folder or file that the system does not show."""
    if isinstance(error, PermissionError):
        remedy = (
            "give this user the right to read it (`chmod -R u+rX`, or ask its owner), or move it "
            "out of the folder that was given; it is not passed over"
        )
    elif error.errno in ABSENT:
        remedy = "check the path"
    else:
        remedy = "check that its disk or network drive is whole and mounted"
    return InputError(f"cannot read {os.fspath(path)}: {error.strerror or error}; {remedy}")


def out_of_memory(error: MemoryError) -> str:
    """The message for memory that ran out, which the entry points print with status 1."""
    reason = f" ({error})" if str(error) else ""
    return (
        f"there is not enough memory{reason}; use smaller batches, pictures or fewer workers, "
        "close other programs, or check that the files are what their names say"
    )
