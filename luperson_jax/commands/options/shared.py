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
PAIRS = {
    "market": "same person under different cameras, different people under any",
    "across": "pictures of different cameras only",
    "all": "any two pictures",
}
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
    parser.add_argument("--size", metavar="HxW", help="of --weights: its input, such as 256x128")
    parser.add_argument(
        "--statistics",
        metavar="NAME",
        help="of --weights: mean and deviation of its pixels, such as imagenet or lup, or six "
        "numbers with commas",
    )
    parser.add_argument(
        "--pooling", choices=("avg", "max", "gem"), help="of --weights, where the file has none"
    )
    parser.add_argument("--checkpoint", choices=("last", "best"), help="which one of the workdir")
    parser.add_argument(
        "--average",
        action=argparse.BooleanOptionalAction,
        help="the average of a run's weights, or the weights as trained",
    )
    parser.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="mean of the features of a picture and of its mirror image",
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="pictures embedded at once")


def add_metric_option(parser: argparse.ArgumentParser, default: str | None = "cosine") -> None:
    """`--metric`."""
    parser.add_argument("--metric", choices=METRICS, default=default, help="distance")


def add_rerank_options(parser: argparse.ArgumentParser) -> None:
    """`--rerank` and its settings."""
    parser.add_argument(
        "--rerank", action="store_true", help="rank by k-reciprocal neighborhoods too"
    )
    parser.add_argument("--k1", type=int, default=20, help="neighbors that may be reciprocal")
    parser.add_argument("--k2", type=int, default=6, help="neighbors that are averaged")
    parser.add_argument(
        "--lambda",
        dest="lambda_value",
        metavar="LAMBDA",
        type=float,
        default=0.3,
        help="share of the original distance in the re-ranked one",
    )


def add_expand_option(parser: argparse.ArgumentParser) -> None:
    """`--expand`."""
    parser.add_argument(
        "--expand",
        type=int,
        default=0,
        metavar="N",
        help="query expansion as FastReID does it: every feature of both sides becomes a weighted "
        "mean over its N nearest; 0 is off, FastReID's default 5",
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
    parser.add_argument("--max-rank", type=int, default=50, help="length of the CMC")
    parser.add_argument("--json", metavar="OUT", help="write the figures")
    parser.add_argument("--report", metavar="OUT.html", help="write a page with curves and lists")
