"""A data set that `luperson data pack` has put into a few large files.

Rows, their order, labels and fingerprints are those of the folder that it was made from.
"""

import dataclasses
import pathlib

from data_pipeline.datasets import folders
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import listing, shard_layout
from data_pipeline.table.records import Splits


def load(root: str) -> Splits:
    """The tables of a packed data set; no picture is read.

    Raises:
        InputError: the folder is missing, holds no packed data set or only the beginning of one,
            or lacks a part.
    """
    home = pathlib.Path(folders.checked_root(root))
    if not listing.is_file(home / shard_layout.DESCRIPTION):
        raise InputError(_missing(root, home))
    return shard_layout.open_packed(home)[1]


def inside(root: str) -> DataSet:
    """The data set that a packed folder holds, with the numbers published for it."""
    about = shard_layout.open_packed(pathlib.Path(root))[0]
    return dataclasses.replace(
        DATASETS[0],
        title=f"{about['title']}, packed",
        kind=about["kind"],
        counts={part: Count(**numbers) for part, numbers in about["published"].items()},
        withdrawn=about["withdrawn"],
        note="",
    )


def _missing(root: str, home: pathlib.Path) -> str:
    if listing.is_file(home / shard_layout.UNFINISHED):
        return (
            f"{root} was not packed to the end; give the same command of `luperson data pack` "
            "again, it goes on where it ended"
        )
    inner = listing.subfolders(home)
    below = [name for name in inner if listing.is_file(home / name / shard_layout.DESCRIPTION)]
    if below:
        hint = f"give {home / below[0]} as `root`"
    else:
        hint = "pack a data set with `luperson data pack NAME DIR OUT` and give OUT"
    return f"{root} holds no packed data set: it has no {shard_layout.DESCRIPTION}; {hint}"


DATASETS = (
    DataSet(
        name="packed",
        title="a packed data set",
        load=load,
        kind="image",
        counts={},
        markers=(shard_layout.DESCRIPTION, shard_layout.INDEX),
        tree="""
            ROOT
              packed.json, index.npz
              luperson_market1501-train.array_record-00000-of-00002
              luperson_market1501-query.array_record-00000-of-00001 ...
        """,
        citation="",
        url="",
        license="that of the data set in it; see packed.json",
        access="luperson data pack NAME DIR OUT",
        inside=inside,
        note="Kind and published counts are those of the data set in it, in packed.json.",
    ),
)
