"""The work of `luperson train`: a run from a configuration, or from the recipe of its workdir."""

import argparse
import pathlib
from typing import Any

from absl import logging

from data_pipeline.errors import InputError
from luperson_jax import config, shipped, tasks
from luperson_jax.commands import launch
from luperson_jax.workdir import recipe_file


def run(options: argparse.Namespace) -> int:
    """Trains or evaluates; the exit status is that of `launch.run`.

    Raises:
        InputError: wrong settings, data or workdir.
    """
    logging.set_verbosity(logging.FATAL)  # of the libraries, as in `main`
    place = (options.coordinator, options.num_processes, options.process_id)
    launch.join(options.distributed, place)
    return launch.run("luperson", _settings(options), options.workdir, options.mode)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    if options.config:
        return config.read(options.config, options.changes, options=tasks.OPTIONS)
    folder = pathlib.Path(options.workdir)
    if not (folder / recipe_file.RECIPE_FILE).exists():
        raise InputError(
            f"{folder} holds no run to go on with: there is no {recipe_file.RECIPE_FILE}; give "
            f"--config, one of {', '.join(shipped.names())}, or a file"
        )
    settings = recipe_file.read(folder)
    settings = {name: one for name, one in settings.items() if name not in recipe_file.FACTS}
    for change in options.changes:
        settings = config.override(settings, change, tasks.OPTIONS)
    return settings
