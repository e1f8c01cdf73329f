"""The data sets by name. A new one is a file with `load(root) -> Splits` and a line here."""

import os
from collections.abc import Callable, Sequence

import numpy as np

from data_pipeline.datasets import image_folder, market1501
from data_pipeline.errors import InputError, suggest
from data_pipeline.records import Splits, Table, concatenate

LOADERS: dict[str, Callable[[str], Splits]] = {
    "image_folder": image_folder.load,
    "market1501": market1501.load,
}


def load(name: str, root: str, setting: str = "root") -> Splits:
    """The tables of a data set.

    Args:
        name: a key of `LOADERS`.
        root: its folder, or several separated by commas. Their tables are joined; identities,
            cameras and tracklets of different folders are kept apart.
        setting: what messages call the root.

    Raises:
        InputError: unknown name, a folder named twice, or whatever the data set's reader raises.
    """
    if name not in LOADERS:
        raise InputError(f"there is no data set {name!r}{suggest(name, LOADERS)}")
    roots = [part.strip() for part in root.split(",") if part.strip()]
    if not roots:
        raise InputError(f"{setting} is {root!r}; expected the folder of the data set {name}")
    if len({os.path.realpath(os.path.expanduser(part)) for part in roots}) < len(roots):
        raise InputError(f"{setting} is {root!r}, which names a folder twice; name each once")
    parts = [LOADERS[name](part) for part in roots]
    return parts[0] if len(parts) == 1 else _join(parts)


def _join(parts: Sequence[Splits]) -> Splits:
    """Splits of several folders as one.

    The three tables of a folder are shifted together: a query must keep the number of its identity
    in the gallery.
    """
    sizes = [[len(part.train), len(part.query), len(part.gallery)] for part in parts]
    table = concatenate([_stack((part.train, part.query, part.gallery)) for part in parts])
    split = np.repeat(np.tile(np.arange(3), len(parts)), np.concatenate(sizes))
    return Splits(*(table.take(np.flatnonzero(split == i)) for i in range(3)))


def _stack(tables: Sequence[Table]) -> Table:
    """Tables of one folder, whose numbers mean the same, one after the other."""
    return Table(
        tuple(path for table in tables for path in table.media),
        np.concatenate([table.pid for table in tables]),
        np.concatenate([table.camera for table in tables]),
        np.concatenate([table.track for table in tables]),
    )
