"""Options that several commands have, and the choices of options."""

import argparse

# Of modules that import JAX, which no help waits for; a test compares them.
METRICS = ("cosine", "euclidean")
PROTOCOLS = (
    "market1501",
    "veri776",
    "all_shots",
    "separate_cameras",
    "cuhk03_classic",
    "mars",
    "mars_pytorch",
    "prid2011",
    "ilids_vid",
    "vehicleid",
)
BATCH_SIZE = 64
PAIRS = {
    "market": "same person under different cameras, different people under any",
    "across": "pictures of different cameras only",
    "all": "any two pictures",
    "tracklets": "of one camera only, where identities number tracklets: pictures of one tracklet, "
    "and of two",
}
CLUSTERINGS = ("communities", "dbscan", "hdbscan", "infomap", "average", "kmeans")
FAMILIES = (
    "pnl",
    "moco",
    "simclr",
    "cluster_contrast",
    "strong_baseline",
    "mgn",
    "fastreid",
    "torchvision",
    "luperson",
    "numbered",
    "mobilenet_v1_slim",
    "resnet_v1_50_slim",
    "resnet_v1_101_slim",
    "resnet_v1_152_slim",
)
STATISTICS = (
    "lup",
    "lmdb_200_20",
    "lmdb_300_30",
    "lmdb_100_10",
    "lup_imagenet",
    "imagenet",
    "lup_finetune",
    "cmdm",
    "bot",
    "slim_mobilenet",
    "slim_resnet",
)


def add_tracklets_option(parser: argparse.ArgumentParser) -> None:
    """Whether folders of pictures are tracklets."""
    parser.add_argument(
        "--tracklets",
        choices=("mean", "max"),
        help="the pictures of one folder are the frames of a tracklet, whose features are pooled "
        "so; left out, each picture stands for itself",
    )


def add_tracklet_options(parser: argparse.ArgumentParser) -> None:
    """Tracklets in place of identities, in saved embeddings."""
    parser.add_argument(
        "--tracklets",
        action="store_true",
        help="the pictures of one identity and camera, or of one folder where no identity is "
        "known, are a tracklet, and nothing else is known of who they show",
    )
    add_tracklet_patterns(parser, "with --tracklets: ", "with --tracklets or --by-cameras: ")


def add_tracklet_patterns(
    parser: argparse.ArgumentParser, tracklet: str = "", camera: str = ""
) -> None:
    """How the key of a picture tells its tracklet and its camera; words before the help of each."""
    for name, words in (("tracklet", tracklet), ("camera", camera)):
        parser.add_argument(
            f"--{name}",
            metavar="REGEX",
            help=f"{words}finds the {name} in the key of a picture, by its groups or as a whole",
        )


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Which network embeds, and how; settings of the workdir's recipe where left out."""
    parser.add_argument("--workdir", metavar="DIR", help="a run, whose network embeds pictures")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="in place of a run: .pth, .safetensors or .npz of LUPerson, torchvision, FastReID, "
        "SpCL, Cluster Contrast, CALR and others that `luperson convert` reads",
    )
    parser.add_argument(
        "--size",
        metavar="HxW",
        help="of --weights: its input in pixels, such as 256x128 (default: as the file or its kind "
        "has it)",
    )
    parser.add_argument(
        "--statistics",
        metavar="NAME",
        help="of --weights: mean and deviation of its pixels, such as imagenet or lup, or six "
        "numbers of 0 to 1 with commas (default: as the file or its kind has it)",
    )
    parser.add_argument(
        "--pooling",
        choices=("avg", "max", "gem"),
        help="of --weights (default: the file's, else avg)",
    )
    parser.add_argument(
        "--checkpoint",
        choices=("last", "best"),
        help="which one of the workdir (default: the recipe's)",
    )
    parser.add_argument(
        "--average",
        action=argparse.BooleanOptionalAction,
        help="the average of a run's weights, or the weights as trained (default: the recipe's)",
    )
    parser.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="mean of the features of a picture and of its mirror image (default: the recipe's; "
        "with --weights no)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help=f"pictures embedded at once (default: the recipe's; with --weights {BATCH_SIZE})",
    )


def add_split_option(parser: argparse.ArgumentParser) -> None:
    """`--split`."""
    words = "number of the division, from 0, of sets that have several"
    parser.add_argument("--split", type=int, default=0, help=words)


def add_metric_option(parser: argparse.ArgumentParser, default: str | None = "cosine") -> None:
    """`--metric`; without a default it is that of a recipe."""
    words = "distance" if default else "distance (default: the recipe's; with --weights cosine)"
    parser.add_argument("--metric", choices=METRICS, default=default, help=words)


def add_rerank_options(parser: argparse.ArgumentParser) -> None:
    """`--rerank` and its settings."""
    parser.add_argument(
        "--rerank", action="store_true", help="rank by k-reciprocal neighborhoods too"
    )
    parser.add_argument(
        "--k1", type=int, default=20, help="number of neighbors that may be reciprocal"
    )
    parser.add_argument("--k2", type=int, default=6, help="number of neighbors that are averaged")
    parser.add_argument(
        "--lambda",
        dest="lambda_value",
        metavar="LAMBDA",
        type=float,
        default=0.3,
        help="share, 0 to 1, of the original distance in the re-ranked one",
    )


def add_expand_option(parser: argparse.ArgumentParser) -> None:
    """`--expand`."""
    parser.add_argument(
        "--expand",
        type=int,
        default=0,
        metavar="N",
        help="number N of query expansion as FastReID does it: every feature of both sides "
        "becomes a weighted mean over its N nearest neighbors; 0 is off, FastReID takes 5",
    )


def add_protocol_option(parser: argparse.ArgumentParser) -> None:
    """`--protocol`."""
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="market1501",
        help="which gallery images count, what is drawn and averaged",
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """`--max-rank`, `--json` and `--report`."""
    parser.add_argument("--max-rank", type=int, default=50, help="ranks of the CMC")
    parser.add_argument("--json", metavar="OUT", help="write the figures")
    parser.add_argument("--report", metavar="OUT.html", help="write a page with curves and lists")


def add_skip_option(parser: argparse.ArgumentParser) -> None:
    """Whether pictures that cannot be read stop the command."""
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="leave out pictures that cannot be read, and list them; left out, the first one ends "
        "the command",
    )
