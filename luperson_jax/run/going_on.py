"""What ends a run early, in words for who starts it again; and that nobody does so meanwhile."""

import contextlib
import pathlib
from collections.abc import Iterator

import jax

from data_pipeline.errors import InputError
from luperson_jax import sharding
from luperson_jax.workdir import lock, saved_steps


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[str | None]:
    """`lock.held`, taken by process 0 for its whole job.

    Raises:
        InputError: another run holds the workdir; in all processes.
    """
    with contextlib.ExitStack() as stack:
        note, refusal = None, None
        if jax.process_index() == 0:
            try:
                note = stack.enter_context(lock.held(workdir))
            except InputError as error:
                refusal = error
        if sharding.anywhere(refusal is not None):
            raise refusal or InputError("process 0 of the job says why it cannot go on")
        yield note


def words(workdir: pathlib.Path, total_steps: int) -> str:
    """What is saved, and how the run goes on."""
    saved = saved_steps.of(workdir)
    if not saved:
        return "nothing was saved yet, and the same command begins again"
    return (
        f"step {saved[-1]} of {total_steps} is saved in {workdir}, and the same command goes on "
        "from there"
    )


def otherwise(workdir: pathlib.Path, rate: float) -> str:
    """How a run that diverged goes on with other settings; `rate` is its `optim.lr`."""
    saved = saved_steps.of(workdir)
    begin = f"step {saved[-1]} is the last one saved" if saved else "nothing was saved yet"
    return (
        f"{begin}; the same command would go on from there and end here again. Give it with a "
        f"lower rate, as optim.lr={rate / 2:g} (it is {rate:g}), or with "
        "optim.clip_norm=1.0, and it goes on"
    )
