"""The work of `luperson index-remove`: takes pictures out of an index."""

import argparse

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.terminal import visible_name
from luperson_jax.commands import index_lock, output, path_patterns
from luperson_jax.serving.gallery_index import Index, moment


def run(options: argparse.Namespace) -> None:
    """Finds, removes and saves.

    Raises:
        InputError: no index, none of the options that choose, a wrong one, or a folder that cannot
            be written.
    """
    chosen = ("path", "before", "camera", "id")
    if all(getattr(options, name) is None for name in chosen):
        raise InputError(
            "nothing says which pictures are to go; give one or more of "
            f"{', '.join(f'--{name}' for name in chosen)}"
        )
    if options.dry_run:
        _remove(options)
        return
    with index_lock.held(options.index, existing=True):
        _remove(options)


def _remove(options: argparse.Namespace) -> None:
    index = Index.open(options.index)
    columns = index.columns
    gone = np.zeros(len(index), bool)
    gone[index.chosen(options.camera)] = True
    if options.path is not None:
        finder = path_patterns.compiled(options.path, "--path")
        gone &= np.array([bool(finder.search(key)) for key in columns.key.tolist()], bool)
    if options.before is not None:
        gone &= columns.time < moment(options.before, "--before")  # never where none is known
    if options.id is not None:
        index.check_ids(options.id)
        gone &= np.isin(columns.id, options.id)
    num = int(gone.sum())
    if options.dry_run:
        output.say(*map(visible_name, columns.key[gone].tolist()))
        output.say(f"{options.index}: {num} of {len(index)} pictures would go")
    else:
        if num:
            index.remove(columns.id[gone].tolist()).save(options.index, locked=True)
        output.say(f"{options.index}: {num} pictures removed, {len(index) - num} stay")
    undated = int(np.isnat(columns.time[~gone]).sum())
    if options.before is not None and undated:
        output.say(f"{undated} of those that stay have no known moment, and fit no --before")
