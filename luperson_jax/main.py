"""`python -m luperson_jax.main --config C --workdir W [--mode train|eval] [--config.x.y=v]`.

Reads the command line and hands over; `luperson train` is the same with fewer words.

Example:
    python -m luperson_jax.main --config configs/finetune_bot.py:init=scratch \\
        --workdir runs/bot --config.data.root=Market-1501-v15.09.15 \\
        --config.eval.root=Market-1501-v15.09.15
"""

import sys
from collections.abc import Sequence

from absl import flags, logging

import luperson_jax
from data_pipeline import terminal
from data_pipeline.errors import InputError
from luperson_jax import config, tasks
from luperson_jax.commands import launch
from luperson_jax.run import programs

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


def _help() -> str:
    """The options of this program and no other's."""
    assert __doc__ is not None
    lines = [__doc__]
    for flag in (CONFIG, WORKDIR, MODE, DISTRIBUTED, COORDINATOR, NUM_PROCESSES, PROCESS_ID):
        default = f" (default: {flag.default})" if flag.default else ""
        lines.append(f"  --{flag.name}\n      {flags.FLAGS[flag.name].help}{default}")
    return "\n".join([*lines, "  --help\n      Say this.", "  --version\n      Say it."])


def _run(arguments: Sequence[str]) -> int:
    if {"-h", "--help", "-help"} & set(arguments):
        terminal.say(_help())
        return 0
    if "--version" in arguments:
        terminal.say(f"luperson_jax {luperson_jax.__version__}")
        return 0
    chosen, changes = parse(arguments)
    programs.keep()
    place = (COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    launch.join(bool(DISTRIBUTED.value), place)
    settings = config.read(chosen, changes, options=tasks.OPTIONS)
    return launch.run("luperson_jax", settings, WORKDIR.value, MODE.value)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
