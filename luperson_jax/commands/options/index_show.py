"""`luperson index-show DIR`: what an index holds.

Pictures, cameras, first and last moment, and the network that made the features. With a network
(--workdir or --weights) it is told whether that is the one, and which thresholds it has.

Example:
    luperson index-show people
    luperson index-show people --weights people-r50 --json people.json
"""

import argparse

from luperson_jax.commands.options import shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("index", metavar="DIR", help="of `luperson index`")
    parser.add_argument("--json", metavar="OUT", help="write the figures")
    shared.add_network_options(parser)
