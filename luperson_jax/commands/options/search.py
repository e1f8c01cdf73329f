"""`luperson search`: the nearest gallery pictures of query pictures, as a list and as a picture.

QUERY and GALLERY are pictures (files, folders at any depth), which the network of a run or of a
file of weights embeds, or saved embeddings: .npz or a folder of `luperson embed`. In place of a
gallery --index takes what `luperson index` has written. Where identities
and cameras are known on both sides, gallery pictures of the identity and camera of the query, and
those of nobody known (identity -1), are passed over, as `luperson metrics` does, unless
--keep-same-camera is given. With --tracklets the pictures of a folder are the frames of one person;
the sheet shows three of each tracklet, of a maximum those that gave most of it.

Example:
    luperson search query.jpg --gallery pictures/ --workdir runs/bot --out lists.html
    luperson search query.jpg --index people --workdir runs/bot --camera 1 4 --since 2026-11-01
    luperson search seen/ --gallery tracks/ --tracklets max --workdir runs/upmnet --out strips.png
"""

import argparse

from luperson_jax.commands.options import shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("query", nargs="+", metavar="QUERY", help="pictures or saved embeddings")
    parser.add_argument(
        "--gallery", action="append", help="pictures or saved embeddings; may be repeated"
    )
    parser.add_argument("--index", metavar="DIR", help="in place of --gallery: an index")
    parser.add_argument(
        "--camera",
        nargs="+",
        metavar="NAME",
        help="of --index: these cameras, as paths have them",
    )
    for name, words in (("since", "from"), ("until", "up to")):
        parser.add_argument(
            f"--{name}",
            metavar="MOMENT",
            help=f"of --index: pictures taken {words} then (ISO 8601)",
        )
    parser.add_argument("--top", type=int, default=10, help="gallery pictures in each list")
    parser.add_argument("--keep-same-camera", action="store_true", help="pass nothing over")
    parser.add_argument(
        "--threshold",
        metavar="FILE",
        help="mark those that show the person of the query: JSON of `luperson calibrate`, or a "
        "cosine distance (default: the first threshold of a packed model)",
    )
    parser.add_argument("--json", metavar="OUT", help="write the lists")
    parser.add_argument("--out", metavar="SHEET", help="draw the lists: .png or .html")
    shared.add_network_options(parser)
    shared.add_tracklets_option(parser)
    shared.add_metric_option(parser)
    shared.add_rerank_options(parser)
