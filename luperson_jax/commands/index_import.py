"""The work of `luperson index-import`."""

import argparse

from data_pipeline.errors import InputError
from luperson_jax.commands import index_lock, output
from luperson_jax.serving import index_exchange, index_files


def run(options: argparse.Namespace) -> None:
    """Reads, saves and says how many.

    Raises:
        InputError: see `index_exchange.take_over`; something stands at the target.
    """
    _check_free(options.index)
    index = index_exchange.take_over(options.source, options.library)
    with index_lock.held(options.index):
        _check_free(options.index)  # now that nobody else can make one there
        index.save(options.index, locked=True)
    output.say(f"{options.index}: {len(index)} pictures, {index.dimensions} numbers each")


def _check_free(folder: str) -> None:
    if not index_files.is_free(folder):
        raise InputError(f"{folder} exists; delete it, or write to another name")
