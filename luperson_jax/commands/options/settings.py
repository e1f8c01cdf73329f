"""Changes of settings, the same on every command line: `GROUP.SETTING=VALUE`, or the same after
`--config.`, with a space in place of the sign if one likes."""

import argparse
from collections.abc import Sequence

CHANGES = "changes"


def add_changes(parser: argparse.ArgumentParser) -> None:
    """The changes, which may stand anywhere among the options."""
    parser.add_argument(
        CHANGES,
        nargs="*",
        metavar="GROUP.SETTING=VALUE",
        help="changes a setting, such as optim.lr=0.1; --config.optim.lr=0.1 is the same",
    )


def plain(arguments: Sequence[str]) -> list[str]:
    """The arguments, with `group.setting=value` for every `--config.group.setting=value`."""
    written, waiting = [], list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name = argument.lstrip("-")
        if argument.startswith("-") and name.startswith("config."):
            argument = name.removeprefix("config.")
            if "=" not in argument and waiting and not waiting[0].startswith("-"):
                argument += f"={waiting.pop(0)}"
        written.append(argument)
    return written
