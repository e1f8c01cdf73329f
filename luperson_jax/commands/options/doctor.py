"""`luperson doctor`: what is installed, what it runs on, and whether it works, in a few seconds.

The status is 1 where the self-test fails.

Example:
    luperson doctor --json doctor.json
"""

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--json", metavar="OUT", help="write all that is said")
