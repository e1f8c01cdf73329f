"""The work of `luperson embed`: embeds pictures and saves their features."""

import argparse

from luperson_jax import embeddings
from luperson_jax.commands import output, runs

NETWORK_SETTINGS = ("checkpoint", "weights", "flip", "batch_size")
"""Of the group `eval` of a recipe."""


def network_changes(options: argparse.Namespace) -> dict[str, object]:
    """The settings of `eval` that `add_network_options` names."""
    chosen = {name: getattr(options, name) for name in NETWORK_SETTINGS}
    return {name: value for name, value in chosen.items() if value is not None}


def run(options: argparse.Namespace) -> None:
    """Embeds and saves.

    Raises:
        InputError: a wrong workdir, a missing or unreadable picture, or a FILE that exists.
    """
    embeddings.check_target(options.out)
    table = runs.table_of_pictures(options.images)
    opened = runs.open_workdir(options.workdir, network_changes(options))
    embedded = opened.embed(table)
    embeddings.write(options.out, embedded)
    num, dimensions = embedded.features.shape
    output.say(
        f"{num} pictures, {dimensions} numbers each, by step {int(opened.state.step)} of "
        f"{options.workdir}, in {options.out}"
    )
