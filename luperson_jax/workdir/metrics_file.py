"""`metrics.jsonl` of a workdir: a line a step, of names and numbers."""

import json
import pathlib
from typing import NamedTuple

from data_pipeline.errors import InputError

METRICS_FILE = "metrics.jsonl"
MAX_STEP = 2**62


class Line(NamedTuple):
    """One line: its bytes without the newline, its step, and all else that it holds."""

    text: bytes
    step: int
    values: dict[str, float]


def read(path: pathlib.Path) -> tuple[list[Line], int]:
    """The lines of a file, and how many of its lines cannot be read.

    A process that is killed leaves half a line, and disks and people do worse: what cannot be read
    is passed over and counted, never an error. A file that is missing has no lines.

    Raises:
        InputError: the file itself cannot be read.
    """
    try:
        texts = [text for text in path.read_bytes().split(b"\n") if text.strip()]
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    lines = [line for line in map(_parse, texts) if line is not None]
    return lines, len(texts) - len(lines)


def _parse(text: bytes) -> Line | None:
    try:
        values = json.loads(text)
        if not isinstance(values, dict) or type(values.get("step")) is not int:
            return None
        step = values.pop("step")
        numbers = {name: float(value) for name, value in values.items()}
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return Line(text, step, numbers) if 0 <= step < MAX_STEP else None
