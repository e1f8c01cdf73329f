"""Regular expressions of options, and what they find in paths."""

import re
from collections.abc import Sequence

from data_pipeline.errors import InputError
from data_pipeline.terminal import visible_name


def compiled(pattern: str, option: str) -> re.Pattern[str]:
    """Raises InputError where it is no regular expression."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"{option} is {pattern!r}, no regular expression ({error}); such as c(\\d+)"
        ) from error


def found(paths: Sequence[str], pattern: str, option: str) -> list[str | None]:
    """The first group of the pattern, or all that it matches, in each path; None where nowhere.

    Raises:
        InputError: no pattern, or one that matches no path at all.
    """
    finder = compiled(pattern, option)
    matches = [finder.search(path) for path in paths]
    if not any(matches):
        raise InputError(
            f"{option} {pattern!r} is found in no path; the first one is {visible_name(paths[0])}"
        )
    last = min(finder.groups, 1)
    return [one and one.group(last) for one in matches]
