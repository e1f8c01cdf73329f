"""The work of `luperson completion`: a script for the shell, by shtab."""

import argparse
from typing import Any

import shtab

from luperson_jax.commands import output

FILES = ("FILE", "OUT", "PATH", "SOURCE", "IN", "QUERY", "IMAGES", "SHEET", "OUT.html")
FOLDERS = ("DIR", "FOLDER", "ROOT")
"""How help calls what is a path."""


def run(options: argparse.Namespace) -> None:
    """Says the script for all commands, which `options.parser` knows."""
    _mark_paths(options.parser)
    output.say(shtab.complete(options.parser, shell=options.shell))


def _mark_paths(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                _mark_paths(one)
            continue
        named: Any = action
        if action.metavar in FILES:
            named.complete = shtab.FILE
        elif action.metavar in FOLDERS or action.dest in ("root", "workdir", "gallery"):
            named.complete = shtab.DIRECTORY
