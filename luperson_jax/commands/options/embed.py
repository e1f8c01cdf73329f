"""`luperson embed`: features of one's own pictures, no identities needed.

IMAGES are files, and folders with pictures at any depth. Their order and their paths are kept. The
network is that of a run (--workdir) or of a file of weights (--weights). The pictures are brought
to the size and the pixel statistics that it was trained with.

Example:
    luperson embed pictures/ --workdir runs/bot --out features.npz
    luperson embed pictures/ --weights lup_moco_r50.pth --statistics lup --out features.npz
"""

import argparse

from luperson_jax.commands.options import shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="files and folders")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="NAME.npz, or a folder to be made: features.npy and index.parquet",
    )
    shared.add_skip_option(parser)
    shared.add_network_options(parser)
    shared.add_tracklets_option(parser)
