"""Which rows make which batch: pure functions of the table, the seed and the epoch.

Each returns int64 [num_steps, B] rows of the table, and always fills them: where the rows of the
table do not last, they come again. The number of steps is the caller's, so that a step number alone
tells the epoch.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.frames import Tracklets
from data_pipeline.table.records import UNLABELLED, Table


def shuffled(table: Table, batch_size: int, seed: int, epoch: int, num_steps: int) -> np.ndarray:
    """Every row once in random order, then every row once more in another, until the steps of the
    epoch are full; an epoch of floor(rows / batch_size) steps has each row at most once.

    Raises:
        InputError: the table has no rows.
    """
    _check_batch_size(batch_size)
    if not len(table):
        raise InputError("the table has no rows to draw from; expected 1 or more")
    generator, wanted = _generator(seed, epoch), num_steps * batch_size
    passes = [generator.permutation(len(table)) for _ in range(-(-wanted // len(table)))]
    return np.concatenate(passes)[:wanted].reshape(num_steps, batch_size)


def shares(weights: Sequence[float], num: int) -> np.ndarray:
    """How many of `num` images each of several data sets gives: [S] int64, in the ratio of the
    weights, rounded by largest remainders."""
    exact = np.asarray(weights, np.float64) / np.sum(weights, dtype=np.float64) * num
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: num - counts.sum()]] += 1
    return counts


def mixed(
    table: Table,
    batch_size: int,
    weights: tuple[float, ...],
    seed: int,
    epoch: int,
    num_steps: int,
) -> np.ndarray:
    """Images of several data sets in the ratio of their weights, in random order.

    Every epoch has the same number of each set, see `shares`. The images of a set come in passes
    through all of it, each in another order, which run on from epoch to epoch: no image comes twice
    before all have come once, however often the set is passed through.

    Args:
        table: with the column `source`; every set has rows.
        weights: of each set, above 0.
    """
    _check_batch_size(batch_size)
    assert table.source is not None, "a table of one data set"
    counts = shares(weights, num_steps * batch_size).tolist()
    parts = [
        _in_passes(np.flatnonzero(table.source == place), epoch * count, count, (seed, place + 1))
        for place, count in enumerate(counts)
    ]
    rows = _generator(seed, epoch).permutation(np.concatenate(parts))
    return rows.reshape(num_steps, batch_size)


def _in_passes(rows: np.ndarray, first: int, num: int, seed: tuple[int, ...]) -> np.ndarray:
    """`num` of the rows from place `first` of a stream that shuffles them in every pass."""
    begin, end = first // len(rows), -(-(first + num) // len(rows))
    passes = [_generator(*seed, number).permutation(rows) for number in range(begin, end)]
    skipped = first - begin * len(rows)
    return np.concatenate(passes or [rows[:0]])[skipped : skipped + num]


def of_tracklets(
    table: Table, batch_size: int, seed: int, epoch: int, num_steps: int
) -> np.ndarray:
    """A frame drawn from each tracklet in turn, so that long tracklets are seen as often as short.

    Tracklets come in passes through all of them, which run on from epoch to epoch.

    Raises:
        InputError: no row has a tracklet.
    """
    _check_batch_size(batch_size)
    tracklets, wanted = Tracklets.of(table), num_steps * batch_size
    chosen = _in_passes(np.arange(len(tracklets)), epoch * wanted, wanted, (seed,))
    frame = _generator(seed, epoch).integers(0, tracklets.length[chosen])
    return tracklets.rows[tracklets.start[chosen] + frame].reshape(num_steps, batch_size)


def sequential(num_rows: int, batch_size: int) -> np.ndarray:
    """Every row once, in order; the last batch is filled up with -1. For evaluation."""
    _check_batch_size(batch_size)
    steps = -(-num_rows // batch_size)
    rows = np.full(steps * batch_size, -1, np.int64)
    rows[:num_rows] = np.arange(num_rows)
    return rows.reshape(steps, batch_size)


def pk(
    table: Table, batch_size: int, num_instances: int, seed: int, epoch: int, num_steps: int
) -> np.ndarray:
    """P identities with K images each, P = batch_size / num_instances, K = num_instances.

    A pass shuffles the images of each identity and cuts them into groups of K: an incomplete group
    is dropped, an identity with fewer than K images gives one group drawn with replacement. Then P
    identities at a time are drawn without replacement among those that have a group left, until
    fewer than P do. This is the "naive" identity sampler of FastReID (He, Liao, Liu, Liu, Cheng,
    Mei: FastReID: A PyTorch Toolbox for General Instance Re-identification. 2020,
    arXiv:2006.02631).

    Passes follow one another in one stream that runs on through the whole training, as there; pass
    number p depends on the seed and p alone. An epoch is the next `num_steps` batches of the
    stream and may begin or end inside a pass; published recipes have floor(labelled images /
    batch_size) of them. A pass cut short at every epoch would draw identities with few images too
    often, as those with many are what its end consists of.

    Where there are fewer than P identities, all of them are drawn at a time, and batches are cut
    from these draws laid end to end: an identity then stands in a batch several times.

    Returns:
        [num_steps, P * K] rows, the K of an identity side by side. Unlabelled rows are never drawn.

    Raises:
        InputError: batch_size is no multiple of num_instances, or no row has an identity.
    """
    rows, num_identities = _check_identities(table, batch_size, num_instances)
    counts = np.unique(table.pid[rows], return_counts=True)[1]
    num_groups = np.maximum(counts // num_instances, 1)
    lengths = _known_lengths(num_groups.tobytes(), num_identities, seed)

    def length_of(number: int) -> int:
        if number not in lengths:
            drawn = _draw_identities(num_groups, num_identities, _generator(seed, number))
            lengths[number] = len(drawn)
        return lengths[number]

    def draw(number: int) -> np.ndarray:
        generator = _generator(seed, number)
        identities = _draw_identities(num_groups, num_identities, generator)
        groups = _groups_of_images(table, rows, identities, num_instances, generator)
        return groups.reshape(len(groups), -1)

    return _batches_of_stream(
        epoch, num_steps, batch_size, num_identities * num_instances, length_of, draw
    )


def pk_camera(
    table: Table, batch_size: int, num_instances: int, seed: int, epoch: int, num_steps: int
) -> np.ndarray:
    """P identities with K images each, from as many cameras as the identity has.

    A pass takes every identity once, whatever the number of its images ("balanced"), but for those
    left over when fewer than P remain. The first image is random; each further one comes from a
    camera that was drawn least so far, and is new as long as the identity has unused images.
    Stream of passes, steps, result and errors as in `pk`; rows of an unknown camera count as one
    camera.
    """
    rows, num_identities = _check_identities(table, batch_size, num_instances)

    def draw(number: int) -> np.ndarray:
        return _pass_across_cameras(
            table, rows, num_identities, num_instances, _generator(seed, number)
        )

    length, drawn = table.num_ids // num_identities, num_identities * num_instances
    return _batches_of_stream(epoch, num_steps, batch_size, drawn, lambda _: length, draw)


def pk_across(
    table: Table, batch_size: int, num_instances: int, seed: int, epoch: int, num_steps: int
) -> np.ndarray:
    """P identities with K images each: one at random, K - 1 under other cameras than that one.

    Of an identity that one camera has seen the others are any other images. They are drawn without
    replacement where there are at least K of them, else with. An identity of one image gives it
    once, so that a batch may hold more than P identities.

    A pass has every identity once, in random order, and is cut into batches; what is left over is
    dropped, unless passes are shorter than a batch and are laid end to end. Every epoch begins with
    a pass, because pseudo labels change from one to the next. This is the sampler of clustering
    methods since SpCL (Ge, Zhu, Chen, Zhao, Li: Self-paced Contrastive Learning with Hybrid Memory
    for Domain Adaptive Object Re-ID. 2020, arXiv:2006.02713).

    Returns:
        [num_steps, P * K] rows, those of an identity side by side. Unlabelled rows are never drawn.

    Raises:
        InputError: as `pk`.
    """
    rows, _ = _check_identities(table, batch_size, num_instances)
    generator = _generator(seed, epoch)
    order = rows[np.argsort(table.pid[rows], kind="stable")]
    images = np.split(order, np.flatnonzero(np.diff(table.pid[order])) + 1)
    parts, wanted, drawn = [], num_steps * batch_size, 0
    while drawn < wanted:
        one = [
            _anchor_and_others(images[place], table.camera, num_instances, generator)
            for place in generator.permutation(len(images))
        ]
        whole = np.concatenate(one)
        parts.append(whole[: len(whole) // batch_size * batch_size or len(whole)])
        drawn += len(parts[-1])
    return np.concatenate(parts)[:wanted].reshape(num_steps, batch_size)


def _anchor_and_others(
    images: np.ndarray, camera: np.ndarray, num_instances: int, generator: np.random.Generator
) -> np.ndarray:
    place = generator.integers(len(images))
    anchor = images[place : place + 1]
    others = images[camera[images] != camera[anchor]]
    if not len(others):
        others = np.delete(images, place)
    if not len(others):
        return anchor
    replace = len(others) < num_instances
    return np.r_[anchor, generator.choice(others, num_instances - 1, replace=replace)]


def _check_identities(table: Table, batch_size: int, num_instances: int) -> tuple[np.ndarray, int]:
    """The labelled rows, and how many identities are drawn at a time."""
    _check_batch_size(batch_size)
    if num_instances < 1 or batch_size % num_instances:
        raise InputError(
            f"`batch_size` {batch_size} is not a multiple of `num_instances` "
            f"{num_instances}; each identity of a batch gives that many images"
        )
    rows = np.flatnonzero(table.pid != UNLABELLED)
    if not len(rows):
        raise InputError(f"none of the {len(table)} rows of the table has an identity to draw")
    return rows, min(batch_size // num_instances, table.num_ids)


def _batches_of_stream(
    epoch: int,
    num_steps: int,
    batch_size: int,
    drawn: int,
    length_of: Callable[[int], int],
    draw: Callable[[int], np.ndarray],
) -> np.ndarray:
    """The batches of an epoch from passes of `drawn` rows at a time, at most a batch."""
    begin, end = epoch * num_steps * batch_size, (epoch + 1) * num_steps * batch_size
    first, last = begin // drawn, -(-end // drawn)
    rows = _part_of_stream(first, last - first, length_of, draw).reshape(-1)
    return rows[begin - first * drawn : end - first * drawn].reshape(num_steps, batch_size)


def _part_of_stream(
    first: int,
    num: int,
    length_of: Callable[[int], int],
    draw: Callable[[int], np.ndarray],
) -> np.ndarray:
    """Draws `first` to `first + num` of passes laid end to end; only their passes are drawn."""
    parts, end = [], 0
    for number in itertools.count():
        begin, end = end, end + length_of(number)
        if end > first:
            parts.append(draw(number)[max(first - begin, 0) : first + num - begin])
        if end >= first + num:
            return np.concatenate(parts)
    raise AssertionError("the stream has no end")


@functools.lru_cache(maxsize=8)
def _known_lengths(num_groups: bytes, num_identities: int, seed: int) -> dict[int, int]:
    """Steps of the passes that were counted already, by number of the pass.

    The length of a pass is random, so that finding the place of an epoch takes the lengths of all
    passes before it. They are facts about the arguments: a memory of them changes no result.
    """
    del num_groups, num_identities, seed
    return {}


def _draw_identities(num_groups: np.ndarray, num_identities: int, generator) -> np.ndarray:
    """Which identities stand in which batch of a pass: [steps, P] places in `num_groups`."""
    left = num_groups.copy()
    available = np.arange(len(left))
    size = len(available)
    batches = []
    while size >= num_identities:
        places = generator.choice(size, num_identities, replace=False)
        batch = available[places]
        left[batch] -= 1
        batches.append(batch)
        # Identities used up leave the pool: the last one takes their place, from behind, so that no
        # place still to be visited moves.
        for place in np.sort(places[left[batch] == 0])[::-1]:
            size -= 1
            available[place] = available[size]
    return np.stack(batches)


def _groups_of_images(
    table: Table, rows: np.ndarray, identities: np.ndarray, num_instances: int, generator
) -> np.ndarray:
    """The images of each drawn identity: [steps, P, K] rows."""
    rows = generator.permutation(rows)
    rows = rows[np.argsort(table.pid[rows], kind="stable")]
    _, start, count = np.unique(table.pid[rows], return_index=True, return_counts=True)
    few = count < num_instances
    # Places in `rows` of the K images of an identity's only group, for those that resample.
    resampled = generator.integers(0, count[few, None], (few.sum(), num_instances))

    flat = identities.reshape(-1)
    offset = _times_before(flat)[:, None] * num_instances + np.arange(num_instances)
    offset = np.where(few[flat, None], 0, offset)
    offset[few[flat]] = resampled[(np.cumsum(few) - 1)[flat[few[flat]]]]
    return rows[start[flat, None] + offset].reshape(*identities.shape, num_instances)


def _times_before(values: np.ndarray) -> np.ndarray:
    """How often each value stands further ahead in the list already."""
    order = np.argsort(values, kind="stable")
    run = np.r_[0, np.flatnonzero(np.diff(values[order])) + 1]
    length = np.diff(np.r_[run, len(values)])
    times = np.empty_like(order)
    times[order] = np.arange(len(values)) - np.repeat(run, length)
    return times


def _pass_across_cameras(
    table: Table, rows: np.ndarray, num_identities: int, num_instances: int, generator
) -> np.ndarray:
    rows = _cameras_in_turn(table, generator.permutation(rows))
    _, start, count = np.unique(table.pid[rows], return_index=True, return_counts=True)
    # An identity with fewer than K images is gone through again, in the same turn of cameras.
    groups = rows[start[:, None] + np.arange(num_instances) % count[:, None]]
    groups = groups[generator.permutation(len(groups))]
    steps = len(groups) // num_identities
    return groups[: steps * num_identities].reshape(steps, -1)


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


def _generator(*numbers: int) -> np.random.Generator:
    """The draws of one epoch or pass: a seed, and what tells it from others of that seed."""
    return np.random.default_rng(np.random.SeedSequence(numbers))


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"`batch_size` is {batch_size}; expected 1 or more")
