"""`python -m luperson_jax.main --config C --workdir W [--mode train|eval] [--config.x.y=v]`.

Reads the command line and hands over; `luperson train` is the same with fewer words.

Example:
    python -m luperson_jax.main --config configs/finetune_bot.py:init=scratch \\
        --workdir runs/bot --config.data.root=Market-1501-v15.09.15 \\
        --config.eval.root=Market-1501-v15.09.15
"""

import sys
from collections.abc import Sequence

from data_pipeline import terminal
from luperson_jax import host_memory

PROGRAM = "luperson_jax"


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains or evaluates. A mistake of the user ends with its message and status 2."""
    if arguments is None:
        host_memory.take_large_pages()
    given = sys.argv[1:] if arguments is None else arguments
    return terminal.run(PROGRAM, lambda: _run(given))


def _run(arguments: Sequence[str]) -> int:
    with terminal.importing(PROGRAM):
        from luperson_jax.commands.options import parser as parsers
        from luperson_jax.commands.options import train as options

        parser = parsers.Parser(
            prog="python -m luperson_jax.main", description=__doc__, formatter_class=parsers.Help
        )
        parsers.add_version(parser)
        options.add_options(parser)
        chosen = parser.parse_args(arguments)

        from luperson_jax.commands import train
        from luperson_jax.run import programs
    programs.keep()
    return train.run(chosen, PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
