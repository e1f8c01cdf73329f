"""`luperson <command>`: everything beside training. Parses and hands over."""

import argparse
import sys
from collections.abc import Sequence

from absl import logging

from data_pipeline.errors import InputError
from luperson_jax import data_commands, pack_command
from luperson_jax.convert import command

DATA_COMMANDS = {
    "make": (
        "draw a synthetic world and write it in the layout of a data set",
        data_commands.add_make_options,
        data_commands.run_make,
    ),
    "check": (
        "recognize a folder, count, decode and compare with the published numbers",
        data_commands.add_check_options,
        data_commands.run_check,
    ),
    "pack": (
        "put the pictures of a data set into a few large files",
        pack_command.add_options,
        pack_command.run,
    ),
    "split": (
        "write lists of a part of a training set",
        data_commands.add_split_options,
        data_commands.run_split,
    ),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(f"{message}\n{self.format_usage().strip()}")


def make_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = _Parser(prog="luperson", description="Person re-identification in JAX.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    data = commands.add_parser("data", help="data sets").add_subparsers(
        dest="data_command", required=True, metavar="COMMAND"
    )
    for name, (words, add, run) in DATA_COMMANDS.items():
        one = data.add_parser(
            name, help=words, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        add(one)
        one.set_defaults(run=run)
    convert = commands.add_parser(
        "convert", help="PyTorch checkpoints to ours and back", description=command.__doc__
    )
    command.add_options(convert)
    convert.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status is 2 where the user has something to mend."""
    logging.set_verbosity(logging.ERROR)  # of the libraries
    try:
        options = make_parser().parse_args(arguments)
        return options.run(options) or 0
    except InputError as error:
        sys.stderr.write(f"luperson: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
