"""`luperson serve`: an index in a browser, on this machine alone.

Drop a picture or pick one, see what is nearest and whether it is the same person, filter by camera
and date, look at groups and at the map, and merge, split and name identities by hand. Nothing is
loaded from elsewhere, other machines and other sites are refused, and labels leave as CSV or JSON.
Without a network (--workdir or --weights) pictures of the index are searched with, not others.

Example:
    luperson serve --index people --workdir runs/bot
    luperson serve --index people --weights people-r50 --tracklets --labels labels.csv
"""

import argparse

from luperson_jax.commands.options import shared

PORT = 8765


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--index", required=True, metavar="DIR", help="written by `luperson index`, or Index.save"
    )
    parser.add_argument(
        "--tracklets",
        action="store_true",
        help="the pictures of one folder are the frames of a tracklet, shown as a strip",
    )
    parser.add_argument(
        "--threshold",
        metavar="FILE",
        help="which pictures show one person: JSON of `luperson calibrate`, or a cosine distance "
        "(default: the first threshold of a packed model)",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="who is who to begin with: a .csv or .json of the page, or the JSON of `luperson "
        "cluster`; left out, similar pictures are grouped",
    )
    parser.add_argument("--port", type=int, default=PORT, help="number of the port; 0 is any free")
    shared.add_network_options(parser)
