import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.table import frames, records
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


def frame_lists(table, tracklets):
    """The slow twin: the rows of each tracklet, looked up by the name of each frame."""
    row_of = {path: row for row, path in enumerate(table.media)}
    lists = []
    for track in tracklets.heads.track:
        count = range(LENGTHS[track - 10])
        lists.append([row_of[name(track, frame)] for frame in count])
    return lists


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
