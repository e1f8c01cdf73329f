import itertools

import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.table import frames, records, samplers
from data_pipeline.table.frames import Tracklets

LENGTHS = (1, 2, 5, 8, 9, 23)
NUM_FRAMES = (1, 2, 3, 5, 8)


def name(tracklet, frame):
    """Frames count from 7 in steps of two, without leading zeros: F11 sorts before F7 as text."""
    return f"set/{tracklet:04d}/C{tracklet % 2}F{7 + 2 * frame}.jpg"


@pytest.fixture
def table():
    """Tracklets 10, 11, ... of the lengths above, two people in two cameras, and one lone row."""
    rows = [
        (name(10 + i, frame), i // 3, i % 2, 10 + i)
        for i, length in enumerate(LENGTHS)
        for frame in range(length)
    ]
    return records.make_table([*rows, ("set/lone.jpg", 0, 0, -1)])


@pytest.fixture
def tracklets(table):
    return Tracklets.of(table)


@pytest.fixture
def chosen(tracklets):
    """Every tracklet five times and padding, [2, 16]."""
    numbers = np.concatenate([np.tile(np.arange(len(tracklets)), 5), [-1, -1]])
    return np.random.default_rng(0).permutation(numbers).reshape(2, 16)


def frame_lists(table, tracklets):
    """The slow twin: the rows of each tracklet, looked up by the name of each frame."""
    row_of = {path: row for row, path in enumerate(table.media)}
    lists = []
    for track in tracklets.heads.track:
        count = range(LENGTHS[track - 10])
        lists.append([row_of[name(track, frame)] for frame in count])
    return lists


def places(table, tracklets, chosen, rows):
    """Places of the frames within their tracklets, after a check that they are of it."""
    lists = frame_lists(table, tracklets)
    assert rows.shape[:2] == chosen.shape
    for index in np.ndindex(chosen.shape):
        if chosen[index] == -1:
            assert (rows[index] == -1).all()
        else:
            frames_of_it = lists[chosen[index]]
            yield len(frames_of_it), [frames_of_it.index(row) for row in rows[index]]


def test_tracklets_are_in_frame_order_whatever_the_order_of_the_rows(table):
    shuffled = table.take(np.random.default_rng(1).permutation(len(table)))
    for one in (table, shuffled):
        tracklets = Tracklets.of(one)
        assert len(tracklets) == len(LENGTHS)
        for number, rows in enumerate(frame_lists(one, tracklets)):
            np.testing.assert_array_equal(tracklets.frames(number), rows)
            assert tracklets.length[number] == len(rows)
            assert (tracklets.of_row[rows] == number).all()
            assert tracklets.heads.media[number] == one.media[rows[0]]
            for column in ("pid", "camera", "track"):
                head = getattr(tracklets.heads, column)[number]
                assert head == getattr(one, column)[rows[0]]
        assert tracklets.of_row[list(one.media).index("set/lone.jpg")] == -1
        assert (tracklets.of_row >= 0).sum() == sum(LENGTHS)


def test_tracklets_are_listed_by_their_first_rows(tracklets):
    first = tracklets.rows[tracklets.start]
    np.testing.assert_array_equal(first, np.sort(first))
    assert sorted(tracklets.heads.track) != tracklets.heads.track.tolist(), "not by number"


def test_packed_tables_keep_the_order_of_frames(table):
    """Places in a container tell nothing; the names do."""
    media = [f"array_record:a.array_record#{row}" for row in range(len(table))]
    packed = records.Table(
        records.Paths.of(media), table.pid, table.camera, table.track, table.media
    )
    np.testing.assert_array_equal(Tracklets.of(packed).rows, Tracklets.of(table).rows)


def test_images_without_tracklets_are_refused():
    table = records.make_table([("a.jpg", 0, 0, -1), ("b.jpg", 1, 0, -1)])
    for refused in (Tracklets.of, frames.numbers_in_camera):
        with pytest.raises(InputError, match="none of the 2 images belongs to a tracklet"):
            refused(table)


def test_evenly_is_a_stride_from_the_first_frame(table, tracklets, chosen):
    for num_frames in NUM_FRAMES:
        rows = frames.evenly(tracklets, chosen, num_frames)
        for length, found in places(table, tracklets, chosen, rows):
            if length < num_frames:
                expected = [*range(length), *[length - 1] * (num_frames - length)]
            else:
                used = length - length % num_frames
                expected = list(range(0, used, used // num_frames))
            assert found == expected


def test_random_takes_each_frame_at_most_once_if_there_are_enough(table, tracklets, chosen):
    for num_frames in NUM_FRAMES:
        rows = frames.random(tracklets, chosen, num_frames, seed=0, epoch=0)
        for length, found in places(table, tracklets, chosen, rows):
            assert found == sorted(found)
            assert len(found) == num_frames
            if length >= num_frames:
                assert len(set(found)) == num_frames


def test_random_reaches_every_set_of_frames_equally(tracklets):
    """3 of 5 frames: ten sets, each drawn one time in ten. 3 of 2 frames, so with replacement: how
    often the last one comes is binomial."""
    number = tracklets.length.tolist().index(5)
    rows = frames.random(tracklets, np.full((1, 6000), number), 3, 0, 0)[0]
    first = tracklets.frames(number).tolist()
    drawn = [tuple(first.index(row) for row in clip) for clip in rows]
    counts = [drawn.count(one) for one in itertools.combinations(range(5), 3)]
    assert sum(counts) == 6000
    assert min(counts) > 480
    assert max(counts) < 720

    number = tracklets.length.tolist().index(2)
    rows = frames.random(tracklets, np.full((1, 8000), number), 3, 0, 0)[0]
    last = (rows == tracklets.frames(number)[1]).sum(axis=1)
    np.testing.assert_allclose(np.bincount(last), [1000, 3000, 3000, 1000], rtol=0.15)


def test_restricted_random_takes_one_frame_of_each_chunk(table, tracklets, chosen):
    for num_frames in NUM_FRAMES:
        rows = frames.restricted_random(tracklets, chosen, num_frames, seed=0, epoch=0)
        for length, found in places(table, tracklets, chosen, rows):
            if length < num_frames:
                assert found == [*range(length), *[length - 1] * (num_frames - length)]
                continue
            for place, chunk in zip(found, equal_chunks(length, num_frames), strict=True):
                assert place in chunk


def equal_chunks(length, num_chunks):
    """Consecutive, covering everything, sizes that differ by one at most."""
    bounds = [int(length * i / num_chunks) for i in range(num_chunks + 1)]
    chunks = [range(*pair) for pair in itertools.pairwise(bounds)]
    sizes = {len(chunk) for chunk in chunks}
    assert sum(map(len, chunks)) == length
    assert max(sizes) - min(sizes) <= 1
    return chunks


def test_restricted_random_reaches_every_frame(tracklets):
    number = tracklets.length.tolist().index(23)
    rows = frames.restricted_random(tracklets, np.full((1, 400), number), 4, 0, 0)
    assert set(rows.ravel()) == set(tracklets.frames(number))


@pytest.mark.parametrize("sampler", [frames.random, frames.restricted_random])
def test_draws_follow_from_seed_and_epoch(tracklets, chosen, sampler):
    drawn = [sampler(tracklets, chosen, 3, *pair) for pair in ((0, 0), (0, 1), (1, 0))]
    np.testing.assert_array_equal(drawn[0], sampler(tracklets, chosen, 3, 0, 0))
    for one, other in itertools.combinations(drawn, 2):
        assert (one != other).any()


def test_samplers_of_images_choose_tracklets(tracklets):
    chosen = samplers.pk(tracklets.heads, 2, 1, seed=0, epoch=0)
    rows = frames.evenly(tracklets, chosen, 4)
    assert rows.shape == (3, 2, 4)
    assert (tracklets.of_row[rows] == chosen[..., None]).all()


@pytest.mark.parametrize("num_frames", [1, 3, 8, 30])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_all_clips_hold_every_frame_once_and_in_order(table, tracklets, num_frames, batch_size):
    rows, owner = frames.all_clips(tracklets, num_frames, batch_size)
    expected, owners = [], []
    for number, listed in enumerate(frame_lists(table, tracklets)):
        for start in range(0, len(listed), num_frames):
            clip = listed[start : start + num_frames]
            expected.append([*clip, *[-1] * (num_frames - len(clip))])
            owners.append(number)
    while len(expected) % batch_size:
        expected.append([-1] * num_frames)
        owners.append(-1)
    assert rows.shape == (len(expected) // batch_size, batch_size, num_frames)
    np.testing.assert_array_equal(rows.reshape(-1, num_frames), expected)
    np.testing.assert_array_equal(owner.ravel(), owners)
    counts = np.bincount(owner[owner >= 0])
    np.testing.assert_array_equal(counts, np.ceil(tracklets.length / num_frames))


@pytest.mark.parametrize(
    "sample",
    [
        lambda t: frames.evenly(t, np.array([[0]]), 0),
        lambda t: frames.random(t, np.array([[0]]), -1, 0, 0),
        lambda t: frames.all_clips(t, 0, 2),
        lambda t: frames.all_clips(t, 2, 0),
    ],
)
def test_no_frames_are_refused(tracklets, sample):
    with pytest.raises(InputError, match="give 1 or more"):
        sample(tracklets)


def two_cameras(num_people):
    """The trap: person k has tracklet 2k in camera 0 and 2k + 1 in camera 1."""
    rows = [
        (f"cam{camera}/person{person:02d}/{frame}.png", person, camera, 2 * person + camera)
        for person in range(num_people)
        for camera in range(2)
        for frame in range(2)
    ]
    return records.make_table(rows)


def test_numbers_in_camera_name_tracklets_within_each_camera():
    table = two_cameras(20).take(np.arange(3, 80))
    number, counts = frames.numbers_in_camera(table)
    assert counts.dtype == number.dtype == np.int64
    np.testing.assert_array_equal(counts, [20, 20])
    for camera in range(2):
        here = table.camera == camera
        assert set(number[here]) == set(range(20))
        pairs = set(zip(number[here].tolist(), table.track[here].tolist(), strict=True))
        assert len(pairs) == 20, "one number a tracklet"


def test_numbers_in_camera_do_not_tell_who_is_who():
    table = two_cameras(20)
    number, _ = frames.numbers_in_camera(table)
    of_person = [
        {int(number[(table.pid == person) & (table.camera == c)][0]) for c in range(2)}
        for person in range(20)
    ]
    assert sum(len(numbers) == 1 for numbers in of_person) < 5, "chance is one of 20"


def test_numbers_in_camera_do_not_depend_on_the_rows():
    table = two_cameras(20)
    order = np.random.default_rng(0).permutation(len(table))
    number, _ = frames.numbers_in_camera(table)
    np.testing.assert_array_equal(frames.numbers_in_camera(table.take(order))[0], number[order])


def test_a_camera_without_tracklets_counts_none(table):
    tracked = table.take(np.flatnonzero(table.track >= 0))
    number, counts = frames.numbers_in_camera(
        records.Table(tracked.media, tracked.pid, 2 * tracked.camera, tracked.track)
    )
    np.testing.assert_array_equal(counts, [3, 0, 3])
    assert number.max() == 2


@pytest.mark.parametrize("column", ["camera", "track"])
def test_numbers_in_camera_need_both(column):
    table = two_cameras(3)
    getattr(table, column)[4] = -1
    with pytest.raises(InputError, match="no tracklet or no camera"):
        frames.numbers_in_camera(table)
