"""`luperson data statistics`: mean and standard deviation of the pixels of a data set, 0..1.

Example:
    luperson data statistics --dataset image_folder --root CROPS/images
"""

import argparse
import dataclasses
import os

from data_pipeline import datasets, terminal
from data_pipeline.crops import statistics
from data_pipeline.errors import InputError, shorten
from data_pipeline.table.records import Table
from luperson_jax.commands import output
from luperson_jax.commands.options import shared

STEP_OF_PROGRESS = 50_000
PARTS = ("train", "query", "gallery")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--dataset", required=True, help=", ".join(datasets.DATASETS))
    parser.add_argument("--root", required=True, help="its folder, or several by commas")
    shared.add_split_option(parser)
    parser.add_argument("--part", choices=PARTS, default="train", help="part of the set")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="pixels: stretch pictures to it first, so that small ones count as much as large "
        "(default: the size that each has)",
    )
    parser.add_argument(
        "--limit", type=int, default=0, help="pictures of a random sample; 0 reads all"
    )
    parser.add_argument(
        "--unreadable",
        choices=("error", "skip"),
        default="error",
        help="whether a picture that cannot be read ends the work, or is listed",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that decode"
    )
    parser.add_argument("--json", metavar="OUT", help="write the figures with all digits")


def run(options: argparse.Namespace) -> None:
    """Reads every picture and says mean and standard deviation.

    Raises:
        InputError: wrong data set, an empty part of it, or a picture that cannot be read.
    """
    output.check_file(options.json, "--json")
    splits = datasets.load(options.dataset, options.root, "--root", options.split)
    table: Table = getattr(splits, options.part)
    if not len(table):
        filled = [part for part in PARTS if len(getattr(splits, part))]
        raise InputError(f"{options.dataset} has no {options.part}; it has {', '.join(filled)}")
    # Rows stand in the order of a hash of their names: the first of them are a random sample.
    media = table.media[: options.limit] if options.limit else table.media
    told = 0

    def say_progress(done: int, total: int) -> None:
        nonlocal told
        if done // STEP_OF_PROGRESS > told:
            told = done // STEP_OF_PROGRESS
            terminal.say(f"{done} of {total}")

    skip = options.unreadable == "skip"
    found = statistics.pixel_statistics(media, options.size, skip, options.workers, say_progress)
    terminal.say(
        f"{found.images} pictures, {found.pixels} pixels; red, green, blue",
        "mean " + " ".join(f"{value:.4f}" for value in found.mean),
        "std  " + " ".join(f"{value:.4f}" for value in found.std),
    )
    if found.skipped:
        terminal.say(f"{len(found.skipped)} pictures could not be read:", *shorten(found.skipped))
    if options.json:
        output.write_json(options.json, dataclasses.asdict(found))
