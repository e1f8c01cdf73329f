"""Writes a data set as LMDB in the form of LUPerson (Fu et al., Unsupervised Pre-training for
Person Re-identification, CVPR 2021), for programs that read that.

    lmdb/, keys.pkl                    the training part
    query/lmdb/, query/keys.pkl        the others, where the data set has them
    gallery/lmdb/, gallery/keys.pkl
    lmdb.json                          what it is; written last

`keys.pkl` is a dict with `keys`, str, and `pids`, int: identities, or tracklets where only those
are known, as in LUPerson-NL; without either there are no `pids`. With them the keys have
LUPerson-NL's form, `{folder:05d}_{file name without its ending}`, folders counted from 1; without
them LUPerson's, `{country:02d}_{city:02d}_{video:04d}_{picture:08d}`, each counted from 0 within
the folder above.
"""

import collections
import os
import pathlib
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.packing import plan
from data_pipeline.read import atomic, listing, lmdb_store, shard_layout, storage
from data_pipeline.table.records import Table

FORM = "lmdb"
ENVIRONMENT = "lmdb"
KEYS = "keys.pkl"
DESCRIPTION = "lmdb.json"
UNFINISHED = "lmdb.part"
LOCK_FILE = "lock.mdb"
LONGEST_KEY = 511

# Country, city, video, picture.
LEVELS = 4


def export(
    name: str,
    root: str,
    out: str,
    *,
    split: int = 0,
    progress: plan.Progress = plan.no_progress,
) -> dict[str, int]:
    """Writes the pictures of a data set into LMDB environments, their bytes as they are.

    Killed and started again, it goes on with the parts that are missing, beginning each anew.
    Where all is there it only checks the sizes of the files.

    Args:
        name: the word of the data set.
        root: its folder, or several separated by commas.
        out: folder to fill; absent, empty, or where the same export was interrupted.
        split: which of the published divisions, of sets that have several.
        progress: called with the numbers of pictures written and to be written.

    Returns:
        part -> number of pictures.

    Raises:
        InputError: a wrong argument, a data set that cannot be read, an `out` that holds anything
            else or is damaged, a full disk, or the package lmdb is missing.
    """
    chosen = datasets.find(name)
    tables = plan.load(name, root, split)
    description = plan.describe(chosen, split, FORM, tables)
    home = plan.prepare(out, description, DESCRIPTION)
    counts = {part: len(table) for part, table in tables.items()}
    if listing.exists(home / DESCRIPTION):
        _check_whole(home)
        (home / shard_layout.UNFINISHED).unlink(missing_ok=True)
        progress(sum(counts.values()), sum(counts.values()))
        return counts
    total, done = sum(map(len, tables.values())), 0
    for part, table in tables.items():
        folder = _folder(home, part)
        if not listing.exists(folder / ENVIRONMENT):
            _write(folder, table, lambda count, done=done: progress(done + count, total))
        done += len(table)
        progress(done, total)
    files = [
        _folder(home, part) / file
        for part in tables
        for file in (f"{ENVIRONMENT}/{lmdb_store.DATA_FILE}", KEYS)
    ]
    sizes = {str(file.relative_to(home)): file.stat().st_size for file in files}
    shard_layout.write_description(home / DESCRIPTION, description | {"bytes": sizes})
    (home / shard_layout.UNFINISHED).unlink()
    return counts


def _folder(home: pathlib.Path, part: str) -> pathlib.Path:
    return home if part == shard_layout.PARTS[0] else home / part


def _check_whole(home: pathlib.Path) -> None:
    """Raises InputError where a file of a finished export is missing or of another size."""
    sizes = shard_layout.read_description(home / DESCRIPTION).get("bytes")
    if not isinstance(sizes, dict):
        raise InputError(f"{home / DESCRIPTION} lacks 'bytes'; delete {home} and pack again")
    for file, size in sizes.items():
        path = home / file
        found = path.stat().st_size if listing.is_file(path) else None
        if found != size:
            raise InputError(
                f"{path} "
                + ("is missing" if found is None else f"has {found} bytes")
                + f"; expected {size} bytes. Delete {home} and pack again"
            )


def _write(folder: pathlib.Path, table: Table, progress: Callable[[int], None]) -> None:
    numbers = next((column for column in (table.pid, table.track) if np.any(column >= 0)), None)
    keys = keys_of(table.paths, numbered=numbers is not None)
    # In the order of keys LMDB fills its pages, and reading the list reads the file straight on.
    order = sorted(range(len(keys)), key=keys.__getitem__)
    listed: dict[str, list] = {"keys": [keys[row] for row in order]}
    if numbers is not None:
        listed["pids"] = numbers[order].tolist()

    def items() -> Iterator[tuple[str, bytes]]:
        for count, row in enumerate(order):
            yield keys[row], storage.read(table.media[row])
            progress(count + 1)

    environment = folder / UNFINISHED
    try:
        if listing.exists(environment):
            shutil.rmtree(environment)
        lmdb_store.write_lmdb(environment, items())
        (environment / LOCK_FILE).unlink(missing_ok=True)
        with atomic.replacing(folder / KEYS) as path:
            path.write_bytes(pickle.dumps(listed, protocol=4))
        environment.replace(folder / ENVIRONMENT)
    except OSError as error:
        raise InputError(f"cannot write {folder / ENVIRONMENT}: {error}") from error


def keys_of(paths: Sequence[str], *, numbered: bool) -> list[str]:
    """The keys of pictures, in the order of their paths.

    Args:
        paths: [N] distinct; their folders are those of LUPerson, or others.
        numbered: whether keys have LUPerson-NL's form; they have LUPerson's all the same where file
            names cannot be keys: two alike but for the ending, not ASCII, too long.
    """
    places = [os.path.split(path) for path in paths]
    if numbered:
        number = {name: i for i, name in enumerate(sorted({folder for folder, _ in places}), 1)}
        keys = [f"{number[folder]:05d}_{os.path.splitext(file)[0]}" for folder, file in places]
        fitting = all(key.isascii() and len(key) <= LONGEST_KEY for key in keys)
        if fitting and len(set(keys)) == len(keys):
            return keys
    return _counted(paths)


def _counted(paths: Sequence[str]) -> list[str]:
    levels = [tuple(["", "", "", *path.split("/")][-LEVELS:]) for path in paths]
    numbers: dict[tuple[str, ...], int] = {}
    inside: collections.Counter[tuple[str, ...]] = collections.Counter()
    keys = [""] * len(levels)
    for row in sorted(range(len(levels)), key=levels.__getitem__):
        *above, video = (levels[row][:depth] for depth in range(LEVELS))
        for parent, folder in zip(above, [*above[1:], video], strict=True):
            if folder not in numbers:
                numbers[folder] = inside[parent]
                inside[parent] += 1
        country, city, place = (numbers[folder] for folder in (*above[1:], video))
        keys[row] = f"{country:02d}_{city:02d}_{place:04d}_{inside[video]:08d}"
        inside[video] += 1
    return keys
