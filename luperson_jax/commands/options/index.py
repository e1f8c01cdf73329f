"""`luperson index`: pictures, embedded once, to be searched often: in Python and on the page.

IMAGES are files, and folders with pictures at any depth. Cameras and moments, by which searches are
filtered, are found in the paths by regular expressions: the first group of each, or all that it
matches. The folder is what `luperson_jax.Index.open` reads and `luperson serve` shows; the paths
are kept as they are given.

Example:
    luperson index pictures/ --workdir runs/bot --out people
    luperson index pictures/ --weights bot.npz --out people --camera "_c(\\d+)" \\
        --time "\\d{8}T\\d{6}"
"""

import argparse

from luperson_jax.commands.options import shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="files and folders")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the index")
    parser.add_argument("--add", action="store_true", help="add to an index that is there")
    parser.add_argument("--camera", metavar="REGEX", help="finds the camera in a path")
    parser.add_argument("--time", metavar="REGEX", help="finds the moment in a path")
    parser.add_argument(
        "--time-format", metavar="FORM", help="of moments, as strptime has it (default: ISO 8601)"
    )
    shared.add_skip_option(parser)
    shared.add_network_options(parser)
