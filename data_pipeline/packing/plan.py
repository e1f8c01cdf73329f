"""What packing begins with, whatever the form: the tables, what is known of them, the folder."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from data_pipeline import datasets
from data_pipeline.datasets import folders
from data_pipeline.datasets.about import DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import atomic, listing, shard_layout
from data_pipeline.table.records import Table

Progress = Callable[[int, int], None]

# Versions of libraries may change between the beginning of packing and its end.
NOT_COMPARED = ("versions",)


def no_progress(done: int, total: int) -> None:
    """Tells nobody."""


def load(name: str, root: str, split: int) -> dict[str, Table]:
    """The tables of the data set to pack that are not empty, by part; their media do not depend on
    the working folder.

    Raises:
        InputError: whatever the data set's reader raises.
    """
    places = (os.path.abspath(os.path.expanduser(part)) for part in folders.roots(root))
    splits = datasets.load(name, ",".join(places) or root, "DIR", split)
    return {part: table for part in shard_layout.PARTS if len(table := getattr(splits, part))}


def describe(one: DataSet, split: int, form: str, tables: Mapping[str, Table]) -> dict[str, Any]:
    """What is known of a data set that is packed: `packed.json` without the files."""
    return {
        "format": shard_layout.FORMAT,
        "form": form,
        "name": one.name,
        "title": one.title,
        "kind": one.kind,
        "split": split,
        "license": one.license,
        "citation": one.citation,
        "url": one.url,
        "withdrawn": one.withdrawn,
        "published": {part: dataclasses.asdict(count) for part, count in one.counts.items()},
        "parts": {
            part: {
                "images": len(table),
                "ids": table.num_ids,
                "cameras": table.num_cameras,
                "fingerprint": table.fingerprint(),
            }
            for part, table in tables.items()
        },
    }


def prepare(
    out: str, description: Mapping[str, Any], done: str = shard_layout.DESCRIPTION
) -> pathlib.Path:
    """The folder to pack into, marked by `shard_layout.UNFINISHED` unless it is packed already.

    Args:
        out: as the user gives it.
        description: of what is to be packed.
        done: name of the file that a finished pack has.

    Raises:
        InputError: it holds anything but the same data set, packed or in the making.
    """
    home = pathlib.Path(os.path.expanduser(out))
    try:
        home.mkdir(parents=True, exist_ok=True)
        found = listing.names(home)
        for name in found:
            if name.startswith(f"{shard_layout.UNFINISHED}.") and atomic.is_part(name):
                (home / name).unlink(missing_ok=True)  # of a process that was killed
                found = [other for other in found if other != name]
    except OSError as error:
        raise InputError(f"cannot use OUT {out} as a folder: {error.strerror}") from error
    present = [name for name in (done, shard_layout.UNFINISHED) if name in found]
    for name in present:
        _check_same(home / name, description)
    if not found:
        shard_layout.write_description(home / shard_layout.UNFINISHED, description)
    elif not present:
        raise InputError(
            f"OUT {out} is not empty: it holds {', '.join(found[:5])}; give an absent or empty "
            "folder"
        )
    return home


def _check_same(path: pathlib.Path, description: Mapping[str, Any]) -> None:
    present = shard_layout.read_description(path)
    compared = [key for key in description if key not in NOT_COMPARED]
    differing = [key for key in compared if present.get(key) != description[key]]
    if differing:
        state = (
            "the beginning of another" if path.name == shard_layout.UNFINISHED else "another pack"
        )
        raise InputError(
            f"{path.parent} holds {state}: {', '.join(differing)} in {path} differ from what is "
            "to be packed; delete the folder, or give another OUT"
        )
