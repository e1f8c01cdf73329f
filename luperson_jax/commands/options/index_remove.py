"""`luperson index-remove DIR`: takes pictures out of an index.

Those go that fit all of the options given. A picture without a known moment fits no --before: the
command tells how many such stay. The files of the pictures themselves are left alone. The features
are written anew without those of the removed pictures, and the former file is deleted.

Example:
    luperson index-remove people --before 2026-10-30
    luperson index-remove people --path "entrance/.*_0012_" --dry-run
"""

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("index", metavar="DIR", help="of `luperson index`")
    parser.add_argument(
        "--path", metavar="REGEX", help="pictures in whose path the expression finds something"
    )
    parser.add_argument(
        "--before", metavar="MOMENT", help="pictures taken before it, in the form of ISO 8601"
    )
    parser.add_argument(
        "--camera",
        nargs="+",
        metavar="NAME",
        help="pictures of these cameras, as paths have them",
    )
    parser.add_argument(
        "--id",
        nargs="+",
        type=int,
        metavar="N",
        help="pictures of these numbers in the index (default: of any)",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the pictures, change nothing")
