"""The work of `luperson index-import`."""

import argparse

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from luperson_jax.commands import output
from luperson_jax.serving import index_exchange


def run(options: argparse.Namespace) -> None:
    """Reads, saves and says how many.

    Raises:
        InputError: see `index_exchange.take_over`; something stands at the target.
    """
    if listing.exists(options.index):
        raise InputError(f"{options.index} exists; delete it, or write to another name")
    index = index_exchange.take_over(options.source, options.library)
    index.save(options.index)
    output.say(f"{options.index}: {len(index)} pictures, {index.dimensions} numbers each")
