"""The work of `luperson index`: embeds pictures and saves them as an index."""

import argparse
import datetime
import re
from collections.abc import Sequence

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.terminal import visible_name
from luperson_jax.commands import network, output
from luperson_jax.serving.gallery_index import NEVER, UNKNOWN, Index
from luperson_jax.serving.reid_model import ReidModel


def run(options: argparse.Namespace) -> None:
    """Embeds and saves.

    Raises:
        InputError: a wrong network, a missing or unreadable picture, a pattern that does not fit,
            or a folder that holds something.
    """
    network.check_options(options)
    is_there = listing.is_folder(options.out) and bool(listing.names(options.out))
    if is_there and not options.add:
        raise InputError(f"{options.out} is not empty; give another folder, or --add to add to it")
    output.check_folder(options.out, "--out")
    paths = [str(one) for one in network.table_of_pictures(options.images).media]
    cameras = _cameras(paths, options.camera) if options.camera else None
    times = _times(paths, options.time, options.time_format) if options.time else None
    model = ReidModel(network.open_chosen(options))
    if is_there:
        index = Index.open(options.out, model).add(paths, camera=cameras, time=times)
    else:
        index = Index.build(model, paths, camera=cameras, time=times)
    index.save(options.out)
    known = "" if cameras is None else f", {len(set(cameras))} cameras"
    output.say(
        f"{options.out}: {len(index)} pictures{known}, {index.dimensions} numbers each, by "
        f"{model.network.origin}"
    )


def _cameras(paths: Sequence[str], pattern: str) -> list[int]:
    """Cameras that are numbers, or else numbered by their names."""
    names = _found(paths, pattern, "--camera")
    if all(one is None or one.isdecimal() for one in names):
        return [UNKNOWN if one is None else int(one) for one in names]
    number = {name: i for i, name in enumerate(sorted({one for one in names if one is not None}))}
    output.say(*(f"camera {i}: {visible_name(name)}" for name, i in number.items()))
    return [UNKNOWN if one is None else number[one] for one in names]


def _times(paths: Sequence[str], pattern: str, form: str | None) -> np.ndarray:
    moments = []
    for path, text in zip(paths, _found(paths, pattern, "--time"), strict=True):
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


def _found(paths: Sequence[str], pattern: str, option: str) -> list[str | None]:
    """The first group of the pattern, or all that it matches, in each path; None where nowhere.

    Raises:
        InputError: no pattern, or one that matches no path at all.
    """
    try:
        finder = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"{option} is {pattern!r}, no regular expression ({error}); such as c(\\d+)"
        ) from error
    matches = [finder.search(path) for path in paths]
    if not any(matches):
        raise InputError(
            f"{option} {pattern!r} is found in no path; the first one is {visible_name(paths[0])}"
        )
    last = min(finder.groups, 1)
    return [one and one.group(last) for one in matches]
