import functools

import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.table import samplers
from data_pipeline.table.paths import Paths
from data_pipeline.table.records import Table


def table_of(pid, camera=None):
    pid = np.asarray(pid, np.int64)
    camera = np.zeros_like(pid) if camera is None else np.asarray(camera, np.int64)
    return Table(tuple(f"{i}.jpg" for i in range(len(pid))), pid, camera, np.full_like(pid, -1))


def uneven_table():
    """30 identities of 1 to 12 images in up to 4 cameras, in mixed order, and unlabelled rows."""
    generator = np.random.default_rng(7)
    pid = np.repeat(np.arange(30) * 3, generator.integers(1, 13, 30))
    pid = generator.permutation(np.concatenate([pid, np.full(9, -1)]))
    return table_of(pid, generator.integers(0, 4, len(pid)))


PK = [samplers.pk, samplers.pk_camera]


def published(sampler, table, batch_size, *rest, **named):
    """As many steps as published recipes have in an epoch."""
    known = len(table) if sampler is samplers.shuffled else np.sum(table.pid >= 0)
    return sampler(table, batch_size, *rest, **named, num_steps=known // batch_size)


shuffled, pk, pk_camera = (functools.partial(published, one) for one in (samplers.shuffled, *PK))


def draw(sampler, table, seed=0, epoch=0):
    if sampler is samplers.shuffled:
        return shuffled(table, 8, seed, epoch)
    return published(sampler, table, 8, 4, seed, epoch)


@pytest.mark.parametrize("sampler", [*PK, samplers.shuffled])
def test_pure_function_of_seed_and_epoch(sampler):
    table = uneven_table()
    first = draw(sampler, table, 1, 2)
    assert first.dtype == np.int64
    np.testing.assert_array_equal(draw(sampler, table, 1, 2), first)
    for other in (draw(sampler, table, 2, 1), draw(sampler, table, 1, 3)):
        assert other.shape == first.shape
        assert (other != first).any()


def test_shuffled_draws_each_row_at_most_once():
    rows = shuffled(table_of(np.full(23, -1)), 5, 0, 0)
    assert rows.shape == (4, 5)
    assert len(np.unique(rows)) == 20
    assert rows.min() >= 0
    assert rows.max() < 23


def test_shuffled_leaves_out_other_rows_each_epoch():
    table = table_of(np.full(7, -1))
    left_out = {(set(range(7)) - set(shuffled(table, 6, 0, e).flat)).pop() for e in range(60)}
    assert left_out == set(range(7))


def test_sequential_pads_the_last_batch():
    rows = samplers.sequential(5, 3)
    np.testing.assert_array_equal(rows, [[0, 1, 2], [3, 4, -1]])
    assert samplers.sequential(6, 3).shape == (2, 3)
    assert samplers.sequential(0, 3).shape == (0, 3)


@pytest.mark.parametrize("sampler", PK)
def test_batches_hold_p_identities_of_k_images(sampler):
    table = uneven_table()
    rows = draw(sampler, table)
    assert rows.shape == ((table.pid >= 0).sum() // 8, 8)
    pid = table.pid[rows].reshape(-1, 2, 4)
    assert (pid == pid[:, :, :1]).all()
    assert (pid[:, 0, 0] != pid[:, 1, 0]).all()
    assert (pid >= 0).all()


@pytest.mark.parametrize("sampler", PK)
def test_images_repeat_in_a_group_only_where_the_identity_has_too_few(sampler):
    table = uneven_table()
    count = {pid: (table.pid == pid).sum() for pid in np.unique(table.pid)}
    groups = np.concatenate([draw(sampler, table, epoch=e) for e in range(5)]).reshape(-1, 4)
    repeats = np.array([len(set(group)) < 4 for group in groups])
    few = np.array([count[table.pid[group[0]]] < 4 for group in groups])
    assert few.any()
    assert not repeats[~few].any()
    assert repeats[few].all()


def test_pk_pass_uses_each_image_once_and_drops_incomplete_groups():
    # 4 identities of 9 images and K = 4: a pass has 2 groups of each, P = 4 takes all of them.
    table = table_of(np.repeat(np.arange(4), 9))
    rows = pk(table, 16, 4, seed=0, epoch=0)
    assert rows.shape == (2, 16)
    assert len(np.unique(rows)) == 32
    assert np.bincount(table.pid[rows.ravel()]).tolist() == [8, 8, 8, 8]
    drawn = [pk(table, 16, 4, seed=0, epoch=epoch) for epoch in range(40)]
    assert len(np.unique(drawn)) == 36


def test_pk_draws_identities_by_their_images_and_pk_camera_alike():
    # Identity 0 has nine times the images of the others. A pass of pk ends when fewer than two
    # identities have a group left, so the large one stands in more of its batches.
    table = table_of(np.concatenate([np.zeros(36, int), np.repeat(np.arange(1, 9), 4)]))

    def share(sampler):
        rows = np.concatenate([published(sampler, table, 8, 4, 0, epoch) for epoch in range(60)])
        return (table.pid[rows] == 0).any(1).mean()

    # A pass of pk_camera: 4 batches with 8 of the 9 identities, each identity in 2/9 of them.
    assert share(samplers.pk_camera) == pytest.approx(2 / 9, abs=0.03)
    assert share(samplers.pk) > 0.3


def test_pk_resamples_with_replacement():
    table = table_of(np.repeat(np.arange(4), 2))
    groups = np.concatenate([pk(table, 8, 4, 0, e) for e in range(200)]).reshape(-1, 4)
    distinct = np.array([len(set(group)) for group in groups])
    # Four draws from two images are all alike with probability 2 / 2**4.
    assert np.mean(distinct == 1) == pytest.approx(1 / 8, abs=0.06)


@pytest.mark.parametrize("sampler", PK)
def test_an_identity_of_one_image_gives_copies_of_it(sampler):
    table = table_of([0, 1, 2, 2, 2, 2, 2, 2], [0, 1, 0, 1, 2, 0, 1, 2])
    groups = np.concatenate([published(sampler, table, 8, 4, 0, e) for e in range(30)]).reshape(
        -1, 4
    )
    for pid in (0, 1):
        mine = groups[table.pid[groups[:, 0]] == pid]
        assert len(mine) > 5
        assert (mine == pid).all()
    assert all(len(set(group)) == 4 for group in groups[table.pid[groups[:, 0]] == 2])


def test_pk_camera_pass_takes_each_identity_once():
    # A pass is 3 batches of 2 of the 6 identities; the 24 images make an epoch of 3 batches.
    table = table_of(np.repeat(np.arange(6), 4))
    for epoch in range(20):
        pid = table.pid[pk_camera(table, 8, 4, 0, epoch)]
        assert sorted(pid[:, ::4].ravel()) == list(range(6))


@pytest.mark.parametrize("num_instances", [4, 7, 16])
def test_pk_camera_shares_a_group_equally_among_cameras(num_instances):
    # 16 images in each of 3 cameras, so that no camera runs out.
    table = table_of(np.repeat(np.arange(4), 48), np.tile(np.arange(3), 64))
    rows = np.concatenate(
        [pk_camera(table, 2 * num_instances, num_instances, 0, e) for e in range(5)]
    )
    for group in rows.reshape(-1, num_instances):
        counts = np.bincount(table.camera[group], minlength=3)
        assert counts.max() - counts.min() <= 1
        assert len(set(group)) == num_instances


def test_pk_camera_uses_as_many_cameras_as_it_can():
    table = uneven_table()
    groups = np.concatenate([pk_camera(table, 8, 4, 0, e) for e in range(5)]).reshape(-1, 4)
    for group in groups:
        offered = np.unique(table.camera[table.pid == table.pid[group[0]]])
        assert len(np.unique(table.camera[group])) == min(4, len(offered))


def test_pk_camera_with_fewer_instances_than_cameras_never_repeats_one():
    table = table_of(np.repeat(np.arange(6), 12), np.tile([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2], 6))
    groups = np.concatenate([pk_camera(table, 4, 2, 0, e) for e in range(20)]).reshape(-1, 2)
    assert (table.camera[groups[:, 0]] != table.camera[groups[:, 1]]).all()
    # The first image is drawn among all, so mostly from the camera with most images.
    assert np.mean(table.camera[groups[:, 0]] == 0) == pytest.approx(10 / 12, abs=0.06)
    assert len(np.unique(groups)) == 72


@pytest.mark.parametrize("sampler", PK)
def test_epoch_is_filled_by_several_passes(sampler):
    # One pass has 2 batches (pk) or 1 (pk_camera), the epoch 4.
    table = table_of(np.concatenate([np.zeros(20, int), np.ones(4, int), np.full(8, 2)]))
    assert published(sampler, table, 8, 4, 0, 0).shape == (4, 8)


@pytest.mark.parametrize("sampler", PK)
@pytest.mark.parametrize(
    ("pid", "batch_size", "num_instances", "named"),
    [
        ([0, 0, 1, 1], 6, 4, r"`num_instances` 4"),
        ([0, 0, 1, 1], 4, 0, r"`num_instances` 0"),
        ([-1, -1], 4, 2, "none of the 2 rows of the table has an identity"),
        ([0, 0, 1, 1], 0, 2, r"`batch_size` is 0"),
    ],
)
def test_impossible_batches_name_the_argument(sampler, pid, batch_size, num_instances, named):
    with pytest.raises(InputError, match=named):
        sampler(table_of(pid), batch_size, num_instances, 0, 0, 1)


@pytest.mark.parametrize("num_steps", [1, 3, 7])
def test_any_number_of_steps_is_filled(num_steps):
    rows = samplers.shuffled(table_of([1, 2, 3]), 4, 0, 0, num_steps)
    assert rows.shape == (num_steps, 4)
    times = np.bincount(rows.reshape(-1), minlength=3)
    assert times.max() - times.min() <= 1
    with pytest.raises(InputError, match="no rows"):
        samplers.shuffled(table_of([]), 4, 0, 0, num_steps)


@pytest.mark.parametrize("sampler", PK)
@pytest.mark.parametrize("num_identities", [1, 2, 3])
def test_fewer_identities_than_a_batch_asks_for_fill_it(sampler, num_identities):
    table = table_of(np.repeat(np.arange(num_identities), 6))
    rows = np.concatenate([sampler(table, 16, 4, 0, epoch, 3) for epoch in range(5)])
    assert rows.shape == (15, 16)
    groups = table.pid[rows].reshape(-1, 4)
    assert (groups == groups[:, :1]).all()
    times = np.bincount(groups[:, 0], minlength=num_identities)
    assert times.max() - times.min() <= 1
    # Epochs cut one stream, wherever their ends lie in it.
    np.testing.assert_array_equal(sampler(table, 16, 4, 0, 0, 15), rows)


@pytest.mark.parametrize("sampler", PK)
def test_every_identity_meets_every_other(sampler):
    table = table_of(np.repeat(np.arange(5), 4))
    rows = np.concatenate([published(sampler, table, 8, 4, 0, epoch) for epoch in range(60)])
    pairs = {tuple(sorted(set(batch))) for batch in table.pid[rows].tolist()}
    assert len(pairs) == 10


def slow_pass(table, num_identities, num_instances, generator):
    """Batches of one pass, one identity and image at a time."""
    rows = np.flatnonzero(table.pid >= 0)
    count = {pid: int((table.pid == pid).sum()) for pid in sorted(set(table.pid[rows]))}
    left = {pid: max(number // num_instances, 1) for pid, number in count.items()}
    pool, chosen = sorted(left), []
    while len(pool) >= num_identities:
        places = generator.choice(len(pool), num_identities, replace=False)
        chosen.append([pool[place] for place in places])
        for pid in chosen[-1]:
            left[pid] -= 1
        for place in sorted(places, reverse=True):
            if left[pool[place]] == 0:
                pool[place] = pool[-1]
                pool.pop()
    order = generator.permutation(rows).tolist()
    images = {pid: [row for row in order if table.pid[row] == pid] for pid in count}
    few = [pid for pid in count if count[pid] < num_instances]
    for pid in few:
        images[pid] = [images[pid][i] for i in generator.integers(0, count[pid], num_instances)]
    batches = []
    for pids in chosen:
        batches.append([])
        for pid in pids:
            batches[-1] += images[pid][:num_instances]
            del images[pid][:num_instances]
    return batches


def slow_stream(table, num_steps, seed=0, num_identities=2, num_instances=4):
    batches, number = [], 0
    while len(batches) < num_steps:
        generator = np.random.default_rng(np.random.SeedSequence([seed, number]))
        batches += slow_pass(table, num_identities, num_instances, generator)
        number += 1
    return np.array(batches[:num_steps])


def test_epochs_of_pk_are_one_stream_of_passes():
    table, epochs = uneven_table(), 12
    drawn = np.concatenate([draw(samplers.pk, table, 3, epoch) for epoch in range(epochs)])
    np.testing.assert_array_equal(drawn, slow_stream(table, len(drawn), 3))


def test_an_epoch_does_not_depend_on_those_asked_for_before():
    table = uneven_table()
    in_order = [draw(samplers.pk, table, 5, epoch) for epoch in range(8)]
    samplers._known_lengths.cache_clear()
    np.testing.assert_array_equal(draw(samplers.pk, table, 5, 7), in_order[7])
    np.testing.assert_array_equal(draw(samplers.pk, table, 5, 2), in_order[2])


def test_passes_of_pk_camera_run_on_through_the_epochs():
    # 7 identities of 8 images: a pass is 3 batches of 2 identities, an epoch 7 batches.
    table = table_of(np.repeat(np.arange(7), 8), np.tile([0, 1, 2, 3], 14))
    drawn = np.concatenate([draw(samplers.pk_camera, table, 0, epoch) for epoch in range(6)])
    pid = table.pid[drawn[:, ::4]].reshape(-1, 6)
    assert len(pid) == 14
    assert (np.diff(np.sort(pid), axis=1) > 0).all()
    # Its images are those of the pass, and not of the epoch that shows it.
    again = np.concatenate([draw(samplers.pk_camera, table, 0, epoch) for epoch in (1, 2)])
    np.testing.assert_array_equal(drawn[7:21], again)


@pytest.mark.parametrize("sizes", [(4,) * 30 + (40,) * 10, (2,) * 20 + (16,) * 12])
def test_identities_are_drawn_as_often_as_whole_passes_draw_them(sizes):
    # Steps of an epoch end inside of a pass: were it cut there, those with few images, which are
    # used up before the end of a pass, would be drawn too often.
    table = table_of(np.repeat(np.arange(len(sizes)), sizes))
    drawn = np.concatenate([pk(table, 32, 4, 1, epoch) for epoch in range(60)])
    whole = slow_stream(table, 400, seed=99, num_identities=8)
    few = np.array(sizes) < max(sizes)
    shares = [few[table.pid[rows[:, ::4]]].mean() for rows in (drawn, whole)]
    assert shares[0] == pytest.approx(shares[1], rel=0.03)


def across(table, num_steps, *, batch_size=8, num_instances=4, epoch=0):
    return samplers.pk_across(table, batch_size, num_instances, 0, epoch, num_steps)


def test_pk_across_takes_the_others_under_other_cameras():
    table = table_of(np.repeat(np.arange(6), 10), np.tile([0, 0, 0, 1, 1, 1, 1, 2, 2, 2], 6))
    for group in across(table, 30).reshape(-1, 4):
        assert len(set(table.pid[group])) == 1
        assert np.all(table.camera[group[1:]] != table.camera[group[0]])
        assert len(set(group)) == 4  # at least four images under other cameras


def test_pk_across_of_one_camera_takes_any_other_images():
    table = table_of(np.repeat([0, 1, 2], [5, 4, 2]))
    groups = across(table, 40, batch_size=12).reshape(-1, 4)
    assert all(group[0] not in group[1:] for group in groups)
    copies = {number: [] for number in range(3)}
    for group in groups:
        copies[table.pid[group[0]]].append(4 - len(set(group)))
    assert max(copies[0]) == 0  # four others, of which three are drawn
    assert 0 in copies[1]
    assert max(copies[1]) > 0  # three others, drawn with replacement
    assert set(copies[2]) == {2}


def test_pk_across_gives_a_lone_image_once():
    rows = across(table_of([0, 0, 1]), 50, batch_size=4)
    assert {int(np.sum(row == 2)) for row in rows} == {0, 1}


def test_pk_across_has_every_identity_once_in_a_pass_and_fills_any_epoch():
    table = table_of(np.repeat(np.arange(6), 3), np.tile([0, 1, 2], 6))
    rows = across(table, 9)
    for start in (0, 3, 6):
        assert sorted(table.pid[rows[start : start + 3]].reshape(-1)[::4]) == list(range(6))
    small = across(table_of([0, 0, 0]), 5, batch_size=16)
    assert small.shape == (5, 16)
    np.testing.assert_array_equal(across(table, 9), rows)
    assert np.any(across(table, 9, epoch=1) != rows)
    unknown = table_of(np.r_[np.repeat([4, 7], 5), np.full(50, -1)])
    assert np.all(unknown.pid[across(unknown, 20)] >= 0)


def test_tracklets_are_drawn_equally_often_whatever_their_length():
    track = np.repeat([0, 1, 2], [2, 30, 8])
    names = Paths.of([f"{row}.jpg" for row in range(40)])
    table = Table(names, track, np.zeros(40, np.int64), track)
    epochs = [samplers.of_tracklets(table, 4, 0, epoch, 3) for epoch in range(5)]
    drawn = np.concatenate([rows.reshape(-1) for rows in epochs])
    counts = np.bincount(track[drawn], minlength=3)
    assert counts.tolist() == [20, 20, 20]  # 5 epochs of 12 are whole passes of 3
    assert len(np.unique(drawn[track[drawn] == 1])) > 10
    np.testing.assert_array_equal(samplers.of_tracklets(table, 4, 0, 3, 3), epochs[3])
    with pytest.raises(InputError, match="none of the 2 images belongs to a tracklet"):
        samplers.of_tracklets(table_of([0, 1]), 2, 0, 0, 1)
