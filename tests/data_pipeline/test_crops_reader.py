"""What a video, its detections and their boxes are read as, before any crop is written."""

import pickle
import struct

import numpy as np
import pytest

from data_pipeline.crops import boxes, detections, reader
from data_pipeline.errors import InputError
from tests.data_pipeline.clips import (
    FRAMES,
    HEIGHT,
    WIDTH,
    assert_shows,
    overwrite,
    packets,
    write_clip,
    write_detections,
)

CODECS = [("mpeg4", ".mp4"), ("libx264", ".mp4"), ("libx265", ".mp4"), ("mjpeg", ".avi")]

# Frames that refer to later ones, which the file therefore holds before them.
REORDERED = {"max_b_frames": 3}


def read(path, wanted=range(FRAMES + 10), decoder="av"):
    return dict(reader.frames(str(path), wanted, decoder))


@pytest.mark.parametrize(("codec", "suffix"), [*CODECS, ("libx264", ".mkv")])
def test_frames_have_their_numbers_and_end_with_the_video(tmp_path, codec, suffix):
    path = write_clip(tmp_path / f"clip{suffix}", codec)
    frames = read(path, [7, 3, 29, 7, 31, 500])
    assert list(frames) == [3, 7, 29]
    for number, pixels in frames.items():
        assert_shows(pixels, number)


def test_frames_stand_in_the_order_in_which_they_are_shown(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", "libx264", **REORDERED)
    times = [time for _, _, time in packets(path)]
    assert times != sorted(times)
    for number, pixels in read(path).items():
        assert_shows(pixels, number)


@pytest.mark.parametrize(("codec", "suffix"), CODECS)
def test_damage_costs_frames_up_to_the_next_key_frame_and_shifts_none(tmp_path, codec, suffix):
    path = write_clip(tmp_path / f"clip{suffix}", codec)
    position, size, _ = packets(path)[15]
    overwrite(path, position + 8, bytes(size - 8))
    frames = read(path)
    assert list(frames) == list(range(FRAMES))
    after = range(15, 16 if codec == "mjpeg" else 20)
    for number, pixels in frames.items():
        assert (pixels is None) == (number in after), number
        if pixels is not None:
            assert_shows(pixels, number)


def test_damage_leaves_frames_that_were_decoded_before_it(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", "libx264", **REORDERED)
    order = packets(path)
    position, size, time = order[14]
    earlier = {t for _, _, t in order[:14]}
    overwrite(path, position + 4, bytes(size - 4))
    times = sorted(t for _, _, t in order)
    frames = read(path)
    for number, pixels in frames.items():
        if times[number] in earlier or number >= 20:
            assert_shows(pixels, number)
    assert frames[times.index(time)] is None


def test_reading_ends_at_damage_where_times_do_not_tell_how_many_frames_are_missing(tmp_path):
    # AVI has no times of showing, so those of reordered frames are made up.
    path = write_clip(tmp_path / "clip.avi", "libx264", **REORDERED)
    for number, pixels in read(path).items():
        assert_shows(pixels, number)
    position, size, _ = packets(path)[15]
    overwrite(path, position + 12, bytes(size - 12))
    frames = read(path)
    assert 10 <= len(frames) < 20
    for number, pixels in frames.items():
        assert_shows(pixels, number)


def test_a_file_that_was_cut_off_ends_earlier(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", "libx264")
    position, size, _ = packets(path)[20]
    path.write_bytes(path.read_bytes()[: position + size // 2])
    frames = read(path)
    assert [n for n, pixels in frames.items() if pixels is not None] == list(range(20))


def test_what_is_no_video_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"<html>not available in your country</html>")
    with pytest.raises(InputError, match=r"cannot open the video .*clip\.mp4"):
        read(path)
    with pytest.raises(InputError, match="cannot open"):
        read(tmp_path / "none.mp4")


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_video_is_read_as_a_player_shows_it(tmp_path, turns):
    path = write_clip(tmp_path / "clip.mp4")
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]
    matrix = [cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    # The matrix of the track's header stands 40 bytes behind the version that follows its name.
    overwrite(path, path.read_bytes().index(b"tkhd") + 44, struct.pack(">9i", *matrix))
    pixels = read(path, [4])[4]
    assert_shows(np.rot90(pixels, turns), 4)


def test_opencv_reads_the_same(tmp_path):
    pytest.importorskip("cv2", reason="OpenCV is the alternative to PyAV")
    path = write_clip(tmp_path / "clip.mp4", "libx264")
    for number, pixels in read(path, range(3, 40, 5), "opencv").items():
        np.testing.assert_array_equal(pixels, read(path, [number])[number])


def test_detections_are_sorted_by_frame_and_keep_their_order_in_it(tmp_path):
    write_detections(
        tmp_path / "a.pkl",
        {
            np.int64(9): [(1, (1, 2, 3, 4), 70), (0, (5, 6, 7, 8.5), np.int32(80))],
            2: [(4, [0] * 4, 70)],
        },
    )
    found = detections.read(str(tmp_path / "a.pkl"), with_ids=True)
    assert found.frame.tolist() == [2, 9, 9]
    assert found.object.tolist() == [4, 1, 0]
    assert found.pid.tolist() == [70, 70, 80]
    np.testing.assert_array_equal(found.box, [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8.5]])
    assert detections.read(str(tmp_path / "a.pkl"), with_ids=False).pid.tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        ({3: [(0, {"box": [1, 2, 3, 4]})]}, "'bbox' is missing"),
        ({3: [(0, {"bbox": [1, 2, 3]})]}, r"frame 3.*shape \(3,\)"),
        ({"3": [(0, {"bbox": [1, 2, 3, 4], "pid": 1})]}, "'3' is no whole number"),
        ({3: [(0, {"bbox": [1, 2, 3, 4]})]}, "'pid' is missing"),
        ({3: [(0.5, {"bbox": [1, 2, 3, 4], "pid": 1})]}, "0.5 is no whole number"),
        ({3: [(0, {"bbox": [1, 2, 3, 4], "pid": -1})]}, "pid -1 is negative"),
        ({3: 5}, "not iterable"),
    ],
)
def test_other_forms_of_detections_are_errors(tmp_path, content, message):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=message):
        detections.read(str(tmp_path / "a.pkl"), with_ids=True)


def test_detections_cannot_run_code(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(InputError, match="system"):
        detections.read(str(tmp_path / "a.pkl"), with_ids=False)


def make_tracks(rng, lengths):
    """One box a frame of each person, who comes and goes."""
    rows = [
        (int(frame), pid)
        for pid, length in enumerate(lengths)
        for frame in rng.choice(1000, length, replace=False)
    ]
    rows.sort()
    frame, pid = np.array(rows).T
    return detections.Detections(frame, np.arange(len(rows)), rng.random((len(rows), 4)), pid)


def test_200_20_keeps_long_tracks_and_every_twentieth_frame():
    tracks = make_tracks(np.random.default_rng(0), [199, 200, 201, 400, 1])
    kept = detections.sample(tracks, 200, 20)
    expected = []
    for pid in range(5):
        frames = sorted(f for f, p in zip(tracks.frame, tracks.pid, strict=True) if p == pid)
        if len(frames) >= 200:
            expected += [(f, pid) for i, f in enumerate(frames) if i % 20 == 0]
    assert sorted(zip(kept.frame, kept.pid, strict=True)) == sorted(expected)
    assert [int((kept.pid == pid).sum()) for pid in range(5)] == [0, 10, 11, 20, 0]
    assert (np.diff(kept.frame) >= 0).all()
    rows = [int(np.flatnonzero(tracks.object == number)[0]) for number in kept.object]
    np.testing.assert_array_equal(kept.box, tracks.box[rows])
    assert len(detections.sample(tracks, 1, 1)) == len(tracks)


def test_two_boxes_of_a_person_in_a_frame_count_as_one_frame():
    frame = np.repeat(np.arange(100), 2)
    twice = detections.Detections(
        frame, np.tile([0, 1], 100), np.zeros((200, 4)), np.zeros(200, int)
    )
    assert len(detections.sample(twice, 101, 10)) == 0
    assert (
        detections.sample(twice, 100, 10).frame.tolist() == np.repeat(range(0, 100, 10), 2).tolist()
    )


@pytest.mark.parametrize("made_at", ["", "128x96", "96", "32x24"])
def test_boxes_are_scaled_and_rounded(made_at):
    rng = np.random.default_rng(1)
    corners = np.sort(rng.uniform(0, 1, (20, 2, 2)), axis=1)
    frame = {"": (64, 48), "32x24": (32, 24)}.get(made_at, (128, 96))
    box = (corners * frame).reshape(20, 4)
    fitted = boxes.fit(box, made_at, (64, 48), "refuse")
    expected = np.rint(box * (64 / frame[0]))
    np.testing.assert_array_equal(fitted.box, expected)
    narrow = (expected[:, 2] <= expected[:, 0]) | (expected[:, 3] <= expected[:, 1])
    np.testing.assert_array_equal(fitted.empty, narrow)
    assert not fitted.outside.any()
    assert not fitted.clipped.any()
    np.testing.assert_allclose(fitted.reach, corners[:, 1].max(axis=0))


BEYOND = np.array(
    [
        [10, 10, 20, 30],  # inside
        [60, 10, 65, 30],  # a pixel over the edge
        [40, 10, 70, 30],  # 24 of 30 columns inside
        [50, -30, 60, 20],  # 20 of 50 rows inside
        [70, 10, 90, 30],  # nothing inside
        [10, 10, 10, 30],  # empty
        [np.nan, 10, 20, 30],
    ]
)


@pytest.mark.parametrize(("outside", "left_out"), [("skip", [2, 3, 4]), ("clip", [3, 4])])
def test_boxes_beyond_the_frame(outside, left_out):
    fitted = boxes.fit(BEYOND, "", (WIDTH, HEIGHT), outside)
    assert np.flatnonzero(fitted.outside).tolist() == left_out
    assert np.flatnonzero(fitted.empty).tolist() == [5, 6]
    assert fitted.box[:3].tolist() == [[10, 10, 20, 30], [60, 10, 64, 30], [40, 10, 64, 30]]
    assert fitted.clipped[:3].tolist() == [False, True, True]
    assert fitted.box[:, [0, 2]].max() <= WIDTH
    assert fitted.box[:, [1, 3]].max() <= HEIGHT
    assert fitted.box.min() >= 0


def test_boxes_of_another_resolution_are_refused():
    with pytest.raises(InputError, match=r"3 of 7 boxes reach beyond .* 64x48, as far as 90, 30"):
        boxes.fit(BEYOND, "", (WIDTH, HEIGHT), "refuse")
    with pytest.raises(InputError, match=r"made at 64x64, but .* 64x48, of another shape"):
        boxes.fit(BEYOND[:1], "64x64", (WIDTH, HEIGHT), "clip")


def test_the_usual_rounding_of_sizes_is_no_other_shape():
    fitted = boxes.fit(np.array([[854.0, 480.0, 1280.0, 720.0]]), "1280x720", (854, 480), "refuse")
    assert fitted.box.tolist() == [[570, 320, 854, 480]]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1280x720", (1280, 720)),
        ("720", (None, 720)),
        ("0x5", None),
        ("720p", None),
        ("a.txt", None),
    ],
)
def test_sizes(text, size):
    assert boxes.parse_size(text) == size
