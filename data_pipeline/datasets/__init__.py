"""The data sets by name. A new one is a file with `load` and `DATASETS`, and a line here."""

import os
from collections.abc import Sequence

import numpy as np

from data_pipeline.datasets import (
    cuhk03,
    cuhk_sysu,
    dukemtmc,
    dukemtmc_videoreid,
    folders,
    ilids_vid,
    image_folder,
    luperson,
    market1501,
    mars,
    msmt17,
    packed,
    personx,
    prid2011,
    vehicleid,
    veri776,
)
from data_pipeline.datasets.about import DataSet
from data_pipeline.errors import InputError, arguments_named, suggest
from data_pipeline.read import listing
from data_pipeline.table.paths import Paths
from data_pipeline.table.records import Splits, Table, concatenate

MODULES = (
    market1501,
    dukemtmc,
    msmt17,
    cuhk03,
    personx,
    cuhk_sysu,
    veri776,
    vehicleid,
    prid2011,
    ilids_vid,
    mars,
    dukemtmc_videoreid,
    luperson,
    image_folder,
    packed,
)
DATASETS: dict[str, DataSet] = {one.name: one for module in MODULES for one in module.DATASETS}


def load(name: str, root: str, setting: str = "`root`", split: int = 0) -> Splits:
    """The tables of a data set.

    Args:
        name: a key of `DATASETS`.
        root: its folder, or several separated by commas unless the whole is the name of one. Their
            tables are joined; identities, cameras and tracklets of different folders are kept
            apart.
        setting: what messages call the root.
        split: which of the published divisions, from 0, of sets that have several.

    Raises:
        InputError: unknown name, a folder named twice, no such split, or whatever the data set's
            reader raises.
    """
    chosen = find(name)
    if not 0 <= split < chosen.num_splits:
        raise InputError(f"split {split} of {name}; it has {chosen.num_splits}, counted from 0")
    roots = folders.roots(root)
    if not roots:
        raise InputError(f"{setting} is {root!r}; expected the folder of the data set {name}")
    if len({os.path.realpath(os.path.expanduser(part)) for part in roots}) < len(roots):
        raise InputError(f"{setting} is {root!r}, which names a folder twice; name each once")
    absent = [part for part in roots if not listing.exists(os.path.expanduser(part))]
    if absent and len(roots) > 1:
        try:
            folders.checked_root(absent[0])
        except InputError as error:
            raise InputError(
                f"{setting} is {root!r}, which is no folder; by its commas it names {len(roots)}. "
                f"{error}"
            ) from error
    number = (split,) if chosen.num_splits > 1 else ()
    with arguments_named({"root": setting}):
        parts = [chosen.load(part, *number) for part in roots]
    return parts[0] if len(parts) == 1 else _join(parts)


def find(name: str) -> DataSet:
    """The data set of that name.

    Raises:
        InputError: there is none.
    """
    if name not in DATASETS:
        raise InputError(f"there is no data set {name!r}{suggest(name, DATASETS)}")
    return DATASETS[name]


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
        Paths.of(path for table in tables for path in table.media),
        np.concatenate([table.pid for table in tables]),
        np.concatenate([table.camera for table in tables]),
        np.concatenate([table.track for table in tables]),
        names=_names(tables),
    )


def _names(tables: Sequence[Table]) -> Paths | None:
    """The names of all rows, where some table has names apart from its media."""
    if all(table.names is None for table in tables):
        return None
    return Paths.of(path for table in tables for path in table.paths)
