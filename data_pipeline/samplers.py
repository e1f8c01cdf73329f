"""Which rows make which batch: pure functions of the table, the seed and the epoch.

Each returns int64 [steps, B] rows of the table. The number of steps does not depend on the seed or
the epoch, so that a step number alone tells the epoch.
"""

from collections.abc import Iterator

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.records import UNLABELLED, Table


def shuffled(table: Table, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Every row at most once, in random order; the last incomplete batch is dropped.

    Raises:
        InputError: fewer rows than a batch.
    """
    steps = _num_steps(len(table), batch_size, "rows")
    order = _generator(seed, epoch).permutation(len(table))
    return order[: steps * batch_size].reshape(steps, batch_size)


def sequential(num_rows: int, batch_size: int) -> np.ndarray:
    """Every row once, in order; the last batch is filled up with -1. For evaluation."""
    _check_batch_size(batch_size)
    steps = -(-num_rows // batch_size)
    rows = np.full(steps * batch_size, -1, np.int64)
    rows[:num_rows] = np.arange(num_rows)
    return rows.reshape(steps, batch_size)


def pk(table: Table, batch_size: int, num_instances: int, seed: int, epoch: int) -> np.ndarray:
    """P identities with K images each, P = batch_size / num_instances, K = num_instances.

    A pass shuffles the images of each identity and cuts them into groups of K: an incomplete group
    is dropped, an identity with fewer than K images gives one group drawn with replacement. Then P
    identities at a time are drawn without replacement among those that have a group left, until
    fewer than P do. This is the "naive" identity sampler of FastReID (He, Liao, Liu, Liu, Cheng,
    Mei: FastReID: A PyTorch Toolbox for General Instance Re-identification. 2020,
    arXiv:2006.02631).

    An epoch is floor(labelled images / batch_size) steps, as published recipes count it. A pass
    usually ends earlier; passes follow one another until the epoch is full.

    Returns:
        [steps, P * K] rows, the K of an identity side by side. Unlabelled rows are never drawn.

    Raises:
        InputError: batch_size is no multiple of num_instances, fewer labelled rows than a batch,
            fewer identities than P.
    """
    return _identity_batches(table, batch_size, num_instances, seed, epoch, _pass_of_all_images)


def pk_camera(
    table: Table, batch_size: int, num_instances: int, seed: int, epoch: int
) -> np.ndarray:
    """P identities with K images each, from as many cameras as the identity has.

    A pass takes every identity once, whatever the number of its images ("balanced"). The first
    image is random; each further one comes from a camera that was drawn least so far, and is new
    as long as the identity has unused images. Steps, result and errors as in `pk`; rows of an
    unknown camera count as one camera.
    """
    return _identity_batches(table, batch_size, num_instances, seed, epoch, _pass_across_cameras)


def _identity_batches(
    table: Table, batch_size: int, num_instances: int, seed: int, epoch: int, one_pass
) -> np.ndarray:
    _check_batch_size(batch_size)
    if num_instances < 1 or batch_size % num_instances:
        raise InputError(
            f"data.batch_size {batch_size} is not a multiple of data.num_instances "
            f"{num_instances}; each identity of a batch gives num_instances images"
        )
    num_identities = batch_size // num_instances
    rows = np.flatnonzero(table.pid != UNLABELLED)
    steps = _num_steps(len(rows), batch_size, "labelled rows")
    if table.num_ids < num_identities:
        raise InputError(
            f"data.batch_size {batch_size} with data.num_instances {num_instances} needs "
            f"{num_identities} identities in a batch, the table has {table.num_ids}; "
            "lower data.batch_size or raise data.num_instances"
        )
    generator = _generator(seed, epoch)
    batches: list[np.ndarray] = []
    while len(batches) < steps:
        batches.extend(one_pass(table, rows, num_identities, num_instances, generator))
    return np.stack(batches[:steps])


def _pass_of_all_images(
    table: Table, rows: np.ndarray, num_identities: int, num_instances: int, generator
) -> Iterator[np.ndarray]:
    rows = generator.permutation(rows)
    rows = rows[np.argsort(table.pid[rows], kind="stable")]
    _, start, count = np.unique(table.pid[rows], return_index=True, return_counts=True)
    few = count < num_instances
    # Positions in `rows` of the K images of an identity's next group, for those that resample.
    resampled = generator.integers(0, count[few, None], (few.sum(), num_instances))
    groups_of_few = rows[start[few, None] + resampled]
    place_among_few = np.cumsum(few) - 1

    left = np.maximum(count // num_instances, 1)
    available = np.arange(len(left))
    size = len(available)
    while size >= num_identities:
        batch = []
        places = generator.choice(size, num_identities, replace=False)
        for identity in available[places]:
            left[identity] -= 1
            if few[identity]:
                batch.append(groups_of_few[place_among_few[identity]])
            else:
                first = start[identity] + left[identity] * num_instances
                batch.append(rows[first : first + num_instances])
        # Identities used up leave the pool: the last one takes their place, from behind, so that no
        # place still to be visited moves.
        for place in np.sort(places)[::-1]:
            if left[available[place]] == 0:
                size -= 1
                available[place] = available[size]
        yield np.concatenate(batch)


def _pass_across_cameras(
    table: Table, rows: np.ndarray, num_identities: int, num_instances: int, generator
) -> Iterator[np.ndarray]:
    rows = _cameras_in_turn(table, generator.permutation(rows))
    _, start, count = np.unique(table.pid[rows], return_index=True, return_counts=True)
    # An identity with fewer than K images is gone through again, in the same turn of cameras.
    groups = rows[start[:, None] + np.arange(num_instances) % count[:, None]]
    groups = groups[generator.permutation(len(groups))]
    for first in range(0, len(groups) - num_identities + 1, num_identities):
        yield groups[first : first + num_identities].reshape(-1)


def _cameras_in_turn(table: Table, rows: np.ndarray) -> np.ndarray:
    """The rows sorted by identity, and within it so that its cameras take turns.

    `rows` come shuffled; the camera of an identity's first image leads its turns.
    """
    pid, camera = table.pid[rows], table.camera[rows]
    place = np.arange(len(rows))
    by_camera = np.lexsort((place, camera, pid))
    changes = np.diff(pid[by_camera]) | np.diff(camera[by_camera])
    first = np.flatnonzero(np.r_[True, changes != 0])
    length = np.diff(np.r_[first, len(rows)])
    turn, leader = np.empty_like(place), np.empty_like(place)
    turn[by_camera] = place - np.repeat(first, length)
    leader[by_camera] = np.repeat(by_camera[first], length)
    return rows[np.lexsort((leader, turn, pid))]


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, epoch]))


def _num_steps(num_rows: int, batch_size: int, what: str) -> int:
    _check_batch_size(batch_size)
    if num_rows < batch_size:
        raise InputError(
            f"data.batch_size {batch_size} is more than the {num_rows} {what} of the table; "
            f"lower it to {num_rows} or less, or add images"
        )
    return num_rows // batch_size


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"data.batch_size is {batch_size}; expected 1 or more")
