"""`luperson <command>`: everything beside training. Parses and hands over."""

import argparse
import sys
from collections.abc import Sequence

from absl import logging

from data_pipeline import terminal
from data_pipeline.errors import InputError
from luperson_jax.commands import (
    calibrate,
    data_check,
    data_make,
    data_pack,
    data_split,
    embed,
    evaluate,
    metrics,
    search,
)
from luperson_jax.convert import command as convert

COMMANDS = {
    "data make": ("draw a synthetic world and write it in the layout of a data set", data_make),
    "data check": (
        "recognize a folder, count, decode and compare with the published numbers",
        data_check,
    ),
    "data pack": ("put the pictures of a data set into a few large files", data_pack),
    "data split": ("write lists of a part of a training set", data_split),
    "evaluate": ("embed query and gallery with a workdir's network and rank", evaluate),
    "metrics": ("mAP, mINP and CMC of saved embeddings", metrics),
    "embed": ("features of your own pictures", embed),
    "search": ("the nearest gallery pictures of query pictures", search),
    "calibrate": ("the threshold for a wanted share of false accepts", calibrate),
    "convert": ("PyTorch checkpoints to ours and back", convert),
}
"""Words for the help, and the module with `add_options(parser)` and `run(options)`."""
GROUPS = {"data": "data sets"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(f"{message}\n{self.format_usage().strip()}")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Names the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.required or action.default in (None, False, [])
        return action.help if silent else super()._get_help_string(action)


def make_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = _Parser(prog="luperson", description="Person re-identification in JAX.")
    top = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    groups = {
        name: top.add_parser(name, help=words).add_subparsers(
            dest=f"{name}_command", required=True, metavar="COMMAND"
        )
        for name, words in GROUPS.items()
    }
    for name, (words, module) in COMMANDS.items():
        group, _, inner = name.rpartition(" ")
        one = (groups[group] if group else top).add_parser(
            inner,
            help=words,
            description=module.__doc__,
            formatter_class=_Help,
        )
        module.add_options(one)
        one.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status is 2 where the user has something to mend."""
    logging.set_verbosity(logging.ERROR)  # of the libraries
    return terminal.run("luperson", lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    options = make_parser().parse_args(arguments)
    return options.run(options) or 0


if __name__ == "__main__":
    sys.exit(main())
