"""The work of `luperson metrics`: ranks saved embeddings."""

import argparse
import functools
import pathlib
from concurrent import futures

from luperson_jax.commands import ranked
from luperson_jax.measure import embeddings


def run(options: argparse.Namespace) -> None:
    """Ranks, prints and writes.

    Raises:
        InputError: wrong files, arrays or settings, or no query with a match.
    """
    ranked.check_outputs(options)
    paths = [options.query, *options.gallery]
    read = functools.partial(embeddings.read, labelled=True)
    with futures.ThreadPoolExecutor() as pool:
        query, *galleries = pool.map(read, paths)
    names = [pathlib.Path(path).name for path in paths]
    title = f"{names[0]} in {' and '.join(names[1:])}, {options.metric} distance"
    facts = {"query": options.query, "gallery": options.gallery}
    ranked.rank_and_publish(title, query, galleries, options, facts)
