"""`luperson completion SHELL`: what makes the shell complete commands, options, choices and paths.

The script goes to the standard output: to where the shell looks for it, or to be read at its start.

Example:
    luperson completion bash >> ~/.bashrc
    luperson completion zsh > ~/.zsh/completions/_luperson
    luperson completion tcsh > ~/.luperson.tcsh
"""

import argparse

SHELLS = ("bash", "zsh", "tcsh", "fish")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("shell", choices=SHELLS, help="which shell")
