"""Which steps of a run are saved, by the names of folders alone."""

import pathlib

from data_pipeline.read import listing

FOLDER = "checkpoints"


def of(workdir: str | pathlib.Path) -> list[int]:
    """Steps of the finished checkpoints, ascending; none where there is no workdir.

    Raises:
        InputError: the folder cannot be listed.
    """
    folder = pathlib.Path(workdir, FOLDER)
    names = listing.names(folder) if listing.is_folder(folder) else []
    return sorted(int(name) for name in names if name.isdecimal())
