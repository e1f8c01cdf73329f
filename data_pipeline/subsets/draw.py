"""How many identities or images a ratio means, and which ones a seed draws.

The counts are those of LUPerson's published lists (Fu, Chen, Bao, Yang, Yuan, Zhang, Li, Chen:
Unsupervised Pre-training for Person Re-identification. CVPR 2021, arXiv:2012.03753). Of N
identities, int(N r) are kept. Of M images, int(M r) are kept but never fewer than one of each
identity, and they are shared out evenly, not in proportion: every identity has the same number of
images, one more or less, or all that it owns.

What is drawn depends on the seed, the names of the images and their identities alone: not on the
disk, the order of the table or a library's random numbers.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED, Table


def percent(ratio: float) -> int:
    """A ratio in whole percent, which is how lists are named.

    Raises:
        InputError: it is not above 0 and at most 1, or finer than two decimals.
    """
    hundred = ratio * 100
    if not 0.5 < hundred < 100.5 or abs(hundred - round(hundred)) > 1e-6:
        raise InputError(
            f"the ratio of a subset is {ratio!r}; expected a number from 0.01 to 1.00 with at most "
            "two decimals, as in the names of its lists (used_ids_0.10.txt)"
        )
    return round(hundred)


def num_ids(table: Table, ratio: float) -> int:
    """Identities that a ratio keeps of the table's.

    Raises:
        InputError: none, or a wrong ratio.
    """
    # In whole numbers: as a float, 100 * 0.29 is 28.999...
    number = table.num_ids * percent(ratio) // 100
    if not number:
        raise InputError(
            f"ratio {ratio:.2f} of {table.num_ids} identities is less than one; use a larger ratio"
        )
    return number


def num_images(table: Table, ratio: float) -> int:
    """Images that a ratio keeps of the table's: at least one of each identity.

    Raises:
        InputError: wrong ratio.
    """
    return max(len(table) * percent(ratio) // 100, table.num_ids, 1)


def draw_ids(table: Table, ratio: float, seed: int) -> np.ndarray:
    """Identities drawn at random; those of a ratio are among those of every larger one.

    Returns:
        [n] int64 identities, ascending.
    """
    pids = np.unique(table.pid[table.pid != UNLABELLED])
    order = np.argsort(_lots(seed, pids.tolist()), kind="stable")
    return np.sort(pids[order[: num_ids(table, ratio)]])


def draw_images(table: Table, ratio: float, seed: int) -> np.ndarray:
    """Images drawn in turns: in each, every identity that has one left gives one at random.

    Those of a ratio are among those of every larger one. (LUPerson's own lists of images are not
    nested.) A table without identities is drawn from as a whole.

    Returns:
        [n] int64 rows, ascending.
    """
    pids, person = np.unique(table.pid, return_inverse=True)
    lots = _lots(seed, names(table))
    by_person = np.lexsort((lots, person))
    first = np.searchsorted(person[by_person], np.arange(len(pids)))
    turn = np.empty(len(table), np.int64)
    turn[by_person] = np.arange(len(table)) - first[person[by_person]]
    order = np.lexsort((lots, _lots(seed, pids.tolist())[person], turn))
    return np.sort(order[: num_images(table, ratio)])


def names(table: Table) -> list[str]:
    """What lists call the images, row by row: the file name.

    Where file names repeat, as many folders stand before them as make them differ.
    """
    parts = [path.split("/") for path in table.paths]
    depth = 1
    while True:
        found = ["/".join(part[-depth:]) for part in parts]
        if len(set(found)) == len(found):
            return found
        assert depth < max(map(len, parts)), "the rows of the table repeat"
        depth += 1


def _lots(seed: int, things: Iterable[object]) -> np.ndarray:
    """A number for each thing; in their order the things stand at random."""
    numbers = (
        int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        for text in (f"{seed}:{one}".encode("utf-8", "surrogateescape") for one in things)
    )
    return np.fromiter(numbers, np.uint64)
