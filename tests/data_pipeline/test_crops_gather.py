"""LMDB and keys.pkl from folders of crops, and the statistics of their pixels."""

import io
import json
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from data_pipeline.crops import gather, statistics
from data_pipeline.datasets import luperson
from data_pipeline.errors import InputError
from data_pipeline.read import lmdb_store, storage
from luperson_jax import cli

ROOT = pathlib.Path(__file__).resolve().parents[2]


def make_jpeg(seed, size=(12, 6)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def fill(root, names):
    """A JPEG file under each name; every one another."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_jpeg(seed))
    return root


def stored(folder):
    """Keys and values of an LMDB environment."""
    lmdb = pytest.importorskip("lmdb", reason="the extra [lmdb] is not installed")
    with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin() as t:
        return {key.decode(): value for key, value in t.cursor()}


@pytest.fixture
def lmdb():
    return pytest.importorskip("lmdb", reason="the extra [lmdb] is not installed")


LUPERSON = {  # of the file: key
    "images/chad/ndjamena/b1/00000007_0000.jpg": "00_00_0000_00000000",
    "images/chad/ndjamena/b1/00000007_0011.jpg": "00_00_0000_00000001",
    "images/chad/ndjamena/b2/00000001_0000.jpg": "00_00_0001_00000000",
    "images/fiji/nadi/a1/00000003_0000.jpg": "01_00_0000_00000000",
    "images/fiji/suva/c1/00000003_0000.jpg": "01_01_0001_00000000",
}
LUPERSON_NL = {
    "images/chad/ndjamena/b1/000070_0000007_00.jpg": ("00001_000070_0000007_00", 2),
    "images/chad/ndjamena/b1/001234_0000007_01.jpg": ("00001_001234_0000007_01", 3),
    "images/chad/ndjamena/b2/000009_0000000_00.jpg": ("00002_000009_0000000_00", 1),
    "images/fiji/suva/c1/000004_0000000_00.jpg": ("00003_000004_0000000_00", 0),
    "images/fiji/suva/c1/000004_0000020_00.jpg": ("00003_000004_0000020_00", 0),
}


@pytest.mark.usefixtures("lmdb")
def test_luperson_is_packed_under_its_keys(tmp_path):
    fill(tmp_path, [*LUPERSON, "images/fiji/suva/b1/00000001_0000.jpg"])
    fill(tmp_path, ["videos/a.jpg", "images/fiji/.suva/x/a.jpg", "images/fiji/suva/.c9.part/a.jpg"])
    # suva/b1 has the id of chad's b1: left out, but counted, as in LUPerson's script.
    packed = gather.gather(str(tmp_path), str(tmp_path / "packed"), "luperson")
    assert packed == gather.Packed(5, 4, 0, ("fiji/suva/b1",))
    values = stored(tmp_path / "packed/lmdb")
    assert values == {key: (tmp_path / name).read_bytes() for name, key in LUPERSON.items()}
    keys = pickle.loads((tmp_path / "packed/keys.pkl").read_bytes())
    assert keys == {"keys": list(LUPERSON.values())}


@pytest.mark.usefixtures("lmdb")
def test_luperson_nl_is_packed_with_contiguous_identities(tmp_path):
    fill(tmp_path, LUPERSON_NL)
    packed = gather.gather(str(tmp_path / "images"), str(tmp_path / "packed"), "luperson_nl")
    assert packed == gather.Packed(5, 3, 4, ())
    values = stored(tmp_path / "packed/lmdb")
    assert values == {key: (tmp_path / n).read_bytes() for n, (key, _) in LUPERSON_NL.items()}
    index = pickle.loads((tmp_path / "packed/keys.pkl").read_bytes())
    keys, pids = map(list, zip(*LUPERSON_NL.values(), strict=True))
    assert index == {"keys": keys, "pids": pids}


@pytest.mark.usefixtures("lmdb")
@pytest.mark.parametrize(("persons", "pids"), [("global", [0, 1, 0]), ("per_video", [0, 1, 2])])
def test_a_pid_of_several_videos_is_for_the_user_to_explain(tmp_path, persons, pids):
    names = [f"a/b/{name}_0000000_00.jpg" for name in ("v1/000003", "v1/000008", "v2/000003")]
    fill(tmp_path / "images", names)
    folders = (str(tmp_path / "images"), str(tmp_path / "packed"), "luperson_nl")
    with pytest.raises(InputError, match="1 pids stand in more than one video, for example 3"):
        gather.gather(*folders)
    assert not (tmp_path / "packed").exists()
    gather.gather(*folders, persons)
    assert pickle.loads((tmp_path / "packed/keys.pkl").read_bytes())["pids"] == pids


@pytest.mark.usefixtures("lmdb")
def test_a_packing_that_was_cut_off_is_taken_up_and_nothing_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_store, "WRITE_IMAGES", 2)
    fill(tmp_path, LUPERSON_NL)
    damaged = tmp_path / list(LUPERSON_NL)[3]
    whole = damaged.read_bytes()
    damaged.write_bytes(b"")
    folders = (str(tmp_path), str(tmp_path / "packed"), "luperson_nl")
    with pytest.raises(InputError, match=r"000004_0000000_00.jpg is no JPEG file \(0 bytes\)"):
        gather.gather(*folders)
    assert os.listdir(tmp_path / "packed") == ["lmdb.part"]
    assert len(stored(tmp_path / "packed/lmdb.part")) == 2
    first = tmp_path / next(iter(LUPERSON_NL))
    first.rename(tmp_path / "first.jpg")
    damaged.write_bytes(whole)
    with pytest.raises(InputError, match=r"has 5 pictures, and .* has 4: the crops have changed"):
        gather.gather(*folders)
    (tmp_path / "first.jpg").rename(first)
    gather.gather(*folders)
    values = stored(tmp_path / "packed/lmdb")
    assert values == {key: (tmp_path / n).read_bytes() for n, (key, _) in LUPERSON_NL.items()}
    with pytest.raises(InputError, match="lmdb is there already"):
        gather.gather(*folders)


@pytest.mark.usefixtures("lmdb")
@pytest.mark.parametrize("source", ["luperson", "luperson_nl"])
def test_the_packed_set_reads_like_the_folder(tmp_path, source):
    load, names = {
        "luperson": (luperson.load, LUPERSON),
        "luperson_nl": (luperson.load_nl, LUPERSON_NL),
    }[source]
    fill(tmp_path, names)
    gather.gather(str(tmp_path), str(tmp_path / "packed"), source)
    folder = load(str(tmp_path / "images")).train
    packed = load(str(tmp_path / "packed")).train
    assert len(packed) == len(folder) == 5
    assert (packed.num_ids, packed.num_cameras) == (folder.num_ids, folder.num_cameras)
    rows = [
        sorted(zip(map(storage.read, t.media), t.relabelled().pid, t.camera, strict=True))
        for t in (folder, packed)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("names", "source", "message"),
    [
        (["a/b/00000001_0000.jpg"], "luperson", "a/b holds pictures .* a folder for each video"),
        (["a/b.jpg"], "luperson", "has no crops; expected <country>/<city>/<id>"),
        (["a/b/c/x_0000000_00.jpg"], "luperson_nl", "begin with an identity .* luperson"),
        (["a/b/c/1_0_0.jpg"], "lup_nl", "did you mean 'luperson_nl'"),
    ],
)
def test_what_is_no_folder_of_crops_is_an_error(tmp_path, names, source, message):
    fill(tmp_path / "crops", names)
    with pytest.raises(InputError, match=message):
        gather.gather(str(tmp_path / "crops"), str(tmp_path / "packed"), source)


@pytest.fixture
def pictures(tmp_path):
    """Pictures of several sizes and kinds."""
    rng = np.random.default_rng(0)
    paths = []
    for i, size in enumerate([(5, 9), (12, 6), (3, 3), (20, 1), (8, 8)]):
        pixels = rng.integers(i * 20, 256, (*size, 3), dtype=np.uint8)
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(pixels if i else pixels[..., 0]).save(paths[-1])
    return paths


def slow_statistics(paths):
    pixels = [np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3) / 255 for path in paths]
    joined = np.concatenate(pixels)
    return joined.mean(axis=0), joined.std(axis=0), len(joined)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_statistics_are_those_of_all_pixels(pictures, num_workers, monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK", 2)
    told = []
    found = statistics.pixel_statistics(
        pictures, num_workers=num_workers, on_progress=lambda *numbers: told.append(numbers)
    )
    mean, std, number = slow_statistics(pictures)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-14)
    np.testing.assert_allclose(found.std, std, rtol=1e-14)
    assert (found.images, found.pixels, found.skipped) == (5, number, ())
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_statistics_do_not_lose_digits_over_many_pixels():
    """One dark value among very many: float32 sums would end at a standard deviation of zero."""
    counts = [0] * 256
    counts[200], counts[0] = 10**13, 1
    mean, std = statistics._moments(counts)
    assert mean == pytest.approx(200 / 255, rel=1e-12)
    assert std == pytest.approx(200 / 255 / np.sqrt(1e13), rel=1e-9)


def test_statistics_of_pictures_of_one_size(pictures):
    found = statistics.pixel_statistics(pictures, size=(4, 2))
    sized = [
        np.asarray(Image.open(path).convert("RGB").resize((2, 4), Image.Resampling.BICUBIC)) / 255
        for path in pictures
    ]
    np.testing.assert_allclose(found.mean, np.mean(sized, axis=(0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(found.std, np.std(sized, axis=(0, 1, 2)), rtol=1e-14)


def test_pictures_that_cannot_be_read_stop_or_are_listed(pictures, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    given = [*pictures, str(tmp_path / "broken.jpg"), str(tmp_path / "none.jpg")]
    with pytest.raises(InputError, match=r"broken\.jpg"):
        statistics.pixel_statistics(given)
    found = statistics.pixel_statistics(given, skip_unreadable=True)
    np.testing.assert_allclose(found.mean, slow_statistics(pictures)[0], rtol=1e-14)
    assert found.images == 5
    assert [name in text for name, text in zip(("broken", "none"), found.skipped, strict=True)]
    with pytest.raises(InputError, match="none of the 1 pictures"):
        statistics.pixel_statistics(given[5:6], skip_unreadable=True)


@pytest.fixture
def command(capsys):
    """`luperson data ...`: its status and what it wrote on both outputs."""

    def run(*arguments):
        status = cli.main(["data", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_statistics_of_a_data_set_by_its_name(pictures, tmp_path, command):
    options = ("--dataset", "image_folder", "--root", tmp_path, "--workers", 2)
    status, out, err = command("statistics", *options, "--json", tmp_path / "found.json")
    assert status == 0, err
    mean, std, number = slow_statistics(pictures)
    assert f"5 pictures, {number} pixels" in out
    assert "mean " + " ".join(f"{value:.4f}" for value in mean) in out
    assert "std  " + " ".join(f"{value:.4f}" for value in std) in out
    np.testing.assert_allclose(json.loads((tmp_path / "found.json").read_text())["mean"], mean)
    for part, message in (("query", "has no query; it has train"), ("train", "--root is")):
        root = tmp_path if part == "query" else ","
        status, out, err = command(
            "statistics", "--dataset", "image_folder", "--root", root, "--part", part
        )
        assert status == 2
        assert err.startswith("luperson: ")
        assert message in err


def test_archives_are_unpacked_by_command(tmp_path, command):
    with zipfile.ZipFile(tmp_path / "parts.zip", "w") as archive:
        archive.writestr("city/a.jpg", b"picture")
    for words in ("1 files written, 0 were there", "0 files written, 1 were there"):
        status, out, err = command("unpack", tmp_path / "parts.zip", tmp_path / "out")
        assert status == 0, err
        assert words in out
    assert (tmp_path / "out" / "city" / "a.jpg").read_bytes() == b"picture"
    status, out, err = command("unpack", tmp_path / "none.zip", tmp_path / "out")
    assert (status, err.startswith("luperson: ")) == (2, True)
