"""`luperson pack-model SOURCE OUT`: a model as a folder for others, with a card.

SOURCE is a run, or any file of weights. OUT gets model.safetensors, config.json, preprocess.json
and README.md, and metrics.json and thresholds.json where their figures are given. `--weights OUT`
of the other commands, `luperson_jax.load` and train.init_from take it; so does a hub, as it is.

Example:
    luperson pack-model runs/bot people-r50 --metrics results.json --thresholds far.json \\
        --training-data "Market-1501" --license cc-by-nc-4.0
"""

import argparse

from luperson_jax.commands.options import shared

UNKNOWN = "not said"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("source", metavar="SOURCE", help="workdir or file of weights")
    parser.add_argument("target", metavar="OUT", nargs="?", help="folder to be made")
    parser.add_argument("--out", metavar="OUT", help="OUT, as other commands have it")
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last", help="of a run")
    parser.add_argument(
        "--statistics", help=f"pixels that a file's weights expect: {', '.join(shared.STATISTICS)}"
    )
    parser.add_argument("--metrics", metavar="FILE", help="JSON of `luperson evaluate`")
    parser.add_argument(
        "--thresholds",
        metavar="FILE",
        action="append",
        default=[],
        help="JSON of `luperson calibrate`; may be repeated, the first is what is used",
    )
    parser.add_argument("--name", help="title of the card (default: name of OUT)")
    parser.add_argument("--license", default="other", help="identifier, such as cc-by-nc-4.0")
    for name, words in (
        ("training-data", "what it was trained on"),
        ("intended-use", "what it is for"),
        ("limits", "where it is not to be used, or fails"),
    ):
        parser.add_argument(f"--{name}", default=UNKNOWN, metavar="TEXT", help=words)
