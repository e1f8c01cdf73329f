"""`luperson completion SHELL`: what makes the shell complete commands, options, choices and paths.

The script goes to the standard output. Append it to ~/.bashrc, put it as _luperson into a folder of
zsh's fpath, or have it read at the start of the shell.

Example:
    luperson completion bash
    luperson completion zsh
"""

import argparse

SHELLS = ("bash", "zsh", "tcsh", "fish")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("shell", choices=SHELLS, help="which shell")
