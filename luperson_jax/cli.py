"""`luperson <command>`: everything beside training. Parses and hands over."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from absl import logging

from data_pipeline.errors import InputError
from data_pipeline.synthetic import layouts
from luperson_jax.convert import command

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
    "tracklets": "passes of a person, in the layouts folder and video",
    "frames": "pictures of one pass, likewise",
    "extra_cameras": "cameras that only the layout folder has",
    "switch_rate": "share of passes that turn into somebody else halfway, in folder",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(f"{message}\n{self.format_usage().strip()}")


def make_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = _Parser(prog="luperson", description="Person re-identification in JAX.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    data = commands.add_parser("data", help="data sets").add_subparsers(
        dest="data_command", required=True, metavar="COMMAND"
    )
    make = data.add_parser(
        "make",
        help="draw a synthetic world and write it in the layout of a data set",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    make.add_argument("--layout", required=True, help=", ".join(layouts.LAYOUTS))
    make.add_argument("--root", required=True, help="folder to fill; absent or empty")
    for field in dataclasses.fields(layouts.Plan):
        kind = float if field.type is float else int
        option = f"--{field.name.replace('_', '-')}"
        make.add_argument(option, type=kind, default=field.default, help=WORLD_OPTIONS[field.name])
    make.set_defaults(run=_make_data)
    convert = commands.add_parser(
        "convert", help="PyTorch checkpoints to ours and back", description=command.__doc__
    )
    command.add_options(convert)
    convert.set_defaults(run=command.run)
    return parser


def _make_data(options: argparse.Namespace) -> None:
    names = [field.name for field in dataclasses.fields(layouts.Plan)]
    numbers = {name: getattr(options, name) for name in names}
    try:
        counts = layouts.make(options.layout, options.root, **numbers)
    except OSError as error:
        raise InputError(f"cannot write to --root {options.root}: {error}") from error
    listed = ", ".join(f"{part} {count}" for part, count in counts.items())
    sys.stdout.write(f"{options.root}: {options.layout} layout, images: {listed}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status is 2 where the user has something to mend."""
    logging.set_verbosity(logging.ERROR)  # of the libraries
    try:
        options = make_parser().parse_args(arguments)
        options.run(options)
    except InputError as error:
        sys.stderr.write(f"luperson: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
