"""The work of `luperson embed`: embeds pictures and saves their features."""

import argparse
from collections.abc import Mapping
from typing import Any

from data_pipeline.errors import InputError
from luperson_jax.commands import output, runs
from luperson_jax.measure import embeddings

SETTINGS = ("checkpoint", "flip", "batch_size")
"""Options that are settings of the group `eval` of a recipe."""

OF_WORKDIR = ("checkpoint", "average")
OF_WEIGHTS = ("size", "statistics", "pooling")
"""Options that only one of the two origins of a network has."""


def check_network_options(options: argparse.Namespace) -> None:
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


def open_network(
    options: argparse.Namespace, changes: Mapping[str, Any] | None = None
) -> runs.Opened:
    """The network that the options name.

    Args:
        options: those of `options.shared.add_network_options`.
        changes: more settings of the group `eval`.

    Raises:
        InputError: see `check_network_options`; a wrong workdir or file.
    """
    check_network_options(options)
    chosen = {name: getattr(options, name) for name in SETTINGS}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    chosen |= changes or {}
    if options.average is not None:
        chosen["weights"] = "average" if options.average else "online"
    if options.workdir:
        return runs.open_workdir(options.workdir, chosen)
    given = {name: getattr(options, name) for name in OF_WEIGHTS}
    opened = runs.open_weights(options.weights, chosen, **given)
    output.say(*opened.notes)
    return opened


def run(options: argparse.Namespace) -> None:
    """Embeds and saves.

    Raises:
        InputError: a wrong workdir or file of weights, a missing or unreadable picture, or a FILE
            that exists.
    """
    embeddings.check_target(options.out)
    check_network_options(options)
    table = runs.table_of_pictures(options.images)
    opened = open_network(options)
    embedded = opened.embed(table)
    embeddings.write(options.out, embedded)
    num, dimensions = embedded.features.shape
    output.say(f"{num} pictures, {dimensions} numbers each, by {opened.origin}, in {options.out}")
