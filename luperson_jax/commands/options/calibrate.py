"""`luperson calibrate`: up to which distance two pictures are to count as the same person.

Pairs come from identities, from tracklets, or from a table of judged pairs. People, or tracklets in
their place, are what is taken for independent, not pairs. --promise says what the threshold keeps:

  confident  with --confidence no more false accepts than wanted, of people like these (default)
  conformal  no more of two new people on average, exactly; needs about 4 / --far people
  measured   the largest that these pairs allow; new people make more in about half of all cases

It holds for people like these before the same cameras. What is written by --json is what
`luperson pack-model --thresholds`, `luperson search --threshold` and `luperson_jax.load` take.

Example:
    luperson calibrate --embeddings features.npz --far 0.001 --misses 0.05 --json far.json
    luperson calibrate --embeddings mine --tracklets --camera 'cam(\\d+)' --far 0.01
    luperson calibrate --embeddings features.npz --by-cameras --camera '_c(\\d+)' --json far.json
    luperson calibrate --embeddings mine --judged pairs.csv --far 0.01
"""

import argparse

from luperson_jax.commands.options import shared

PROMISES = ("confident", "conformal", "measured")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--embeddings", help=".npz or folder of pictures: all pairs within this one set"
    )
    parser.add_argument("--query", help="in place of --embeddings, together with --gallery")
    parser.add_argument("--gallery", action="append", help="may be repeated")
    parser.add_argument(
        "--far", type=float, default=0.001, help="wanted share, 0 to 1, of false accepts"
    )
    parser.add_argument(
        "--misses",
        type=float,
        metavar="SHARE",
        help="wanted share, 0 to 1, of pairs of one person that are called different people; "
        "pairs between the two distances are unsure (default: every pair is answered)",
    )
    parser.add_argument("--promise", choices=PROMISES, default=PROMISES[0], help="see above")
    parser.add_argument(
        "--people",
        type=int,
        metavar="N",
        help="the shares are to hold among this number of new people (default: all there are)",
    )
    parser.add_argument(
        "--by-cameras",
        action="store_true",
        help="a threshold for each two cameras besides: by the numbers of the embeddings, or with "
        "--camera by names as paths have them, which an index of `luperson index --camera` needs",
    )
    parser.add_argument(
        "--judged",
        metavar="PAIRS.csv",
        help="only these pairs, with the columns first, second (keys of --embeddings) and same",
    )
    shared.add_tracklet_options(parser)
    parser.add_argument(
        "--pairs",
        choices=shared.PAIRS,
        help="; ".join(f"{name}: {words}" for name, words in shared.PAIRS.items())
        + " (default: market, with --tracklets tracklets)",
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
        help="share, 0 to 1, of samples of people for which promise and intervals hold",
    )
    parser.add_argument("--json", metavar="OUT", help="write the figures")
    shared.add_metric_option(parser)
