"""JSON files that users may have damaged."""

import json
import pathlib
from typing import Any

from data_pipeline.errors import InputError
from data_pipeline.read import listing


def read(path: pathlib.Path, advice: str, kind: type = dict) -> Any:
    """What a file holds, of the given kind.

    Args:
        path: the file.
        advice: the end of the messages: what to do.
        kind: dict or list.

    Raises:
        InputError: it is missing, cannot be opened, or holds something else.
    """
    if not listing.exists(path):
        raise InputError(f"{path} is missing; {advice}")
    listing.check_opens(path)
    try:
        value = json.loads(path.read_text())
        if not isinstance(value, kind):
            raise ValueError(f"a {type(value).__name__}")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); {advice}") from error
    return value
