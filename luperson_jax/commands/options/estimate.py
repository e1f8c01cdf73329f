"""`luperson estimate`: how good is a network on my cameras, without labels?

Gives mAP and Rank-1 (each picture looks for its person before other cameras, by the rule of
Market-1501) with an interval, from tracklets: pictures of one person before one camera, as any
tracker gives them. Nobody has to know who they are. The estimate was learned from drawn worlds, and
its interval holds for cameras that are to these as these are to each other; it says where traces
lie outside of them. --truth shows the true figures beside, where identities are known.

Without tracklets --pseudo-labels groups similar pictures in place of people, and corrects by drawn
worlds for what such groups see too well; cameras have to be known.

Example:
    luperson estimate --embeddings mine --camera 'cam(\\d+)' --tracklet '(cam\\d+)/(\\d+)/'
    luperson estimate --embeddings mine --camera 'cam(\\d+)' --pseudo-labels
    luperson estimate --embeddings embedded/gallery --truth
"""

import argparse

from luperson_jax.commands.options import shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--embeddings",
        required=True,
        action="append",
        help=".npz or folder of pictures, as `luperson embed` writes it; given several times, all "
        "are one set",
    )
    shared.add_tracklet_patterns(parser)
    parser.add_argument(
        "--pseudo-labels",
        action="store_true",
        help="pictures are of no tracklets: take groups of similar ones, of all cameras, instead",
    )
    parser.add_argument(
        "--truth", action="store_true", help="measure with the identities too, to compare"
    )
    parser.add_argument(
        "--confidence",
        type=float,
        choices=(0.5, 0.8, 0.9, 0.95, 0.98),
        default=0.95,
        help="share, 0 to 1, of drawn worlds whose figures such intervals hold",
    )
    parser.add_argument("--json", metavar="OUT", help="write the figures")
