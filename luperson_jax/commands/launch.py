"""One run, from its settings to its exit status: the same for both command lines."""

from collections.abc import Mapping
from typing import Any

from data_pipeline import terminal
from luperson_jax import config, sharding, tasks
from luperson_jax.run import evaluation, loop
from luperson_jax.run.reporter import NonFiniteLoss

MODES = ("train", "eval")


def join(distributed: bool, place: tuple[str | None, int | None, int | None]) -> None:
    """Joins the job that this process is one of, if it is; before anything asks for devices.

    Args:
        distributed: one of several processes, whose cluster says the rest.
        place: coordinator, number of processes and index of this one, where no cluster says it.

    Raises:
        InputError: a part of the place is missing, or the others are not reached.
    """
    if distributed or any(part is not None for part in place):
        sharding.join_job(*place)


def run(program: str, settings: Mapping[str, Any], workdir: str, mode: str) -> int:
    """Trains, or evaluates a checkpoint.

    Args:
        program: its name, for messages.
        settings: nested mapping with the groups of `config.Recipe`.
        workdir: folder of the run.
        mode: one of `MODES`.

    Returns:
        The exit status: 1 where the loss became NaN or infinite.

    Raises:
        InputError: wrong settings, data or workdir.
    """
    recipe = config.resolve(settings, tasks.OPTIONS)
    work = loop.run if mode == "train" else evaluation.run
    try:
        work(recipe, workdir, tasks.TASKS[recipe.task.name])
    except NonFiniteLoss as error:
        terminal.complain(program, error)
        return 1
    return 0
