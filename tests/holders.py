"""Another process that holds a lock."""

import contextlib
import pathlib
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def holding(program: str, folder: str) -> Iterator[subprocess.Popen]:
    """A process that runs `program` with `folder` as its argument, from when it has said `held`."""
    holder = subprocess.Popen(
        [sys.executable, "-c", program, folder],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder
