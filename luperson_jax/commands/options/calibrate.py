"""`luperson calibrate`: up to which distance two pictures are to count as the same person.

The threshold is the largest distance at which no more than the wanted share of pairs of different
people is accepted. The intervals come from drawing the people again, because pairs of one person
are not independent. For other people and cameras the threshold is as good as these stand for them.

Example:
    luperson calibrate --embeddings features.npz --far 0.001
"""

import argparse

from luperson_jax.commands.options import shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--embeddings", help=".npz or folder with identities: all pairs within this one set"
    )
    parser.add_argument("--query", help="in place of --embeddings, together with --gallery")
    parser.add_argument("--gallery", action="append", help="may be repeated")
    parser.add_argument(
        "--far", type=float, default=0.001, help="wanted share, 0 to 1, of false accepts"
    )
    parser.add_argument(
        "--pairs",
        choices=shared.PAIRS,
        default="market",
        help="; ".join(f"{name}: {words}" for name, words in shared.PAIRS.items()),
    )
    parser.add_argument(
        "--leave-out",
        type=int,
        nargs="*",
        default=[],
        metavar="PID",
        help="identities that stand for many people, besides -1, which is nobody's and always left "
        "aside; in Market-1501 the distractors 0 (default: none)",
    )
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        help="share, 0 to 1, of draws that the intervals hold",
    )
    parser.add_argument("--json", metavar="OUT", help="write the figures")
    shared.add_metric_option(parser)
