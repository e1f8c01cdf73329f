"""`luperson data make`: draws a world and writes it in the layout of a data set.

Example:
    luperson data make --layout market1501 --root drawn --identities 20 --cameras 4
"""

import argparse
import dataclasses

from data_pipeline import terminal
from data_pipeline.errors import InputError
from data_pipeline.synthetic import layouts

WORLD_OPTIONS = {
    "identities": "people, for training and testing together",
    "cameras": "cameras; each sees everybody",
    "seed": "number of the world; those of different seeds share nobody",
    "height": "of the pictures, pixels",
    "width": "of the pictures, pixels",
    "images_per_camera": "pictures of a person by one camera, queries apart",
    "train_identities": "people for training, of those in --identities (default: half of them)",
    "distractors": "gallery pictures of people without a match (identity 0)",
    "junk": "gallery pictures without a person (identity -1)",
    "tracklets": "passes of a person, in layouts of tracklets",
    "frames": "pictures of one pass, likewise",
    "extra_cameras": "cameras that only the layouts of LUPerson have",
    "switch_rate": "share of passes, 0 to 1, that turn into somebody else halfway, likewise",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--layout", required=True, help=", ".join(layouts.LAYOUTS))
    parser.add_argument("--root", required=True, help="folder to fill; absent or empty")
    for field in dataclasses.fields(layouts.Extent):
        kind = float if field.type is float else int
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(
            option, type=kind, default=field.default, help=WORLD_OPTIONS[field.name]
        )


def run(options: argparse.Namespace) -> int:
    """Draws a world and writes it in the layout of a data set.

    Raises:
        InputError: the layout cannot have such numbers, or the folder cannot be written.
    """
    names = [field.name for field in dataclasses.fields(layouts.Extent)]
    numbers = {name: getattr(options, name) for name in names}
    try:
        counts = layouts.make(options.layout, options.root, **numbers)
    except OSError as error:
        raise InputError(f"cannot write to --root {options.root}: {error}") from error
    listed = ", ".join(f"{part} {count}" for part, count in counts.items())
    root = terminal.visible_name(options.root)
    terminal.say(f"{root}: {options.layout} layout, images: {listed}")
    return 0
