"""Folds of a small labelled set: each tests on people whom it does not train on."""

import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import Splits

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"


def people_of(splits: Splits) -> list[tuple[str, int, int]]:
    """Picture, identity and camera of all splits, in the order of paths; distractors left out."""
    rows = {
        (str(path), int(pid), int(camera))
        for table in (splits.train, splits.query, splits.gallery)
        for path, pid, camera in zip(table.media, table.pid, table.camera, strict=True)
        if pid > 0
    }
    return sorted(rows)


def deal(pids: Sequence[int], folds: int, seed: int) -> list[set[int]]:
    """The test identities of each fold.

    Raises:
        InputError: fewer than two folds, or fewer identities than folds.
    """
    known = np.unique(np.asarray(pids, np.int64))
    if not 2 <= folds <= len(known):
        raise InputError(f"--folds is {folds}; expected 2 to {len(known)}, the identities")
    shuffled = np.random.default_rng(seed).permutation(known)
    return [set(shuffled[i::folds].tolist()) for i in range(folds)]


def write_fold(
    people: Sequence[tuple[str, int, int]], tested: set[int], queries: int, folder: pathlib.Path
) -> dict[str, int]:
    """Links the pictures of a fold into three folders; returns how many each holds."""
    for part in (TRAIN, QUERY, GALLERY):
        (folder / part).mkdir(parents=True)
    seen: dict[tuple[int, int], int] = {}
    counts: dict[str, int] = dict.fromkeys((TRAIN, QUERY, GALLERY), 0)
    for number, (path, pid, camera) in enumerate(people):
        place = seen.get((pid, camera), 0)
        seen[pid, camera] = place + 1
        part = TRAIN if pid not in tested else QUERY if place < queries else GALLERY
        name = f"{pid:04d}_c{camera + 1}s1_{number:06d}_00{pathlib.Path(path).suffix}"
        (folder / part / name).symlink_to(pathlib.Path(path).resolve())
        counts[part] += 1
    return counts


def write(
    splits: Splits, out: str | pathlib.Path, folds: int, queries: int, seed: int
) -> Iterator[tuple[pathlib.Path, int, dict[str, int]]]:
    """Writes fold0, fold1, ... in Market-1501's layout, of links to the pictures.

    Args:
        splits: a set of pictures in files.
        out: folder to fill; absent or empty.
        folds: how many.
        queries: pictures of an identity and camera that are queries; the rest is its gallery.
        seed: of the draw.

    Yields:
        Folder, number of test identities and pictures by part, fold by fold.

    Raises:
        InputError: wrong number of folds, or a folder that is not empty.
    """
    target = pathlib.Path(out)
    if listing.exists(target) and listing.names(target):
        raise InputError(f"{target} is not empty; give a folder that is absent or empty")
    people = people_of(splits)
    for number, tested in enumerate(deal([pid for _, pid, _ in people], folds, seed)):
        folder = target / f"fold{number}"
        try:
            counts = write_fold(people, tested, queries, folder)
        except OSError as error:
            raise InputError(f"cannot write to {folder}: {error}") from error
        yield folder, len(tested), counts
