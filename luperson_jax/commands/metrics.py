"""`luperson metrics`: mAP, mINP and CMC of saved embeddings, exactly.

QUERY and GALLERY are .npz files with the arrays features [N, D], pid [N] and camera [N], from any
program, or folders that `luperson evaluate --save-embeddings` wrote. A gallery image of the
identity and the camera of a query does not count for it.
"""

import argparse
import pathlib

from luperson_jax import embeddings
from luperson_jax.commands import ranked


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--query", required=True, help=".npz or folder")
    parser.add_argument(
        "--gallery",
        required=True,
        action="append",
        help=".npz or folder; given several times, all of them are one gallery",
    )
    ranked.add_metric_option(parser)
    ranked.add_rerank_options(parser)
    ranked.add_expand_option(parser)
    ranked.add_protocol_option(parser)
    ranked.add_output_options(parser)


def run(options: argparse.Namespace) -> None:
    """Ranks, prints and writes.

    Raises:
        InputError: wrong files, arrays or settings, or no query with a match.
    """
    ranked.check_outputs(options)
    query = embeddings.read(options.query, labelled=True)
    galleries = [embeddings.read(path, labelled=True) for path in options.gallery]
    names = [pathlib.Path(path).name for path in (options.query, *options.gallery)]
    title = f"{names[0]} in {' and '.join(names[1:])}, {options.metric} distance"
    facts = {"query": options.query, "gallery": options.gallery}
    ranked.rank_and_publish(title, query, galleries, options, facts)
