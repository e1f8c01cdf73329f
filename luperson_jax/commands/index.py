"""The work of `luperson index`: embeds pictures and saves them as an index."""

import argparse
import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.terminal import visible_name
from luperson_jax.commands import index_lock, network, output, path_patterns
from luperson_jax.serving import index_files
from luperson_jax.serving.gallery_index import NEVER, Index
from luperson_jax.serving.reid_model import ReidModel


def run(options: argparse.Namespace) -> None:
    """Embeds and saves.

    Raises:
        InputError: a wrong network, a missing or unreadable picture, a pattern that does not fit,
            or a folder that holds something.
    """
    network.check_options(options)
    is_there = not index_files.is_free(options.out)
    if is_there and not options.add:
        raise InputError(f"{options.out} is not empty; give another folder, or --add to add to it")
    output.check_folder(options.out, "--out")
    table = network.table_of_pictures(options.images, skip_damaged=options.skip_damaged)
    paths = [str(one) for one in table.media]
    with network.skipping_offered():
        index = (_grown if is_there else _made)(paths, options)
    if index is None:
        return
    named = index.cameras.named or {}
    output.say(
        *(
            f"camera {number}: {visible_name(name)}"
            for number, name in named.items()
            if name != str(number)
        )
    )
    known = f", {len(named)} cameras" if named else ""
    output.say(
        f"{options.out}: {len(index)} pictures{known}, {index.dimensions} numbers each, by "
        f"{index.model.network.origin if index.model else index.made_with}"
    )


def _made(paths: Sequence[str], options: argparse.Namespace) -> Index:
    model = ReidModel(network.open_chosen(options))
    known = _known(paths, options)  # what is wrong is told before there is a folder
    with index_lock.held(options.out):
        if not index_files.is_free(options.out):
            raise InputError(f"{options.out} was made by another process meanwhile; --add adds")
        index = Index.build(model, paths, **known)
        index.save(options.out, locked=True)
    return index


def _grown(paths: Sequence[str], options: argparse.Namespace) -> Index | None:
    """The index with more pictures; None where it holds them all already."""
    with index_lock.held(options.out, existing=True):
        former = Index.open(options.out)
        paths = _new_ones(paths, former)
        if not paths:
            return None
        known = _known(paths, options)
        model = ReidModel(network.open_chosen(options))
        index = former.with_model(model, options.out).add(paths, **known)
        index.save(options.out, locked=True)
    return index


def _known(paths: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Cameras and moments of pictures."""
    cameras = path_patterns.found(paths, options.camera, "--camera") if options.camera else None
    times = _times(paths, options.time, options.time_format) if options.time else None
    return {"camera": cameras, "time": times}


def _new_ones(paths: Sequence[str], former: Index) -> list[str]:
    """The paths that the index does not hold."""
    known = set(former.columns.key.tolist())
    fresh = [path for path in paths if path not in known]
    if len(fresh) < len(paths):
        output.say(f"left aside: {len(paths) - len(fresh)} pictures that the index holds already")
    return fresh


def _times(paths: Sequence[str], pattern: str, form: str | None) -> np.ndarray:
    moments = []
    for path, text in zip(paths, path_patterns.found(paths, pattern, "--time"), strict=True):
        try:
            moments.append(NEVER if text is None else np.datetime64(_moment(text, form), "us"))
        except ValueError as error:
            expected = f"the form {form!r}" if form else "a form of ISO 8601, or --time-format"
            raise InputError(
                f"--time found {text!r} in {visible_name(path)}, which is no moment of {expected}"
            ) from error
    return np.array(moments)


def _moment(text: str, form: str | None) -> datetime.datetime:
    if form:
        moment = datetime.datetime.strptime(text, form)
    else:
        moment = datetime.datetime.fromisoformat(text)
    return moment.replace(tzinfo=None)
