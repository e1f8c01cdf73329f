"""`luperson <command>`: parses and hands over.

A module is imported only when its command is chosen, because JAX alone takes longer to import than
most commands work; and all of them where Ctrl-C is answered in one line.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from data_pipeline import terminal
from data_pipeline.errors import InputError, suggest

if TYPE_CHECKING:
    import argparse


PROGRAM = "luperson"


class Command(NamedTuple):
    """One command.

    Attributes:
        words: for the list of commands.
        work: name of the module in `commands` with `run(options)`.
        options: name of the module there with `add_options(parser)` and the help as its docstring.
    """

    words: str
    work: str
    options: str


COMMANDS = {
    "data make": Command(
        "draw a synthetic world and write it in the layout of a data set",
        "data_make",
        "data_make",
    ),
    "data check": Command(
        "recognize a folder, count, decode and compare with the published numbers",
        "data_check",
        "data_check",
    ),
    "data pack": Command(
        "put the pictures of a data set into a few large files", "data_pack", "data_pack"
    ),
    "data split": Command("write lists of a part of a training set", "data_split", "data_split"),
    "data folds": Command("cut a small labelled set into folds", "data_folds", "data_folds"),
    "data extract": Command(
        "crops of LUPerson from videos and detections", "data_extract", "data_extract"
    ),
    "data gather": Command("put crops into LUPerson's LMDB", "data_gather", "data_gather"),
    "data unpack": Command("a zip or tar archive, or pieces of one", "data_unpack", "data_unpack"),
    "data statistics": Command(
        "mean and standard deviation of pixels", "data_statistics", "data_statistics"
    ),
    "train": Command("train by a configuration, or go on with a run", "train", "options.train"),
    "plan": Command(
        "does a run fit on a machine, and how fast can it be there", "plan", "options.plan"
    ),
    "local-labels": Command(
        "CALR's first stage: clusters of each camera alone",
        "local_labels",
        "options.local_labels",
    ),
    "study": Command("a table of runs with several seeds", "study", "options.study"),
    "evaluate": Command(
        "embed query and gallery with a workdir's network and rank", "evaluate", "options.evaluate"
    ),
    "metrics": Command("mAP, mINP and CMC of saved embeddings", "metrics", "options.metrics"),
    "embed": Command("features of your own pictures", "embed", "options.embed"),
    "index": Command("pictures, embedded to be searched often", "index", "options.index"),
    "index-show": Command("what an index holds", "index_show", "options.index_show"),
    "index-remove": Command(
        "take pictures out of an index", "index_remove", "options.index_remove"
    ),
    "index-export": Command(
        "an index for faiss or usearch", "index_export", "options.index_export"
    ),
    "index-import": Command(
        "an index from faiss or usearch", "index_import", "options.index_import"
    ),
    "serve": Command("an index in a browser, on this machine", "serve", "options.serve"),
    "search": Command("the nearest gallery pictures of query pictures", "search", "options.search"),
    "cluster": Command("group pictures by who they show", "cluster", "options.cluster"),
    "calibrate": Command(
        "the threshold for a wanted share of false accepts", "calibrate", "options.calibrate"
    ),
    "estimate": Command(
        "mAP and Rank-1 of one's own cameras without labels", "estimate", "options.estimate"
    ),
    "doctor": Command(
        "what is installed, what it runs on, and whether it works", "doctor", "options.doctor"
    ),
    "pack-model": Command(
        "a model as a folder for others, with a card", "pack_model", "options.pack_model"
    ),
    "export": Command(
        "a network for ONNX Runtime, PyTorch, BoxMOT and others", "export", "options.export"
    ),
    "completion": Command(
        "a script that makes the shell complete all this", "completion", "options.completion"
    ),
    "convert": Command("PyTorch checkpoints to ours and back", "convert", "options.convert"),
}
GROUPS = {"data": "data sets: make, check, pack, split, folds, extract, gather, unpack, statistics"}


def make_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """All commands, and the options of the one that the arguments begin with.

    Raises:
        InputError: they begin with what is no command.
    """
    chosen = _chosen(arguments)
    return _parser([chosen] if chosen else [])


def _parser(filled: Collection[str]) -> argparse.ArgumentParser:
    """All commands, and the options of some."""
    from luperson_jax.commands.options import parser as parsers

    parser = parsers.Parser(prog="luperson", description="Person re-identification in JAX.")
    parsers.add_version(parser)
    top = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    groups = {
        name: top.add_parser(name, help=words).add_subparsers(
            dest=f"{name}_command", required=True, metavar="COMMAND"
        )
        for name, words in GROUPS.items()
    }
    for name, command in COMMANDS.items():
        group, _, inner = name.rpartition(" ")
        one = (groups[group] if group else top).add_parser(
            inner, help=command.words, formatter_class=parsers.Help
        )
        if name in filled:
            module = _module(command.options)
            one.description = module.__doc__
            module.add_options(one)
    return parser


def _chosen(arguments: Sequence[str]) -> str | None:
    """The command that arguments begin with, if they begin with one."""
    first = next(iter(arguments), "-")
    if first in GROUPS and len(arguments) > 1:
        first = f"{first} {arguments[1]}"
    if first in COMMANDS:
        return first
    if first.rpartition(" ")[2].startswith("-") or first in GROUPS:
        return None
    raise InputError(f"no command is called {first!r}{suggest(first, [*COMMANDS, *GROUPS])}")


def _module(name: str):
    return importlib.import_module(f"luperson_jax.commands.{name}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status is 2 where the user has something to mend."""
    given = sys.argv[1:] if arguments is None else arguments
    if arguments is None and given[:1] in (["train"], ["study"]):
        from luperson_jax import host_memory  # late: others would import it for nothing

        host_memory.take_large_pages()
    return terminal.run(PROGRAM, lambda: _run(given))


def _run(arguments: Sequence[str]) -> int:
    with terminal.importing(PROGRAM):
        options = make_parser(arguments).parse_args(arguments)
        chosen = _chosen(arguments)
        assert chosen is not None  # or the parser had raised
        if chosen == "completion":
            options.parser = _parser(COMMANDS)
        work = _module(COMMANDS[chosen].work)
        if "absl.logging" in sys.modules:
            _silence_libraries()
        if "jax" in sys.modules:
            _keep_programs()
    return work.run(options) or 0


def _silence_libraries() -> None:
    from absl import logging  # late: it is not imported for this alone

    logging.set_verbosity(logging.ERROR)


def _keep_programs() -> None:
    from luperson_jax.run import programs  # late: it imports JAX

    programs.keep()


if __name__ == "__main__":
    sys.exit(main())
