"""`luperson data unpack ARCHIVE FOLDER`: a zip or tar archive, or pieces of one.

Example:
    luperson data unpack LUPerson.zip.001 /data/luperson
"""

import argparse

from data_pipeline import terminal
from data_pipeline.errors import shorten
from data_pipeline.read import archives


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("archive", metavar="ARCHIVE", help="the archive, or any piece of it")
    parser.add_argument("folder", metavar="FOLDER", help="where to; what is there already is kept")


def run(options: argparse.Namespace) -> None:
    """Writes what is in an archive, kept inside the folder.

    Raises:
        InputError: no archive, a damaged one, or a piece that is missing.
    """
    done = archives.extract(options.archive, options.folder)
    skipped = [f"left out {name}" for name in shorten(list(done.skipped))]
    terminal.say(
        f"{options.folder}: {done.written} files written, {done.kept} were there", *skipped
    )
