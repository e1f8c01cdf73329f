"""The work of `luperson evaluate`: embeds query and gallery of a data set and ranks."""

import argparse

from luperson_jax.commands import network, output, ranked
from luperson_jax.measure import embeddings, tracklet_pooling
from luperson_jax.measure.evaluation import load_splits


def run(options: argparse.Namespace) -> None:
    """Embeds, ranks, prints and writes.

    Raises:
        InputError: a wrong workdir, data set or setting, or a DIR that exists.
    """
    network.check_options(options)
    ranked.check_outputs(options)
    if options.save_embeddings:
        embeddings.check_target(options.save_embeddings)
    splits = load_splits(options.dataset, options.root, "--root", options.split)
    asked = {"metric": options.metric, "pool": options.pool}
    changes = {name: value for name, value in asked.items() if value}
    opened = network.open_chosen(options, changes)
    options.metric = opened.recipe.eval.metric
    pool = tracklet_pooling.chosen(opened.recipe.eval.pool, splits)
    tracklet_pooling.check_protocol(options.protocol, pool, splits)
    query, gallery = (opened.embed(part, pool) for part in (splits.query, splits.gallery))
    if options.save_embeddings:
        folder = output.make_folder(options.save_embeddings)
        embeddings.write(folder / "query", query)
        embeddings.write(folder / "gallery", gallery)
        output.say(f"embeddings in {folder / 'query'} and {folder / 'gallery'}")
    title = f"{options.dataset}, {opened.origin}, {options.metric} distance"
    title += tracklet_pooling.words(pool, len(query.pid), len(gallery.pid))
    facts = {"dataset": options.dataset, "root": options.root, "split": options.split}
    facts |= {"pool": pool} | opened.facts
    ranked.rank_and_publish(title, query, [gallery], options, facts)
