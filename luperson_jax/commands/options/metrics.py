"""`luperson metrics`: mAP, mINP and CMC of saved embeddings, exactly.

QUERY and GALLERY are .npz files with the arrays features [N, D], pid [N] and camera [N], from any
program, or folders that `luperson evaluate --save-embeddings` wrote. A gallery image of the
identity and the camera of a query does not count for it. The identity -1 is nobody's: its rows are
left aside on both sides, and their number is said.

Example:
    luperson metrics --query query.npz --gallery gallery.npz --rerank --report page.html
"""

import argparse

from luperson_jax.commands.options import shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--query", required=True, help=".npz or folder")
    parser.add_argument(
        "--gallery",
        required=True,
        action="append",
        help=".npz or folder; given several times, all of them are one gallery",
    )
    shared.add_metric_option(parser)
    shared.add_rerank_options(parser)
    shared.add_expand_option(parser)
    shared.add_protocol_option(parser)
    shared.add_output_options(parser)
