"""`luperson data make`, `check` and `split`: drawn worlds, what a folder is, subsets as lists."""

import argparse
import dataclasses
import json
import pathlib
import sys

from data_pipeline import datasets, doctor
from data_pipeline.errors import InputError
from data_pipeline.subsets import export
from data_pipeline.synthetic import layouts

ALL_RATIOS = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1.0"

WORLD_OPTIONS = {
    "identities": "people, for training and testing together",
    "cameras": "cameras; each sees everybody",
    "seed": "worlds of different seeds share nobody",
    "height": "of the pictures, pixels",
    "width": "of the pictures, pixels",
    "images_per_camera": "pictures of a person by one camera, queries apart",
    "train_identities": "how many of the people are for training; None is half",
    "distractors": "gallery pictures of people without a match (identity 0)",
    "junk": "gallery pictures without a person (identity -1)",
    "tracklets": "passes of a person, in layouts of tracklets",
    "frames": "pictures of one pass, likewise",
    "extra_cameras": "cameras that only the layouts of LUPerson have",
    "switch_rate": "share of passes that turn into somebody else halfway, there",
}


def add_make_options(parser: argparse.ArgumentParser) -> None:
    """The options of `luperson data make`."""
    parser.add_argument("--layout", required=True, help=", ".join(layouts.LAYOUTS))
    parser.add_argument("--root", required=True, help="folder to fill; absent or empty")
    for field in dataclasses.fields(layouts.Plan):
        kind = float if field.type is float else int
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(
            option, type=kind, default=field.default, help=WORLD_OPTIONS[field.name]
        )


def run_make(options: argparse.Namespace) -> int:
    """Draws a world and writes it in the layout of a data set."""
    names = [field.name for field in dataclasses.fields(layouts.Plan)]
    numbers = {name: getattr(options, name) for name in names}
    try:
        counts = layouts.make(options.layout, options.root, **numbers)
    except OSError as error:
        raise InputError(f"cannot write to --root {options.root}: {error}") from error
    listed = ", ".join(f"{part} {count}" for part, count in counts.items())
    sys.stdout.write(f"{options.root}: {options.layout} layout, images: {listed}\n")
    return 0


def add_check_options(parser: argparse.ArgumentParser) -> None:
    """The options of `luperson data check`."""
    parser.add_argument("name", metavar="NAME", help=f"auto, {', '.join(datasets.DATASETS)}")
    parser.add_argument("root", metavar="DIR", help="folder of the data set")
    parser.add_argument("--split", type=int, default=0, help="division of sets that have several")
    parser.add_argument(
        "--own",
        action="store_true",
        help="pictures of your own in a published layout: other numbers are no mismatch",
    )
    parser.add_argument("--quick", action="store_true", help="read names only, decode nothing")
    parser.add_argument("--workers", type=int, default=4, help="threads that decode")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the findings")


def run_check(options: argparse.Namespace) -> int:
    """Says what a folder is; the exit status is 1 where it is not what was published."""
    findings = doctor.examine(
        options.name,
        options.root,
        split=options.split,
        pictures=not options.quick,
        workers=max(options.workers, 1),
    )
    sys.stdout.write("\n".join(doctor.describe(findings)) + "\n")
    if options.json:
        values = doctor.to_dict(findings)
        try:
            options.json.write_text(json.dumps(values, indent=2) + "\n")
        except OSError as error:
            raise InputError(f"cannot write --json {options.json}: {error}") from error
    return 0 if findings.healthy and (options.own or findings.published) else 1


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """The options of `luperson data split`."""
    parser.add_argument("--dataset", required=True, help=", ".join(datasets.DATASETS))
    parser.add_argument("--root", required=True, help="folder of the data set")
    parser.add_argument(
        "--mode",
        required=True,
        help="ids: few identities with all their images; images: few images of all identities; "
        "cmpe: the 90 / 10 lists of CMPE597, as published and disjoint",
    )
    parser.add_argument(
        "--ratios", default=ALL_RATIOS, help="shares to keep, at most two decimals; not for cmpe"
    )
    parser.add_argument(
        "--out", required=True, help="folder for the lists; --root to have a run find them"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--split", type=int, default=0, help="division of sets that have several")


def run_split(options: argparse.Namespace) -> int:
    """Writes the lists and says what each selects.

    Raises:
        InputError: wrong data set, mode or ratio, or a list that exists.
    """
    table = datasets.load(options.dataset, options.root, "--root", options.split).train
    written = export.write(
        table, options.mode, _ratios(options.ratios), options.out, options.root, options.seed
    )
    lines = [f"{one.path}: {one.num_ids} identities, {one.num_images} images" for one in written]
    whole = f"of {table.num_ids} identities, {len(table)} images of {options.dataset}"
    sys.stdout.write("\n".join([*lines, whole]) + "\n")
    return 0


def _ratios(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(
            f"--ratios is {text!r}; expected numbers separated by commas, such as 0.1,0.3"
        ) from error
