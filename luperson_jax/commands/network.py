"""The network that a command embeds pictures with, as its options name it."""

import argparse
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipeline import doctor
from data_pipeline.datasets import folders, image_folder
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.read.decode import DecodeError
from data_pipeline.table.paths import Paths
from data_pipeline.table.records import UNLABELLED, Table
from luperson_jax.commands import output
from luperson_jax.serving import decision
from luperson_jax.serving.decision import DecisionRule
from luperson_jax.serving.open_networks import EmbeddingNetwork, open_weights, open_workdir
from luperson_jax.weights import packed

SETTINGS = ("checkpoint", "flip", "batch_size")
"""Options that are settings of the group `eval` of a recipe."""

OF_WORKDIR = ("checkpoint", "average")
OF_WEIGHTS = ("size", "statistics", "pooling")
"""Options that only one of the two origins of a network has."""


def check_options(options: argparse.Namespace) -> None:
    """Raises InputError where it is not one network that is named, or an option has no effect."""
    if bool(options.workdir) == bool(options.weights):
        both = "both are given" if options.weights else "neither is given"
        raise InputError(
            "a network is needed: --workdir DIR of a run, or --weights FILE (.pth, .safetensors, "
            f".npz), one of the two; {both}"
        )
    given, foreign = ("weights", OF_WORKDIR) if options.weights else ("workdir", OF_WEIGHTS)
    for name in foreign:
        if getattr(options, name) is not None:
            other = "workdir" if options.weights else "weights"
            raise InputError(f"--{name} goes with --{other}, and --{given} is given; leave it out")


def open_chosen(
    options: argparse.Namespace, changes: Mapping[str, Any] | None = None
) -> EmbeddingNetwork:
    """The network that the options name.

    Args:
        options: those of `options.shared.add_network_options`.
        changes: more settings of the group `eval`.

    Raises:
        InputError: see `check_options`; a wrong workdir or file.
    """
    check_options(options)
    chosen = {name: getattr(options, name) for name in SETTINGS}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    chosen |= changes or {}
    if options.average is not None:
        chosen["weights"] = "average" if options.average else "online"
    if options.workdir:
        return open_workdir(options.workdir, chosen)
    given = {name: getattr(options, name) for name in OF_WEIGHTS}
    opened = open_weights(options.weights, chosen, **given)
    output.say(*opened.notes)
    return opened


def decision_rule(options: argparse.Namespace) -> DecisionRule | None:
    """When two pictures show the same person: as --threshold says, a distance or a file of
    `luperson calibrate`, else as a packed model does.

    Raises:
        InputError: a file that cannot be read, or a threshold of another distance.
    """
    threshold = options.threshold
    with contextlib.suppress(TypeError, ValueError):
        threshold = float(threshold)
    is_packed = bool(options.weights) and packed.is_packed(options.weights)
    return decision.given(threshold, options.weights if is_packed else None)


@contextlib.contextmanager
def skipping_offered() -> Iterator[None]:
    """Within, the message about a damaged picture names the option that leaves it out."""
    try:
        yield
    except DecodeError as error:
        raise InputError(f"{error}; --skip-damaged leaves out all that cannot be read") from error


def table_of_pictures(
    places: Sequence[str], tracklets: bool = False, skip_damaged: bool = False
) -> Table:
    """Files, and all pictures of folders at any depth, in the order given; folders by name.

    Args:
        places: files and folders.
        tracklets: whether the pictures of one folder are the frames of a tracklet.
        skip_damaged: whether those that cannot be read are told and left out, for which all are
            decoded.

    Raises:
        InputError: a place does not exist, or a folder holds no picture, or none that can be read.
    """
    paths: list[str] = []
    for place in places:
        if listing.is_file(place):
            paths.append(place)
        else:
            folders.check_picture(place)
            paths += image_folder.paths(place, "a picture, or a folder of pictures")
    if skip_damaged:
        paths = _readable(paths)
    unknown = np.full(len(paths), UNLABELLED, np.int64)
    track = unknown
    if tracklets:
        homes = [os.path.dirname(path) for path in paths]
        track = np.unique(homes, return_inverse=True)[1].astype(np.int64)
    return Table(Paths.of(paths), unknown, unknown, track)


def _readable(paths: Sequence[str]) -> list[str]:
    """Those that can be decoded; the others are told."""
    damaged = doctor.damaged(paths)
    output.say(*(f"left out: {reason}" for _, reason in damaged))
    names = {path for path, _ in damaged}
    left = [path for path in paths if path not in names]
    if not left:
        raise InputError(f"none of {len(paths)} pictures can be read")
    return left
