"""`luperson evaluate`: embeds query and gallery of a data set with a network and ranks.

The network, its input size and pixel statistics are those of a run (--workdir; what is left out
here keeps its recipe's setting) or of a file of weights (--weights). Of video sets
tracklets are ranked, by the mean of their frames unless --pool says otherwise.

Example:
    luperson evaluate --workdir runs/bot --dataset market1501 --root Market-1501-v15.09.15
"""

import argparse

from data_pipeline import datasets
from luperson_jax.commands.options import shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--dataset", required=True, help=", ".join(datasets.DATASETS))
    parser.add_argument("--root", required=True, help="folder of the data set")
    shared.add_split_option(parser)
    shared.add_network_options(parser)
    parser.add_argument(
        "--pool",
        choices=("auto", "mean", "max", "none"),
        help="how the frames of a tracklet become one feature; none ranks single frames, auto "
        "takes the mean where there are tracklets (default: the recipe's; with --weights auto)",
    )
    shared.add_metric_option(parser, default=None)
    shared.add_rerank_options(parser)
    shared.add_expand_option(parser)
    shared.add_protocol_option(parser)
    shared.add_output_options(parser)
    parser.add_argument(
        "--save-embeddings", metavar="DIR", help="folder to be made, with query and gallery in it"
    )
