"""`luperson embed`: features of one's own pictures, no identities needed.

IMAGES are files, and folders with pictures at any depth. Their order and their paths are kept. The
pictures are brought to the size and the pixel statistics that the network was trained with.
"""

import argparse

from luperson_jax import embeddings
from luperson_jax.commands import output, runs

NETWORK_SETTINGS = ("checkpoint", "weights", "flip", "batch_size")
"""Of the group `eval` of a recipe."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="files and folders")
    parser.add_argument("--workdir", required=True, help="of the run whose network embeds them")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help=f"NAME{embeddings.SUFFIX}, or a folder to be made: {embeddings.FEATURES_FILE} and "
        f"{embeddings.INDEX_FILE}",
    )
    add_network_options(parser)


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Which checkpoint embeds, and how; settings of the workdir's recipe where left out."""
    parser.add_argument("--checkpoint", choices=("last", "best"), help="which one of the workdir")
    parser.add_argument(
        "--weights", choices=("online", "average"), help="as trained, or their average"
    )
    parser.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="mean of the features of a picture and of its mirror image",
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="pictures embedded at once")


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
