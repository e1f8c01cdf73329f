"""`luperson data check NAME DIR`: what a folder is, and how it compares with what was published.

Example:
    luperson data check market1501 Market-1501-v15.09.15
"""

import argparse
import pathlib

from data_pipeline import datasets, doctor, findings
from luperson_jax.commands import output
from luperson_jax.commands.options import shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("name", metavar="NAME", help=f"auto, {', '.join(datasets.DATASETS)}")
    parser.add_argument("root", metavar="DIR", help="folder of the data set")
    shared.add_split_option(parser)
    parser.add_argument(
        "--own",
        action="store_true",
        help="pictures of your own in a published layout: judged by whether queries can match, "
        "not by the published numbers",
    )
    parser.add_argument("--quick", action="store_true", help="read names only, decode nothing")
    parser.add_argument("--workers", type=int, default=4, help="threads that decode")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the findings")


def run(options: argparse.Namespace) -> int:
    """Says what a folder is; the exit status is 1 where it is not what was published, or cannot be
    evaluated."""
    output.check_file(options.json, "--json")
    found = doctor.examine(
        options.name,
        options.root,
        split=options.split,
        own=options.own,
        pictures=not options.quick,
        workers=max(options.workers, 1),
    )
    output.say(*findings.describe(found))
    if options.json:
        output.write_json(options.json, findings.to_dict(found))
    return 0 if found.passed else 1
