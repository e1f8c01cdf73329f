"""Several data sets at once, trained on as one.

    market1501=/data/market,msmt17=/data/msmt17

What a reader calls `train` is what papers train on; MSMT17's is its training and validation list
together.
"""

import dataclasses
import os

import numpy as np

from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.table.records import Table, concatenate


@dataclasses.dataclass(frozen=True)
class NamedFolder:
    """A data set by name and folder."""

    name: str
    root: str


def parse(text: str, setting: str = "`root`") -> tuple[NamedFolder, ...]:
    """The sources that a text lists as `name=folder`, separated by commas.

    Args:
        text: what the user gave.
        setting: what messages call it.

    Raises:
        InputError: none, one in another form, an unknown data set, a folder named twice.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    found = []
    for part in parts:
        name, _, root = (half.strip() for half in part.partition("="))
        if not (name and root):
            raise InputError(
                f"{setting} has {part!r}; expected NAME=FOLDER for each data set, such as "
                "market1501=/data/market,msmt17=/data/msmt17"
            )
        found.append(NamedFolder(datasets.find(name).name, root))
    if not found:
        raise InputError(f"{setting} is {text!r}; expected NAME=FOLDER, separated by commas")
    folders = {os.path.realpath(os.path.expanduser(one.root)) for one in found}
    if len(folders) < len(found):
        raise InputError(f"{setting} is {text!r}, which names a folder twice; name each once")
    return tuple(found)


def training_table(text: str, setting: str = "`root`", split: int = 0) -> Table:
    """The training images of several data sets as one table.

    Identities, cameras and tracklets of different sources are kept apart by their numbers; those
    of the first keep theirs. The column `source` tells which one a row is of.

    Args:
        text: as in `parse`.
        setting: what messages call it.
        split: which published division, of the sets that have several.

    Raises:
        InputError: as `parse` and the readers, or a set without training images.
    """
    tables = []
    for source in parse(text, setting):
        several = datasets.find(source.name).num_splits > 1
        number = split if several else 0
        table = datasets.load(source.name, source.root, setting, number).train
        if not len(table):
            raise InputError(
                f"{setting}: {source.name} in {source.root} has no training images; leave it out"
            )
        tables.append(table)
    source = np.repeat(np.arange(len(tables), dtype=np.int16), [len(one) for one in tables])
    return dataclasses.replace(concatenate(tables), source=source)
