"""`python -m luperson_jax.main --config C --workdir W [--mode train|eval] [--config.x.y=v]`.

Reads the command line, sets up JAX and hands over. Kept short on purpose.
"""

import sys
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from data_pipeline import terminal
from data_pipeline.errors import InputError
from luperson_jax import config, evaluate, sharding, tasks, train
from luperson_jax.report import NonFiniteLoss

# Settings that a file leaves at their defaults can be given too; `resolve` finds misspelt ones.
CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file in configs/.", lock_config=False, accept_new_attributes=True
)
WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run; an existing one is resumed.")
MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "Train, or evaluate a checkpoint.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "One of several processes of a job.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, where no cluster.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes, where no cluster.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "This process, where no cluster.")


def parse(arguments: Sequence[str]) -> None:
    """Reads the flags; whatever is wrong with them is an InputError."""
    app.define_help_flags()
    try:
        rest = flags.FLAGS(arguments)
        chosen = CONFIG.value and CONFIG.value.to_dict()  # a file that failed to load raises here
    except Exception as error:  # a configuration is a program and may raise anything
        reason: object = error
        while isinstance(reason, Exception) and len(reason.args) == 1:
            reason = reason.args[0]  # they come wrapped in each other
        words = str(reason).strip()
        if "Traceback" in words:  # of the file; ml_collections quotes it whole
            words = words.splitlines()[-1]
        raise InputError(f"command line: {words}") from error
    if len(rest) > 1:
        raise InputError(f"command line: unexpected {rest[1]!r}; every option starts with --")
    if not chosen or not WORKDIR.value:
        raise InputError("--config FILE and --workdir FOLDER are needed")


def main(arguments: Sequence[str]) -> int:
    """Trains or evaluates. A mistake of the user ends with its message and status 2."""
    # Of the libraries, whose errors come with all their stacks: they are raised as well, and the
    # run speaks through its reporter.
    logging.set_verbosity(logging.FATAL)
    return terminal.run("luperson_jax", lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> int:
    parse(arguments)
    place = (COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    if DISTRIBUTED.value or any(part is not None for part in place):
        sharding.join_job(*place)
    recipe = config.resolve(CONFIG.value, tasks.OPTIONS)
    run = train.run if MODE.value == "train" else evaluate.run
    try:
        run(recipe, WORKDIR.value, tasks.TASKS[recipe.task.name])
    except NonFiniteLoss as error:
        terminal.complain("luperson_jax", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
