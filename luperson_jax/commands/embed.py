"""The work of `luperson embed`: embeds pictures and saves their features."""

import argparse

from luperson_jax.commands import network, output
from luperson_jax.measure import embeddings


def run(options: argparse.Namespace) -> None:
    """Embeds and saves.

    Raises:
        InputError: a wrong workdir or file of weights, a missing or unreadable picture, or a FILE
            that exists.
    """
    embeddings.check_target(options.out)
    network.check_options(options)
    table = network.table_of_pictures(options.images)
    opened = network.open_chosen(options)
    embedded = opened.embed(table)
    embeddings.write(options.out, embedded)
    num, dimensions = embedded.features.shape
    output.say(f"{num} pictures, {dimensions} numbers each, by {opened.origin}, in {options.out}")
