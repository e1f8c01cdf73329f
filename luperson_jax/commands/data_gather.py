"""`luperson data gather`: puts crops into LUPerson's own form, an LMDB with keys.pkl.

Example:
    luperson data gather --source luperson_nl --images CROPS --out PACKED
"""

import argparse

from data_pipeline import terminal
from data_pipeline.crops import gather
from data_pipeline.crops.extract import SOURCES
from data_pipeline.errors import shorten


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--source", required=True, help=", ".join(SOURCES))
    parser.add_argument("--images", required=True, help="<country>/<city>/<id>/*.jpg below it")
    parser.add_argument("--out", required=True, help="folder that gets lmdb and keys.pkl")
    persons = "; ".join(f"{name}: {what}" for name, what in gather.PERSONS.items())
    parser.add_argument("--persons", default="", help=f"if pids stand in several videos: {persons}")


def run(options: argparse.Namespace) -> None:
    """Packs, and says what was packed.

    Raises:
        InputError: wrong options or folders, or crops that do not belong together.
    """
    packed = gather.gather(options.images, options.out, options.source, options.persons)
    ids = f", {packed.ids} identities" if packed.ids else ""
    terminal.say(f"{options.out}: {packed.images} pictures of {packed.videos} videos{ids}")
    if packed.same_id:
        names = shorten(packed.same_id)
        terminal.say(
            f"{len(packed.same_id)} folders left out, whose id stands under another city:", *names
        )
