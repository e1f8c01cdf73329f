"""`luperson data split`: writes lists of a part of a training set.

Example:
    luperson data split --dataset market1501 --root Market-1501-v15.09.15 \\
        --mode ids --out lists
"""

import argparse

from data_pipeline import datasets, terminal
from data_pipeline.errors import InputError
from data_pipeline.subsets import export
from luperson_jax.commands.options import shared

ALL_RATIOS = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1.0"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--dataset", required=True, help=", ".join(datasets.DATASETS))
    parser.add_argument("--root", required=True, help="folder of the data set")
    parser.add_argument(
        "--mode",
        required=True,
        help="ids: few identities with all their images; images: few images of all identities; "
        "cmpe: the 90 / 10 lists of CMPE597, as published and disjoint",
    )
    parser.add_argument(
        "--ratios",
        default=ALL_RATIOS,
        help="shares to keep, above 0 to 1, of at most two decimals; not for cmpe",
    )
    parser.add_argument(
        "--out", required=True, help="folder for the lists; --root to have a run find them"
    )
    parser.add_argument("--seed", type=int, default=0, help="number of the draw")
    shared.add_split_option(parser)


def run(options: argparse.Namespace) -> int:
    """Writes the lists and says what each selects.

    Raises:
        InputError: wrong data set, mode or ratio, or a list that exists.
    """
    table = datasets.load(options.dataset, options.root, "--root", options.split).train
    written = export.write(
        table, options.mode, _ratios(options.ratios), options.out, options.root, options.seed
    )
    lines = [
        f"{terminal.visible_name(one.path)}: {one.num_ids} identities, {one.num_images} images"
        for one in written
    ]
    whole = f"of {table.num_ids} identities, {len(table)} images of {options.dataset}"
    terminal.say(*lines, whole)
    return 0


def _ratios(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(
            f"--ratios is {text!r}; expected numbers separated by commas, such as 0.1,0.3"
        ) from error
