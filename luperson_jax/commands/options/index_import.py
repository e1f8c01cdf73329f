"""`luperson index-import FOLDER DIR --from LIBRARY`: the index of `luperson index-export` back.

Example:
    luperson index-import people-faiss people --from faiss
"""

import argparse

from luperson_jax.commands.options.index_export import LIBRARIES


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("source", metavar="FOLDER", help="of `luperson index-export`")
    parser.add_argument("index", metavar="DIR", help="folder of the index, to be made")
    parser.add_argument(
        "--from", dest="library", required=True, choices=LIBRARIES, help="which library"
    )
