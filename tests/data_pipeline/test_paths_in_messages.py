"""Messages point at the path that is wrong; names of any bytes are read and kept."""

import os
import shutil

import pytest

from data_pipeline import datasets, doctor, findings
from data_pipeline.datasets import folders, listed, video_lists
from data_pipeline.errors import InputError
from data_pipeline.packing import pack
from data_pipeline.read import storage
from data_pipeline.subsets import lists
from data_pipeline.synthetic import layouts
from data_pipeline.table.paths import Paths
from luperson_jax import cli

SMALL = {"identities": 6, "cameras": 3, "height": 16, "width": 8, "images_per_camera": 1}
# A word in GBK, as an archive packed on Windows leaves it.
FOREIGN = os.fsdecode(b"\xc8\xcb")


def rewrite(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("name", ["", "  "])
def test_no_path_at_all(name):
    with pytest.raises(InputError, match=f"the path '{name}' is empty"):
        folders.checked_root(name)
    assert cli.main(["data", "check", "auto", name]) == 2


def test_a_comma_in_the_name_of_a_folder(tmp_path):
    root = tmp_path / "a, b"
    layouts.make("market1501", root, **SMALL)
    assert len(datasets.load("market1501", str(root)).train)
    assert doctor.examine("market1501", str(root), pictures=False).healthy
    pack.pack("market1501", str(root), str(tmp_path / "packed"))
    shutil.copytree(root, tmp_path / "c")
    for missing in (f"{tmp_path}/c,{tmp_path}/d", f"{tmp_path}/d,e"):
        with pytest.raises(InputError, match="is no folder; by its commas it names 2") as caught:
            datasets.load("market1501", missing)
        assert f"{tmp_path}/d does not exist" in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "pattern"),
    [("msmt17", "list_*.txt"), ("prid2011", "**/*data.txt"), ("ilids_vid", "**/*data.txt")],
)
def test_lists_with_the_separators_of_windows(layout, pattern, tmp_path):
    layouts.make(layout, tmp_path, **SMALL, frames=2)
    before = datasets.load(layout, str(tmp_path))
    for path in tmp_path.glob(pattern):
        rewrite(path, lambda content: content.replace(b"/", b"\\").replace(b"\n", b"\r\n"))
    after = datasets.load(layout, str(tmp_path))
    assert after.train.fingerprint() == before.train.fingerprint()
    assert after.gallery.fingerprint() == before.gallery.fingerprint()


def test_subset_lists_with_the_separators_of_windows(tmp_path):
    (tmp_path / "list.txt").write_text("0001\\a.jpg; 0; 0\n")
    assert lists.read_images(tmp_path / "list.txt")[0].name == "0001/a.jpg"


def test_a_line_twice_is_named_with_both_lines(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a/1.jpg 1\n\nb/2.jpg 2\na\\1.jpg 1\n")
    with pytest.raises(InputError, match=r"list\.txt names a/1\.jpg twice, in the lines 1 and 4"):
        listed.pairs(str(path), "a/1.jpg 1")
    path.write_text(2 * "cam1/person_0001/0001.png 1 1 1\n")
    with pytest.raises(InputError, match=r"0001\.png twice, in the lines 1 and 2"):
        video_lists.read_frames(str(path))


def test_a_missing_picture_is_named_with_what_is_there(tmp_path):
    layouts.make("msmt17", tmp_path, **SMALL)
    picture = sorted((tmp_path / "train").rglob("*.jpg"))[0]
    picture.rename(picture.with_suffix(".JPG"))
    with pytest.raises(InputError, match="lacks 1 of the") as caught:
        datasets.load("msmt17", str(tmp_path))
    assert f"there is no {picture} but {picture.stem}.JPG beside it" in str(caught.value)
    shutil.rmtree(picture.parent)
    with pytest.raises(InputError, match=f"there is no folder {picture.parent}"):
        datasets.load("msmt17", str(tmp_path))


def test_a_list_of_two_bytes_a_letter_is_no_text_file(tmp_path):
    (tmp_path / "list.txt").write_bytes("a.jpg 1\n".encode("utf-16"))
    for read in (lambda path: listed.pairs(path, "a.jpg 1"), video_lists.read_lines):
        with pytest.raises(InputError, match=r"list\.txt is not a text file.*save it as UTF-8"):
            read(str(tmp_path / "list.txt"))


@pytest.mark.parametrize(
    ("layout", "word", "folder", "source"),
    [
        ("market1501", "market1501", "query", "*.jpg"),
        ("dukemtmc_videoreid", "dukemtmc_videoreid", "gallery", "*"),
        ("folder", "image_folder", "", "*"),
        ("luperson", "luperson", "", "*"),
    ],
)
def test_names_that_are_no_utf8(layout, word, folder, source, tmp_path, capsys):
    """Where a layout tells the name, the message shows it; where any will do, it is read."""
    layouts.make(layout, tmp_path / "root", **SMALL, frames=2)
    home = tmp_path / "root" / folder
    one = sorted(home.glob(source))[0]
    one.rename(one.with_name(FOREIGN + one.suffix))
    status = cli.main(["data", "check", word, str(tmp_path / "root"), "--own"])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    if word in ("image_folder", "luperson"):
        assert status == 0
        table = datasets.load(word, str(tmp_path / "root")).train
        assert any(FOREIGN in path for path in table.media)
        assert all(storage.read(path) for path in table.media)
        assert len(table.fingerprint()) == 12
        assert pack.pack(word, str(tmp_path / "root"), str(tmp_path / "packed"))
        packed = datasets.load("packed", str(tmp_path / "packed")).train
        assert packed.fingerprint() == table.fingerprint()
        assert any(FOREIGN in name for name in packed.paths)
    else:
        assert status == 1
        assert "\\xc8\\xcb" in captured.out or "\\udcc8\\udccb" in captured.out


def test_a_list_names_pictures_that_are_no_utf8(tmp_path):
    layouts.make("msmt17", tmp_path, **SMALL)
    path = tmp_path / "list_train.txt"
    first = path.read_text().split()[0]
    (tmp_path / "train" / first.split("/")[0]).rename(tmp_path / "train" / FOREIGN)
    rewrite(path, lambda text: text.replace(first.split("/")[0].encode() + b"/", b"\xc8\xcb/"))
    table = datasets.load("msmt17_train", str(tmp_path)).train
    assert any(FOREIGN in media for media in table.media)


def test_what_no_file_can_be_called():
    assert list(Paths.of([FOREIGN, "a"])) == [FOREIGN, "a"]
    with pytest.raises(InputError, match=r"'a\\ud800' can be the name of no file"):
        Paths.of(["a\ud800"])


def test_findings_with_names_that_are_no_utf8(tmp_path):
    layouts.make("market1501", tmp_path / "root", **SMALL)
    name = tmp_path / "root" / f"{FOREIGN}.jpg"
    shutil.copy(next((tmp_path / "root" / "query").glob("*.jpg")), name)
    found = doctor.examine("market1501", str(tmp_path / "root"))
    assert found.unused == (str(name),)
    file = tmp_path / "findings.json"
    assert cli.main(["data", "check", "auto", str(tmp_path / "root"), "--json", str(file)]) == 1
    assert "\\udcc8" in file.read_text(encoding="ascii")
    assert findings.to_dict(found)["unused"] == (str(name),)
