"""The work of `luperson metrics`: ranks saved embeddings."""

import argparse
import pathlib

from luperson_jax.commands import ranked
from luperson_jax.measure import embeddings


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
