"""Cuts a small labelled set into folds: each tests on people whom it does not train on.

    python scripts/make_folds.py --dataset market1501 --root DIR --out runs/folds --folds 5

Writes runs/folds/fold0, fold1, ... in Market-1501's layout, of links to the pictures. Identities
are shuffled by --seed and dealt out, so that each is a test identity once. The first --queries
pictures that a camera has of a test identity are queries, the rest its gallery.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from data_pipeline import datasets, terminal
from data_pipeline.errors import InputError
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--dataset", required=True, help="of pictures in files, such as market1501")
    parser.add_argument("--root", required=True, help="folder of the data set")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="absent or empty")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=2, help="of an identity and camera")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        if options.out.exists() and any(options.out.iterdir()):
            raise InputError(f"--out {options.out} is not empty")
        people = people_of(datasets.load(options.dataset, options.root, "--root"))
        folds = deal([pid for _, pid, _ in people], options.folds, options.seed)
        for number, tested in enumerate(folds):
            folder = options.out / f"fold{number}"
            counts = write_fold(people, tested, options.queries, folder)
            listed = ", ".join(f"{part} {count}" for part, count in counts.items())
            terminal.say(f"{folder}: {len(tested)} test identities, {listed}")
    except (InputError, OSError) as error:
        terminal.complain("make_folds", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("make_folds", main))
