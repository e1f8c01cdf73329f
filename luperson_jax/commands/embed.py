"""The work of `luperson embed`: embeds pictures and saves their features."""

import argparse

from luperson_jax.commands import network, output
from luperson_jax.measure import embeddings, tracklet_pooling


def run(options: argparse.Namespace) -> None:
    """Embeds and saves.

    Raises:
        InputError: a wrong workdir or file of weights, a missing or unreadable picture, or a FILE
            that exists.
    """
    embeddings.check_target(options.out)
    network.check_options(options)
    tracklets = bool(options.tracklets)
    table = network.table_of_pictures(options.images, tracklets, options.skip_damaged)
    opened = network.open_chosen(options)
    with network.skipping_offered():
        embedded = opened.embed(table, options.tracklets or tracklet_pooling.FRAMES)
    embeddings.write(options.out, embedded)
    num, dimensions = embedded.features.shape
    what = f"tracklets of {len(table)} pictures" if options.tracklets else "pictures"
    output.say(f"{num} {what}, {dimensions} numbers each, by {opened.origin}, in {options.out}")
