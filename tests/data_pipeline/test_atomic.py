import os
import pathlib
import stat
import threading

import pytest

from data_pipeline.errors import InputError
from data_pipeline.read import atomic


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    with atomic.replacing(path) as part:
        part.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_former_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("former")

    def fail():
        with atomic.replacing(path) as part:
            part.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing(tmp_path):
    lost = atomic.replacing(tmp_path / "no" / "a.txt")
    with pytest.raises(InputError, match=r"cannot write .*no/a\.txt"), lost as part:
        part.write_text("lost")


def test_a_full_disk_leaves_the_former_file_and_says_so(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("former")
    full = atomic.replacing(path)
    with pytest.raises(InputError, match=r"cannot write .*a\.txt.*No space left"), full:
        raise OSError(28, "No space left on device")
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_and_stays_one(tmp_path):
    target, link = tmp_path / "there" / "a.txt", tmp_path / "link"
    target.parent.mkdir()
    target.write_text("former")
    link.symlink_to("there/a.txt")
    atomic.write_text(link, "latter")
    assert link.is_symlink()
    assert target.read_text() == "latter"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_a_planted_part_is_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "a.txt"
    victim.write_text("untouched")
    (tmp_path / "a.txt.part").symlink_to(victim)
    atomic.write_text(path, "own")
    assert (victim.read_text(), path.read_text()) == ("untouched", "own")
    assert not path.is_symlink()


def test_names_of_parts_do_not_repeat_and_are_known(tmp_path):
    names = set()
    for path in (tmp_path / "a.txt", tmp_path / "a.txt", tmp_path / ("b" * 250)):
        with atomic.replacing(path) as part:
            names.add(part.name)
            part.write_text("")
    assert len(names) == 3
    assert all(atomic.is_part(name) for name in names)
    assert not atomic.is_part("a.txt")


def test_a_file_keeps_its_mode_and_another_one_has_that_of_the_folder_around(tmp_path):
    path, plain = tmp_path / "a.txt", tmp_path / "plain"
    path.write_text("former")
    path.chmod(0o600)
    plain.write_text("")
    atomic.write_text(path, "latter")
    atomic.write_text(tmp_path / "b.txt", "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "b.txt").stat().st_mode == plain.stat().st_mode


def test_a_pipe_with_a_name_is_written_through(tmp_path):
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    atomic.write_text(path, "through")
    reader.join()
    assert read == ["through"]
    assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_that_nobody_reads_any_more_is_no_fault():
    reading, writing = os.pipe()
    os.close(reading)
    atomic.write_text(f"/dev/fd/{writing}", "lost")
    os.close(writing)


def test_a_device_is_written_through():
    terminal, device = os.openpty()
    try:
        path = pathlib.Path(os.ttyname(device))
        atomic.write_text(path, "seen")
        assert os.read(terminal, 99) == b"seen"
        assert path.is_char_device()
    finally:
        os.close(terminal)
        os.close(device)


def test_an_open_file_goes_on_where_it_is(tmp_path):
    path = tmp_path / "out.txt"
    with path.open("w") as stream:
        stream.write("before ")
        stream.flush()
        atomic.write_text(f"/dev/fd/{stream.fileno()}", "between ")
        (tmp_path / "link").symlink_to(f"/dev/fd/{stream.fileno()}")
        atomic.write_text(tmp_path / "link", "and ")
        stream.seek(0, os.SEEK_END)
        stream.write("after")
    assert path.read_text() == "before between and after"


def test_text_is_utf8_and_what_has_no_utf8_is_escaped(tmp_path):
    atomic.write_text(tmp_path / "a.txt", "å \udcc8")
    assert (tmp_path / "a.txt").read_bytes() == "å \\udcc8".encode()


def test_a_folder_appears_when_it_is_whole(tmp_path):
    folder = tmp_path / "a"
    (tmp_path / "a.part").symlink_to(tmp_path)  # planted
    with atomic.making(folder) as part:
        (part / "one").write_text("1")
        assert not folder.exists()
    assert [path.name for path in folder.iterdir()] == ["one"]

    def fail():
        with atomic.making(tmp_path / "b") as part:
            (part / "one").write_text("1")
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"cannot write .*b: .*No space left"):
        fail()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.part"]
