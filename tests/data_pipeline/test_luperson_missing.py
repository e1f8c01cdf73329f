import pathlib

import pytest

from data_pipeline.datasets import luperson, luperson_missing
from data_pipeline.errors import InputError
from data_pipeline.read import storage
from data_pipeline.synthetic import layouts

SMALL = {"identities": 6, "cameras": 4, "tracklets": 2, "frames": 3, "height": 32, "width": 16}


@pytest.fixture(autouse=True)
def closed():
    yield
    storage.close()


def make_files(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(root)


def test_gaps_in_the_numbers():
    keys = [f"00_00_{video:04d}_{i:08d}" for video in (0, 1, 4) for i in (0, 1, 2)]
    keys += [f"03_02_0000_{i:08d}.jpg" for i in (5, 9)]
    keys += ["part001/03_00_0002_00000000.jpg", "foreign"]
    missing = luperson_missing.gaps(keys)
    assert missing == luperson_missing.Missing(
        countries=(1, 2),
        cities=("03_01",),
        videos=("00_00_0002", "00_00_0003", "03_00_0001"),
        images=3,
    )
    assert missing.lines() == [
        "missing countries: 1, 2",
        "missing cities (country_city): 03_01",
        "missing videos: 00_00_0002, 00_00_0003, 03_00_0001",
        "missing numbers of pictures within videos: 3",
    ]
    assert luperson_missing.gaps([]) == luperson_missing.Missing()
    keys = [f"{video:05d}_000007_0000020_01" for video in (1, 2, 5)]
    assert luperson_missing.gaps(keys[:2]) == luperson_missing.Missing()
    assert luperson_missing.gaps(keys).videos == ("00003", "00004")


@pytest.mark.parametrize("form", ["luperson", "luperson_lmdb", "luperson_nl_lmdb"])
def test_nothing_is_missing_in_a_whole_set(tmp_path, form):
    pytest.importorskip("lmdb")
    layouts.make(form, tmp_path, **SMALL)
    assert luperson_missing.find(str(tmp_path), luperson.parts_of).lines() == []


def test_missing_archives(tmp_path):
    for number in (1, 2, 5, 13):
        (tmp_path / f"LUPerson.zip.{number:03d}").touch()
    missing = luperson_missing.find(str(tmp_path), luperson.parts_of)
    assert missing.archives == (3, 4, 6, 7, 8, 9, 10, 11, 12)
    assert missing.lines() == ["missing of the 13 archives: 3, 4, 6, 7, 8, 9, 10, 11, 12"]
    make_files(tmp_path, "part/30_00_0001_00000001.jpg", "part/30_00_0003_00000001.jpg")
    missing = luperson_missing.find(str(tmp_path), luperson.parts_of)
    assert len(missing.archives) == 9
    assert missing.videos == ("30_00_0002",)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="neither pictures"):
        luperson_missing.find(str(tmp_path / "empty"), luperson.parts_of)


def test_videos_of_the_list_that_have_no_folder(tmp_path):
    root = make_files(
        tmp_path, "fr/paris/fr+paris+abc/00000120_0000.jpg", "fr/paris/d-e/00000120_0000.jpg"
    )
    listed = "fr+paris+abc\r\nfr+paris+d-e\r\nfr+nice+xyz\r\n\r\n"
    pathlib.Path(root, "vnames.txt").write_bytes(listed.encode())
    missing = luperson_missing.find(root, luperson.parts_of)
    assert missing.listed == ("fr+nice+xyz",)
    assert missing.lines() == ["missing videos of vnames.txt: fr+nice+xyz"]
