"""LUPerson and LUPerson-NL from videos and detections: crops, LMDB, statistics, command line."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from data_pipeline.crops import all_videos, extract, videos
from data_pipeline.crops.videos import Video
from data_pipeline.errors import InputError
from data_pipeline.read import atomic
from luperson_jax import cli
from tests.data_pipeline.clips import (
    FRAMES,
    assert_file_shows,
    overwrite,
    packets,
    picture,
    tree,
    write_clip,
    write_detections,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = ("chad+n djamena+b_1", "chad+n djamena+-a2", "fiji+suva+c3", "oman+suva+d4")
BOXES = [(3, 4, 23, 44), (30, 10, 50, 40), (44, 2, 64, 48)]


def tracks(frames, pids=(7, 1234, 99)):
    """Three people, each in one place, and gone in some frames."""
    return {
        frame: [(i, box, pid) for i, (box, pid) in enumerate(zip(BOXES, pids, strict=True))]
        for frame in frames
    }


@pytest.fixture
def world(tmp_path):
    """Four videos, each of another kind, with detections in both numberings."""
    suffixes = (".mp4", ".avi", ".mkv", ".MP4")
    for place, (name, suffix) in enumerate(zip(NAMES, suffixes, strict=True)):
        video = videos.parse_name(name)
        path = tmp_path / "videos" / video.country / video.city / f"{name}{suffix}"
        write_clip(path, "mjpeg" if suffix == ".avi" else "mpeg4")
        pids = [10 * place + i for i in (3, 1, 2)]
        write_detections(tmp_path / "nl" / f"{name}.pkl", tracks(range(place, FRAMES, 3), pids))
        write_detections(tmp_path / "lup" / f"{name}.pkl", tracks(range(place + 1, FRAMES + 1, 3)))
    return tmp_path


def extract_all(world, out="out", source="luperson_nl", folder=None, only=None, **others):
    names = ("first_frame", "sampling", "outside", "quality")
    options = all_videos.make_options(source, **{k: others.pop(k) for k in names if k in others})
    listed = videos.list_folder(str(world / "videos"))
    if only:
        listed = videos.VideoList(tuple(videos.parse_name(name) for name in only))
    detections = str(world / (folder or {"luperson": "lup", "luperson_nl": "nl"}[source]))
    folders = str(world / "videos"), detections, str(world / out)
    return all_videos.extract_all(listed, *folders, options, **others)


def crops(world, out="out"):
    return sorted(tree(world / out / "images"))


def test_list_of_videos_is_read_whatever_its_line_ends(tmp_path):
    text = "\ufefffiji+suva+c3\r\n\r\n  chad+n djamena+-a2 \r\nfiji+suva+c3\noman+suva+c3\n"
    (tmp_path / "vnames.txt").write_bytes(text.encode())
    listed = videos.read_list(str(tmp_path / "vnames.txt"))
    assert listed.videos == (Video("chad", "n djamena", "-a2"), Video("fiji", "suva", "c3"))
    assert listed.repeated == ("fiji+suva+c3",)
    assert listed.elsewhere == ("oman+suva+c3",)


@pytest.mark.parametrize(
    "line", ["fiji+suva", "a+b+c+d", "../..+suva+x", "fiji+suva+a/b", "a+ +b", "a+b+.c"]
)
def test_lines_that_name_no_video_are_told_with_their_numbers(tmp_path, line):
    (tmp_path / "vnames.txt").write_text(f"fiji+suva+c3\n{line}\n")
    with pytest.raises(InputError, match=r"country\+city\+id; it has\n  line 2: "):
        videos.read_list(str(tmp_path / "vnames.txt"))
    (tmp_path / "vnames.txt").write_text("\n")
    with pytest.raises(InputError, match="no line at all"):
        videos.read_list(str(tmp_path / "vnames.txt"))


def test_videos_are_found_with_any_ending_and_mp4_first(world):
    (world / "videos/fiji/suva/fiji+suva+c3.mp4").touch()
    (world / "videos/fiji/suva/fiji+suva+c4.mp4.part").touch()
    (world / "videos/fiji/suva/holiday.mp4").touch()
    listed = videos.list_folder(str(world / "videos"))
    assert [video.name for video in listed.videos] == sorted(NAMES)
    wanted = [*listed.videos, Video("fiji", "suva", "c4"), Video("mali", "gao", "e5")]
    found = videos.find_videos(str(world / "videos"), wanted)
    assert [path.rpartition("+")[2] for path in found.values()] == [
        "-a2.avi",
        "b_1.mp4",
        "c3.mp4",
        "d4.MP4",
    ]


def test_luperson_counts_frames_from_1_and_luperson_nl_from_0(world):
    extract_all(world, "out", "luperson")
    extract_all(world, "out_nl", "luperson_nl")
    folder = world / "out/images/fiji/suva/c3"
    assert len(crops(world)) == len(crops(world, "out_nl")) == 3 * (10 + 10 + 10 + 9)
    for frame in range(3, FRAMES + 1, 3):
        for number, box in enumerate(BOXES):
            assert_file_shows(folder / f"{frame:08d}_{number:04d}.jpg", frame - 1, box)
    folder = world / "out_nl/images/fiji/suva/c3"
    for frame in range(2, FRAMES, 3):
        for number, (pid, box) in enumerate(zip((23, 21, 22), BOXES, strict=True)):
            assert_file_shows(folder / f"{pid:06d}_{frame:07d}_{number:02d}.jpg", frame, box)


def test_first_frame_is_an_option_and_a_frame_before_it_an_error(world):
    extract_all(world, only=NAMES[2:3], first_frame=1)
    assert_file_shows(world / "out/images/fiji/suva/c3/000023_0000005_00.jpg", 4, BOXES[0])
    summary = extract_all(world, "other", only=NAMES[:1], first_frame=1)
    assert "boxes in frame 0, but frames are said to be counted from 1" in summary.failed[NAMES[0]]
    assert crops(world, "other") == []


def test_sampling_leaves_few_pictures_of_those_who_are_seen_for_long(world):
    frames = tracks(range(0, 18), (1, 2, 3)) | tracks(range(18, 28), (1, 5, 3))
    frames[9].pop(0)
    write_detections(world / "nl" / f"{NAMES[0]}.pkl", frames)
    summary = extract_all(world, only=NAMES[:1], sampling="20_10")
    names = [pathlib.PurePath(path).stem for path in crops(world)]
    kept = {1: (0, 11, 21), 3: (0, 10, 20)}  # 1 is not seen in frame 9
    expected = [f"{pid:06d}_{frame:07d}_{pid - 1:02d}" for pid in kept for frame in kept[pid]]
    assert names == sorted(expected)
    assert (summary.counts.sampled_out, summary.counts.ids) == (83 - 6, 2)


def test_every_box_is_accounted_for(world):
    """Damaged frames, frames after the end, boxes outside and empty, names that come twice."""
    name = NAMES[1]
    path = next(world.glob(f"videos/*/*/{name}.avi"))
    position, size, _ = packets(path)[12]
    overwrite(path, position + 8, bytes(size - 8))
    frames = {
        3: [(0, (3, 4, 23, 44), 5), (0, (30, 10, 50, 40), 5), (1, (9, 9, 9, 20), 5)],
        6: [(0, (50, 10, 72, 40), 6), (1, (70, 10, 90, 40), 6), (2, (np.nan, 0, 9, 9), 6)],
        12: [(0, (3, 4, 23, 44), 7), (1, (3, 4, 23, 44), 8)],
        29: [(0, (3, 4, 23, 44), 9)],
        30: [(0, (3, 4, 23, 44), 9)],
        99: [(0, (3, 4, 23, 44), 9), (1, (3, 4, 23, 44), 10)],
    }
    write_detections(world / "nl" / f"{name}.pkl", frames)
    counts = extract_all(world, only=[name], outside="clip").counts
    assert counts == extract.Counts(
        boxes=12,
        crops=3,
        outside=1,
        empty=2,
        repeated=1,
        damaged=2,
        beyond_end=3,
        clipped=1,
        ids=3,
        damaged_frames=1,
    )
    folder = world / "out/images/chad/n djamena/-a2"
    assert_file_shows(folder / "000005_0000003_00.jpg", 3, (3, 4, 23, 44))
    assert_file_shows(folder / "000006_0000006_00.jpg", 6, (50, 10, 64, 40))
    assert_file_shows(folder / "000009_0000029_00.jpg", 29, (3, 4, 23, 44))


@pytest.mark.parametrize("made_at", ["64x48", "48", {NAMES[0]: "64x48"}])
def test_boxes_of_a_smaller_resolution_are_scaled(world, made_at):
    path = next(world.glob(f"videos/*/*/{NAMES[0]}.mp4"))
    write_clip(path, size=(128, 96))
    assert extract_all(world, only=NAMES[:1], made_at=made_at).done == 1
    left, top, right, bottom = (2 * side for side in BOXES[1])
    file = world / "out/images/chad/n djamena/b_1/000001_0000003_01.jpg"
    assert_file_shows(file, 3, (left, top, right, bottom), scale=2)


def test_boxes_of_a_larger_resolution_are_refused_or_counted(world):
    path = world / "nl" / f"{NAMES[0]}.pkl"
    large = {
        f: [(i, tuple(2 * side for side in box), 1) for i, box in enumerate(BOXES)] for f in (0, 1)
    }
    write_detections(path, large)
    summary = extract_all(world, only=NAMES[:1])
    assert (
        "6 of 6 boxes reach beyond the frame of 64x48, as far as 128, 96"
        in summary.failed[NAMES[0]]
    )
    assert "--detections-at" in summary.failed[NAMES[0]]
    assert crops(world) == []
    assert extract_all(world, only=NAMES[:1], made_at="96").counts.crops == 6
    assert extract_all(world, "skip", only=NAMES[:1], outside="skip").counts.outside == 6


def test_boxes_in_a_corner_of_the_frame_are_told(world):
    frames = {f: [(i, (i, 0, i + 9, 12), 1) for i in range(20)] for f in range(6)}
    write_detections(world / "nl" / f"{NAMES[0]}.pkl", frames)
    assert extract_all(world, only=NAMES[:2]).small == (NAMES[0],)


def test_missing_and_broken_videos_are_listed_and_tried_again(world):
    listed = videos.VideoList(tuple(map(videos.parse_name, [*NAMES, "peru+lima+e5"])))
    broken = next(world.glob(f"videos/*/*/{NAMES[2]}.mkv"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    moved = (world / "nl" / f"{NAMES[3]}.pkl").rename(world / "later.pkl")
    arguments = (str(world / "videos"), str(world / "nl"), str(world / "out"))
    options = all_videos.make_options("luperson_nl")
    summary = all_videos.extract_all(listed, *arguments, options)
    assert (summary.videos, summary.done) == (5, 2)
    assert summary.missing_videos == ("peru+lima+e5",)
    assert summary.missing_detections == (NAMES[3],)
    assert list(summary.failed) == [NAMES[2]]
    assert "cannot open the video" in summary.failed[NAMES[2]]
    assert (world / "out/missing_videos.txt").read_text() == "peru+lima+e5\n"
    assert json.loads((world / "out/summary.json").read_text())["counts"]["crops"] == 60
    broken.write_bytes(whole)
    moved.rename(world / "nl" / f"{NAMES[3]}.pkl")
    done = []
    summary = all_videos.extract_all(
        listed, *arguments, options, on_done=lambda r, i, n: done.append((r.name, i, n))
    )
    assert done == [(NAMES[2], 3, 4), (NAMES[3], 4, 4)]
    assert (summary.done, summary.counts.crops, summary.failed) == (4, 117, {})


def test_processes_shares_and_order_change_nothing(world):
    extract_all(world, "serial")
    expected = tree(world / "serial")
    extract_all(world, "parallel", num_workers=2)
    assert tree(world / "parallel") == expected
    for share in (2, 0, 1):
        extract_all(world, "shares", share=(share, 3))
    assert "summary.json" not in tree(world / "shares")
    extract_all(world, "shares")
    assert tree(world / "shares") == expected


KILL = """
import os, signal, sys
from data_pipeline.crops import all_videos, extract, videos
root, moment = sys.argv[1], sys.argv[2]
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
file = extract.atomic.replacing
left = 45
def encode(crop, quality, encode=extract.encode):
    global left
    left -= 1
    return encode(crop, quality) if left else kill()
if moment == "crop":
    extract.encode = encode
if moment == "record":
    extract.atomic.replacing = lambda path: kill() if path.parent.name == "videos" else file(path)
if __name__ == "__main__":
    options = all_videos.make_options("luperson_nl")
    listed = videos.list_folder(root + "/videos")
    folders = (root + "/videos", root + "/nl", root + "/out")
    workers = 2 if moment == "parallel" else 1
    on_done = kill if moment == "parallel" else None
    all_videos.extract_all(listed, *folders, options, num_workers=workers, on_done=on_done)
"""


@pytest.mark.parametrize("moment", ["crop", "record", "parallel"])
def test_a_killed_run_goes_on_as_if_nothing_had_been(world, moment):
    (world / "kill.py").write_text(KILL)
    # The pipes close when the last process has ended, those of the pool included.
    killed = subprocess.run(
        [sys.executable, str(world / "kill.py"), str(world), moment],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(crops(world)) < 117
    if moment != "parallel":
        assert any(".part/" in path for path in crops(world)) == (moment == "crop")
    extract_all(world)
    extract_all(world, "expected")
    # A process that is killed as it writes a record leaves a part of it, under a name of its own.
    whole = {name: held for name, held in tree(world / "out").items() if not atomic.is_part(name)}
    assert whole == tree(world / "expected")


def test_what_an_interrupted_run_left_does_not_get_into_the_crops(world):
    for folder in ("images/fiji/suva/.c3.part", "images/fiji/suva/c3"):
        (world / "stray" / folder).mkdir(parents=True)
        (world / "stray" / folder / "000001_0000000_99.jpg").touch()
    extract_all(world)
    (world / "stray/build.json").write_bytes((world / "out/build.json").read_bytes())
    extract_all(world, "stray")
    assert tree(world / "stray") == tree(world / "out")


def test_boxes_follow_a_stream_that_changes_its_size(world, monkeypatch):
    def frames(path, wanted, decoder):
        return ((n, picture(n) if n < 15 else picture(n, 128, 96)) for n in wanted)

    monkeypatch.setattr(extract.reader, "frames", frames)
    extract_all(world, only=NAMES[2:3])
    folder = world / "out/images/fiji/suva/c3"
    assert_file_shows(folder / "000021_0000014_01.jpg", 14, BOXES[1])
    large = tuple(2 * side for side in BOXES[1])
    assert_file_shows(folder / "000021_0000017_01.jpg", 17, large, scale=2)


def test_a_finished_video_is_not_decoded_again_unless_its_inputs_changed(world):
    extract_all(world)
    again = []
    extract_all(world, on_done=lambda record, *_: again.append(record.name))
    assert again == []
    write_detections(world / "nl" / f"{NAMES[2]}.pkl", tracks([4]))
    summary = extract_all(world, on_done=lambda record, *_: again.append(record.name))
    assert again == [NAMES[2]]
    assert len(crops(world)) == summary.counts.crops == 117 - 30 + 3


def test_other_options_and_foreign_folders_are_refused(world):
    extract_all(world, only=NAMES[:1])
    with pytest.raises(InputError, match="begun with quality 95, not 80; go on with the same"):
        extract_all(world, only=NAMES[:1], quality=80)
    before = tree(world / "videos")
    with pytest.raises(InputError, match="holds something else"):
        extract_all(world, "videos")
    assert tree(world / "videos") == before


def test_folders_without_anything_that_is_asked_for_are_errors(world):
    (world / "lup/x").mkdir()
    with pytest.raises(InputError, match=r"nothing below .*/lup/x belongs to any of the 4 videos"):
        extract_all(world, folder="lup/x")
    with pytest.raises(InputError, match=r"nothing below .*peru\+lima\+e5"):
        extract_all(world, only=["peru+lima+e5"])
    assert not (world / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "lupersonnl"}, "did you mean 'luperson_nl'"),
        ({"source": "luperson", "sampling": "200_20"}, "detections of luperson have none"),
        ({"source": "luperson_nl", "sampling": "200"}, "FRAMES_STEP such as 200_20"),
        ({"source": "luperson_nl", "first_frame": 2}, "expected 0 or 1"),
        ({"source": "luperson_nl", "quality": 0}, "1 to 100"),
        ({"source": "luperson_nl", "outside": "crop"}, "'crop'; valid are clip, refuse, skip"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        all_videos.make_options(**options)


@pytest.fixture
def command(capsys):
    """`luperson data ...`: its status and what it wrote on both outputs."""

    def run(*arguments):
        status = cli.main(["data", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_the_command_takes_crops_and_tells_what_is_missing(world, command):
    (world / "vnames.txt").write_text("\n".join([*NAMES, NAMES[0], "peru+lima+e5"]))
    (world / "sizes.txt").write_text(f"{NAMES[0]} 128x96\r\n{NAMES[1]} 48\n")
    folders = ("--videos", world / "videos", "--detections", world / "nl", "--out", world / "out")
    more = ("--list", world / "vnames.txt", "--detections-at", world / "sizes.txt")
    status, out, err = command(
        "extract", "--source", "luperson_nl", *folders, *more, "--workers", 2
    )
    assert status == 0, err
    for text in (
        "5 videos\n1 named more than once:\n  chad+n djamena+b_1\n",
        "fiji+suva+c3: 30 crops of 30 boxes\n",
        "4 of 5 videos done\n  boxes: 117\n  crops: 117\n  ids: 12\n",
        "1 videos have no file:\n  peru+lima+e5\n",
    ):
        assert text in out
    left, top, right, bottom = (side // 2 for side in BOXES[1])
    file = world / "out/images/chad/n djamena/b_1/000001_0000003_01.jpg"
    assert_file_shows(file, 3, (left, top, right, bottom))
    status, out, err = command("extract", "--source", "luperson_nl", *folders, "--sampling", "1_2")
    assert status == 2
    assert err.startswith("luperson: ")
    assert "begun with keep_every 1, not 2" in err


def test_sampling_what_is_sampled_already_is_told(world, command):
    folders = ("--videos", world / "videos", "--detections", world / "nl", "--out", world / "out")
    status, out, err = command(
        "extract", "--source", "luperson_nl", *folders, "--sampling", "200_20"
    )
    assert status == 0, err
    assert "sampling 200_20 left nothing: these detections are probably sampled" in out
