"""`python -m luperson_jax.main --config C --workdir W [--mode train|eval] [--config.x.y=v]`.

Reads the command line, sets up JAX and hands over. Kept short on purpose.
"""

import sys
from collections.abc import Sequence

from absl import app, flags, logging

from data_pipeline import terminal
from data_pipeline.errors import InputError
from luperson_jax import config, evaluate, sharding, tasks, train
from luperson_jax.report import NonFiniteLoss

CONFIG = flags.DEFINE_string(
    "config", None, "Configuration: FILE or FILE:ARGUMENT. --config.GROUP.SETTING=VALUE changes it."
)
WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run; an existing one is resumed.")
MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "Train, or evaluate a checkpoint.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "One of several processes of a job.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, where no cluster.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes, where no cluster.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "This process, where no cluster.")


def parse(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Reads the flags: the configuration and the changes to its settings; a mistake is an
    InputError."""
    app.define_help_flags()
    changes, others = _changes(arguments)
    try:
        rest = flags.FLAGS(others)
    except flags.Error as error:
        raise InputError(f"command line: {error}") from error
    if len(rest) > 1:
        raise InputError(f"command line: unexpected {rest[1]!r}; every option starts with --")
    if not CONFIG.value or not WORKDIR.value:
        raise InputError("--config FILE and --workdir FOLDER are needed")
    return CONFIG.value, changes


def _changes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """`group.setting=value` of each --config.group.setting, and the other arguments."""
    changes, others = [], []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        _, mark, change = argument.partition("-config.")
        if not mark or argument.lstrip("-") != f"config.{change}":
            others.append(argument)
            continue
        if "=" not in change and waiting and not waiting[0].startswith("-"):
            change += f"={waiting.pop(0)}"
        changes.append(change)
    return changes, others


def main(arguments: Sequence[str]) -> int:
    """Trains or evaluates. A mistake of the user ends with its message and status 2."""
    # Of the libraries, whose errors come with all their stacks: they are raised as well, and the
    # run speaks through its reporter.
    logging.set_verbosity(logging.FATAL)
    return terminal.run("luperson_jax", lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> int:
    chosen, changes = parse(arguments)
    place = (COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    if DISTRIBUTED.value or any(part is not None for part in place):
        sharding.join_job(*place)
    settings = config.read(chosen, changes, options=tasks.OPTIONS)
    recipe = config.resolve(settings, tasks.OPTIONS)
    run = train.run if MODE.value == "train" else evaluate.run
    try:
        run(recipe, WORKDIR.value, tasks.TASKS[recipe.task.name])
    except NonFiniteLoss as error:
        terminal.complain("luperson_jax", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
