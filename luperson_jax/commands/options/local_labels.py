"""`luperson local-labels`: CALR's first stage, clusters of the images of each camera alone.

Trains a network for one camera after the other, in ROOT/camera0 and so on, and writes the clusters
of each one's best epoch to ROOT/local_labels.npz, which `calr:stage=global` takes. Cameras that are
done are passed over: the same command goes on. Cameras of few images get no labels, and their
images are then not refined.

Example:
    luperson local-labels --config calr:stage=local,data=market1501 --root runs/local \\
        data.root=Market-1501-v15.09.15
"""

import argparse
import pathlib

from luperson_jax.commands.options import settings


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="NAME[:ARGUMENT]",
        help="a shipped configuration or a file, of the task calr_local",
    )
    parser.add_argument(
        "--root", type=pathlib.Path, required=True, help="folder of all runs; made if missing"
    )
    settings.add_changes(parser)
