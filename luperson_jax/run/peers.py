"""The other processes of a job. One that is lost ends all: no step is made without the rest."""

import contextlib
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import jax

from data_pipeline import terminal
from data_pipeline.errors import InputError
from luperson_jax.run import stderr_filter

HEARTBEAT_SECONDS = 60
"""After which a process that is not heard of any more counts as lost. Usually its connections end
with it, and the others notice at once."""
LOST = (
    "another process of this job has ended or cannot be reached, so that this one ends as well; "
    "start all of them again with the same command, which goes on from the last checkpoint"
)
STATUS = 1
FAILED = (jax.errors.JaxRuntimeError, TimeoutError)
"""How a step ends, and how waiting for the others at a save does."""
CODES = re.compile("(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED): ")
"""How texts of the same begin where a program could not even start, which is a ValueError."""


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Makes this process one of a job's. On Slurm, Kubernetes, Open MPI and Cloud TPU all three
    are known and may be None.

    Raises:
        InputError: nobody tells them, or they do not fit each other.
    """
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"cannot join the job of --coordinator={coordinator} "
            f"--num_processes={num_processes} --process_id={process_id}: {error}; outside of a "
            "cluster give all three, with process_id from 0 to num_processes - 1"
        ) from error
    _filter_stderr()


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Within, a process whose step or save fails for want of the others ends at once, with one
    message: whatever it would have to wait for does not come."""
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1 or not any(map(_is_of_the_job, _chain(error))):
            raise
        terminal.say()  # nothing more, but what was said goes out
        terminal.complain("luperson", f"{LOST} (here: {_first_line(error)})")
        os._exit(STATUS)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _is_of_the_job(error: BaseException) -> bool:
    return isinstance(error, FAILED) or (
        isinstance(error, ValueError) and CODES.match(str(error)) is not None
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it comes from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _filter_stderr() -> None:
    """Puts `stderr_filter` behind the standard error of this process and of those it starts."""
    command = [sys.executable, "-I", str(pathlib.Path(stderr_filter.__file__)), f"luperson: {LOST}"]
    with contextlib.suppress(OSError):  # no such process: JAX then speaks for itself
        passing = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2, start_new_session=True)
        assert passing.stdin is not None
        os.dup2(passing.stdin.fileno(), 2)
        passing.stdin.close()
