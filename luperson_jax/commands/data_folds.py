"""`luperson data folds`: cuts a small labelled set into folds, for tables with a spread.

Each fold tests on people whom it does not train on, and each identity is tested once. Writes
OUT/fold0, OUT/fold1, ... in Market-1501's layout, of links to the pictures.

Example:
    luperson data folds --dataset market1501 --root Market-1501-v15.09.15 --out folds --folds 5
"""

import argparse

from data_pipeline import datasets, terminal
from data_pipeline.subsets import folds


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--dataset", required=True, help="of pictures in files, such as market1501")
    parser.add_argument("--root", required=True, help="folder of the data set")
    parser.add_argument("--out", required=True, help="folder to fill; absent or empty")
    parser.add_argument("--folds", type=int, default=5, help="number of folds, from 2")
    parser.add_argument(
        "--queries", type=int, default=2, help="pictures of an identity and camera that are queries"
    )
    parser.add_argument("--seed", type=int, default=0, help="number of the draw")


def run(options: argparse.Namespace) -> None:
    """Writes the folds and says what each holds.

    Raises:
        InputError: wrong data set, number or folder.
    """
    splits = datasets.load(options.dataset, options.root, "--root")
    for folder, tested, counts in folds.write(
        splits, options.out, options.folds, options.queries, options.seed
    ):
        listed = ", ".join(f"{part} {count}" for part, count in counts.items())
        terminal.say(f"{terminal.visible_name(folder)}: {tested} test identities, {listed}")
