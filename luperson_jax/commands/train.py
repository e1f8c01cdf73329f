"""The work of both command lines that train: a run from a configuration, or from the recipe of its
workdir."""

import argparse
import pathlib
from typing import Any

from absl import logging

from data_pipeline import terminal
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from luperson_jax import config, shipped, tasks
from luperson_jax.run import eval_mode, loop, peers
from luperson_jax.run.reporter import NonFiniteLoss
from luperson_jax.workdir import recipe_file


def run(options: argparse.Namespace, program: str = "luperson") -> int:
    """Trains, or evaluates a checkpoint.

    Args:
        options: of the command line.
        program: its name, for messages.

    Returns:
        The exit status: 1 where the loss became NaN or infinite.

    Raises:
        InputError: wrong settings, data or workdir; the other processes of a job are not reached.
    """
    # Of the libraries, whose errors come with all their stacks: they are raised as well, and the
    # run speaks through its reporter.
    logging.set_verbosity(logging.FATAL)
    place = (options.coordinator, options.num_processes, options.process_id)
    if options.distributed or any(part is not None for part in place):
        peers.join(*place)  # before anything asks for devices
    recipe = config.resolve(_settings(options), tasks.OPTIONS)
    work = loop.run if options.mode == "train" else eval_mode.run
    try:
        work(recipe, options.workdir, tasks.TASKS[recipe.task.name])
    except NonFiniteLoss as error:
        terminal.complain(program, error)
        return 1
    return 0


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    if options.config:
        return config.read(options.config, options.changes, options=tasks.OPTIONS)
    folder = pathlib.Path(options.workdir)
    if not listing.exists(folder / recipe_file.RECIPE_FILE):
        raise InputError(
            f"{folder} holds no run to go on with: there is no {recipe_file.RECIPE_FILE}; give "
            f"--config, one of {', '.join(shipped.names())}, or a file"
        )
    settings = recipe_file.settings(folder)
    for change in options.changes:
        settings = config.override(settings, change, tasks.OPTIONS)
    return settings
