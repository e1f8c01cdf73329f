"""`luperson cluster`: groups pictures by who they show. No identities are needed, nor a training
on these pictures.

The pictures are those of a folder (--root), at any depth, which the network of a run or of a file
of weights embeds, or those of saved embeddings. With --dataset they are the training pictures of a
data set, whose cameras and identities are shown and compared, never used. The page has a table of
the clusters, pictures of each, and all pictures on a plane.

Example:
    luperson cluster --root crops/ --workdir runs/bot --out clusters.html
    luperson cluster --embeddings features.npz --method dbscan --eps 0.6 --json clusters.json
"""

import argparse

from luperson_jax.commands.options import shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--root", metavar="DIR", help="folder of pictures, or of a data set")
    parser.add_argument(
        "--dataset", default="image_folder", metavar="NAME", help="layout of the folder"
    )
    parser.add_argument("--embeddings", metavar="FILE", help="in place of --root and a network")
    parser.add_argument(
        "--method", choices=shared.CLUSTERINGS, default="communities", help="of clustering"
    )
    settings = {
        "k1": (int, "number of neighbors that are compared"),
        "k2": (int, "number of neighborhoods that are averaged"),
        "eps": (float, "share, 0 to 1: Jaccard distance beyond which pairs are dropped"),
        "min-samples": (int, "number of pictures that a cluster needs, or neighbors of a core"),
        "resolution": (float, "share, 0 to 1, of similarity that communities exceed inside"),
        "min-similarity": (float, "cosine of an edge of Infomap, a number of -1 to 1"),
        "num-clusters": (int, "number of clusters of average and kmeans"),
    }
    for name, (kind, words) in settings.items():
        words = f"{words} (default: that of the method)"
        parser.add_argument(f"--{name}", type=kind, metavar="N", help=words)
    parser.add_argument("--json", metavar="OUT", help="write figures and clusters")
    parser.add_argument("--out", metavar="PAGE.html", help="write the page")
    shared.add_network_options(parser)
