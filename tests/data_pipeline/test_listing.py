"""Folders that the system does not show are named, whoever reads."""

import errno
import functools
import os
import shutil
import subprocess
import sys

import pytest

from data_pipeline import datasets, doctor, findings
from data_pipeline.crops import gather, videos
from data_pipeline.errors import InputError
from data_pipeline.read import archive_parts, listing
from data_pipeline.synthetic import layouts
from luperson_jax import cli

SMALL = {"identities": 4, "cameras": 2, "height": 16, "width": 8, "images_per_camera": 1}
# A folder in each layout, the only one of its kind that holds what is read.
CLOSED = {
    "folder": ("image_folder", "*/*/*"),
    "market1501": ("market1501", "query"),
    "msmt17": ("msmt17", "train/0000"),
    "cuhk03_np": ("cuhk03_np_labeled", "labeled/query"),
    "cuhk_sysu": ("cuhk_sysu", "*images"),
    "luperson": ("luperson", "*/*/*"),
    "luperson_nl_lmdb": ("luperson_nl", "."),
    "mars": ("mars", "bbox_test/000[1-9]"),
    "dukemtmc_videoreid": ("dukemtmc_videoreid", "gallery/*/*"),
    "prid2011": ("prid2011", "**/cam_a/*"),
    "ilids_vid": ("ilids_vid", "**/cam1/*"),
}


@pytest.fixture
def close(monkeypatch):
    """Closes a folder: it can be seen from outside, and neither listed nor entered."""
    scandir, listdir, stat = os.scandir, os.listdir, os.stat

    def of(folder, number=errno.EACCES):
        def refused(path, inside):
            path, closed = os.path.abspath(os.fspath(path)), os.path.abspath(folder)
            if (inside and path.startswith(f"{closed}{os.sep}")) or (not inside and path == closed):
                raise OSError(number, os.strerror(number), path)

        def listed(path=".", call=scandir):
            refused(path, False)
            return call(path)

        def looked_at(path, **options):
            if not isinstance(path, int):
                refused(path, True)
            return stat(path, **options)

        monkeypatch.setattr(os, "scandir", listed)
        monkeypatch.setattr(os, "listdir", functools.partial(listed, call=listdir))
        monkeypatch.setattr(os, "stat", looked_at)

    return of


@pytest.mark.parametrize("layout", CLOSED)
def test_no_reader_passes_over_a_closed_folder(layout, tmp_path, close):
    word, pattern = CLOSED[layout]
    layouts.make(layout, tmp_path / "root", **SMALL, frames=2)
    closed = sorted((tmp_path / "root").glob(pattern))[0] if pattern != "." else tmp_path / "root"
    close(closed)
    with pytest.raises(InputError, match="Permission denied; give this user the right") as caught:
        datasets.load(word, str(tmp_path / "root"))
    assert f"cannot read {closed}" in str(caught.value)


def test_a_lost_drive_is_no_matter_of_rights(tmp_path, close):
    (tmp_path / "a").mkdir()
    close(tmp_path / "a", errno.EIO)
    with pytest.raises(InputError, match="error; check that its disk or network drive is whole"):
        list(listing.walk(tmp_path))
    with pytest.raises(InputError, match=r"cannot read .*a/b"):
        listing.is_folder(tmp_path / "a" / "b")


def test_what_is_not_there_is_not_refused(tmp_path):
    os.symlink(tmp_path / "circle", tmp_path / "circle")
    os.symlink(tmp_path / "absent", tmp_path / "broken")
    (tmp_path / "file").write_text("")
    for name in ("circle", "broken", "absent", "file/below", "x" * 300, "nul\0"):
        path = os.path.join(tmp_path, name)
        assert not any(look(path) for look in (listing.exists, listing.is_folder, listing.is_file))
    assert listing.is_file(tmp_path / "file")
    assert listing.subfolders(tmp_path) == []
    assert list(listing.walk(tmp_path)) == [(str(tmp_path), ["broken", "circle", "file"])]
    with pytest.raises(InputError, match="No such file or directory; check the path"):
        listing.names(tmp_path / "absent")


def test_folders_are_walked_once_and_without_those_of_the_system(tmp_path, close):
    for name in ("b/deep", "a", ".hidden", "lost+found"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("b/deep/2", "b/1", "a/3", ".hidden/4"):
        (tmp_path / name).write_text("")
    os.symlink(tmp_path, tmp_path / "b" / "up")
    close(tmp_path / "lost+found")
    found = [(os.path.relpath(folder, tmp_path), names) for folder, names in listing.walk(tmp_path)]
    assert found == [(".", []), ("a", ["3"]), ("b", ["1"]), ("b/deep", ["2"])]
    assert list(listing.walk(tmp_path, follow_links=True)) == list(listing.walk(tmp_path))


def test_the_doctor_says_which_folder_is_closed(tmp_path, close, capsys):
    layouts.make("market1501", tmp_path / "root", **SMALL)
    (tmp_path / "root" / "extra").mkdir()
    close(tmp_path / "root" / "extra")
    found = doctor.examine("auto", str(tmp_path / "root"), pictures=False)
    assert f"cannot read {tmp_path}/root/extra: Permission denied" in found.unreadable
    assert findings.describe(found)[-1] == "verdict: broken"
    close(tmp_path / "root")
    assert cli.main(["data", "check", "auto", str(tmp_path / "root")]) == 2
    assert f"cannot read {tmp_path}/root: Permission denied" in capsys.readouterr().err


def test_videos_crops_and_archives_in_closed_folders(tmp_path, close):
    (tmp_path / "country" / "city" / "id").mkdir(parents=True)
    close(tmp_path / "country" / "city")
    denied = pytest.raises(InputError, match="city: Permission denied")
    with denied:
        videos.list_folder(str(tmp_path))
    with denied:
        videos.find_detections(str(tmp_path), [])
    with denied:
        gather.gather(str(tmp_path), str(tmp_path / "out"), "luperson")
    with denied:
        archive_parts.numbered_parts(tmp_path / "country" / "city")


def test_a_folder_that_is_closed_in_truth(tmp_path):
    """As above without a double; root reads everything and has to give that up first."""
    setpriv = shutil.which("setpriv")
    rights = "-dac_override,-dac_read_search"
    drop = [str(setpriv), f"--bounding-set={rights}", f"--inh-caps={rights}"]
    if os.geteuid() == 0 and not setpriv:
        pytest.skip("root, and no setpriv to be less")
    layouts.make("folder", tmp_path / "root", **SMALL, frames=1)
    closed = sorted((tmp_path / "root").glob("*/*/*"))[0]
    closed.chmod(0)
    program = "import sys; from data_pipeline import datasets; datasets.load(*sys.argv[1:])"
    command = [sys.executable, "-c", program, "image_folder", str(tmp_path / "root")]
    try:
        done = subprocess.run(
            [*(drop if os.geteuid() == 0 else []), *command], capture_output=True, text=True
        )
    finally:
        closed.chmod(0o755)
    if "setpriv" in done.stderr:
        pytest.skip(f"rights cannot be given up: {done.stderr.strip()}")
    assert f"InputError: cannot read {closed}: Permission denied" in done.stderr
