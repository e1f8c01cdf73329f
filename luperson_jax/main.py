"""`python -m luperson_jax.main --config C --workdir W [--mode train|eval] [--config.x.y=v]`.

Reads the configuration, sets up JAX and hands over. Kept short on purpose.
"""

import sys
from collections.abc import Sequence

import jax
from absl import app, flags
from ml_collections import config_flags

from data_pipeline.errors import InputError
from luperson_jax import config, evaluate, tasks, train
from luperson_jax.report import NonFiniteLoss

CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file, see configs/.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; an existing one is resumed.")
MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "Train, or evaluate a checkpoint.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "One of several processes of a job.")
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0; see docs/scaling.md."
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes of the job.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")


def parse(arguments: Sequence[str]) -> list[str]:
    """Command-line flags; whatever is wrong with them is an InputError."""
    try:
        rest = flags.FLAGS(arguments)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"command line: {error}") from error
    if len(rest) > 1:
        raise InputError(f"command line: unexpected {rest[1]!r}; every option starts with --")
    if CONFIG.value is None or not WORKDIR.value:
        raise InputError("--config FILE and --workdir FOLDER are needed")
    return rest


def main(arguments: Sequence[str]) -> None:
    """Trains or evaluates."""
    del arguments
    if DISTRIBUTED.value or COORDINATOR.value:
        jax.distributed.initialize(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    recipe = config.resolve(CONFIG.value, tasks.OPTIONS)
    task = tasks.TASKS[recipe.task.name]
    (train.run if MODE.value == "train" else evaluate.run)(recipe, WORKDIR.value, task)


def entry() -> None:
    """Runs `main`; a mistake of the user ends with its message and status 2."""
    try:
        main(parse(sys.argv))
    except InputError as error:
        sys.exit(_say(str(error), 2))
    except NonFiniteLoss as error:
        sys.exit(_say(str(error), 1))


def _say(message: str, status: int) -> int:
    sys.stderr.write(f"luperson_jax: {message}\n")
    return status


if __name__ == "__main__":
    entry()
