import os
import pickle
import shutil

import numpy as np
import pytest

from data_pipeline import datasets
from data_pipeline.datasets import luperson
from data_pipeline.errors import InputError
from data_pipeline.read import lmdb_store, storage
from data_pipeline.synthetic import layouts
from data_pipeline.table import records

SMALL = {"identities": 6, "cameras": 4, "tracklets": 2, "frames": 3, "height": 32, "width": 16}
FORMS = {
    "luperson": ("luperson", "luperson_lmdb"),
    "luperson_nl": ("luperson_nl", "luperson_nl_lmdb"),
}

LUP_KEYS = [f"{place}_{i:08d}" for place in ("30_00_0292", "30_01_0000") for i in range(3)]
NL_KEYS = [
    "00001_000007_0000020_01",
    "00001_000007_0000040_03",
    "00001_000008_0000020_02",
    "00002_000007_0000020_00",
    "00002_000009_0000060_00",
]
NL_PIDS = [7, 7, 8, 7, 9]


@pytest.fixture(autouse=True)
def closed():
    pytest.importorskip("lmdb")
    yield
    storage.close()


def pack(root, keys, content=None, name="lmdb"):
    """An environment of small pictures, and a key list beside it."""
    lmdb_store.write_lmdb(root / name, [(key, key.encode()) for key in keys])
    if content is not None:
        (root / "keys.pkl").write_bytes(pickle.dumps(content))
    return str(root)


def facts(table):
    """Pid, camera and track by what comes after the last separator of the media."""
    ends = [media.replace("#", "/").rsplit("/", 1)[1] for media in table.media]
    columns = zip(table.pid.tolist(), table.camera.tolist(), table.track.tolist(), strict=True)
    return dict(zip(ends, columns, strict=True))


def make_files(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return str(root)


def groups(column):
    """Which rows go together, whatever the numbers."""
    return [np.flatnonzero(column == number).tolist() for number in dict.fromkeys(column.tolist())]


@pytest.mark.parametrize("word", FORMS)
def test_folders_and_lmdb_of_one_world_are_the_same_data(tmp_path, word):
    """The same pictures, byte by byte, and the same persons, videos and tracklets."""
    tables = []
    for form in FORMS[word]:
        counts = layouts.make(form, tmp_path / form, **SMALL)
        splits = datasets.load(word, str(tmp_path / form))
        assert len(splits.train) == counts["images"] == 6 * 2 * 3
        assert len(splits.query) == len(splits.gallery) == 0
        content = [storage.read(media) for media in splits.train.media]
        order = np.array(sorted(range(len(content)), key=content.__getitem__))
        tables.append((sorted(content), splits.train.take(order)))
    (folder_content, folder), (lmdb_content, packed) = tables
    assert folder_content == lmdb_content
    assert len(set(folder_content)) == len(folder)
    for name in ("pid", "camera", "track"):
        np.testing.assert_array_equal(getattr(folder, name), getattr(packed, name), err_msg=name)
    assert folder.num_cameras > 2
    assert folder.num_ids == (12 if word == "luperson_nl" else 0)
    assert all(media.startswith("lmdb:") for media in packed.media)


def test_the_folder_of_the_demo_is_luperson_nl(tmp_path):
    layouts.make("folder", tmp_path, **SMALL)
    table = datasets.load("luperson_nl", str(tmp_path)).train
    other = datasets.load("image_folder", str(tmp_path)).train
    assert table.media == other.media
    assert groups(table.track) == groups(other.track)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["list", "tuple", "dict", "bytes", "array", "none"])
def test_all_forms_of_the_key_list(tmp_path, form, protocol):
    content = {
        "list": LUP_KEYS,
        "tuple": tuple(LUP_KEYS),
        "dict": {"keys": LUP_KEYS},
        "bytes": [key.encode() for key in LUP_KEYS],
        "array": np.array(LUP_KEYS),
        "none": None,
    }[form]
    pack(tmp_path, LUP_KEYS)
    if content is not None:
        (tmp_path / "keys.pkl").write_bytes(pickle.dumps(content, protocol))
    found = facts(datasets.load("luperson", str(tmp_path)).train)
    assert found == {key: (-1, int(key.startswith("30_01")), -1) for key in LUP_KEYS}


def test_a_key_list_with_the_line_ends_of_another_system(tmp_path):
    pack(tmp_path, NL_KEYS)
    data = pickle.dumps({"keys": NL_KEYS, "pids": NL_PIDS}, 0)
    (tmp_path / "keys.pkl").write_bytes(data.replace(b"\n", b"\r\n"))
    table = datasets.load("luperson_nl", str(tmp_path)).train
    assert {key: pid for key, (pid, _, _) in facts(table).items()} == dict(
        zip(NL_KEYS, NL_PIDS, strict=True)
    )


def test_persons_videos_and_tracks_of_luperson_nl(tmp_path):
    root = pack(tmp_path, NL_KEYS, {"keys": NL_KEYS, "pids": [5, 5, 300, 5, -1]})
    found = facts(datasets.load("luperson_nl", root).train)
    assert [found[key][:2] for key in NL_KEYS] == [(5, 0), (5, 0), (300, 0), (5, 1), (-1, 1)]
    tracks = [found[key][2] for key in NL_KEYS]
    assert tracks[0] == tracks[1]
    assert len(set(tracks[1:])) == 4
    assert tracks[4] == -1
    unlabelled = facts(datasets.load("luperson", root).train)
    assert [unlabelled[key] for key in NL_KEYS] == [(-1, *found[key][1:]) for key in NL_KEYS]


def test_names_tell_the_persons_where_the_list_does_not(tmp_path):
    root = pack(tmp_path, NL_KEYS, NL_KEYS)
    found = facts(datasets.load("luperson_nl", root).train)
    assert [found[key][0] for key in NL_KEYS] == NL_PIDS


def test_vids_are_videos(tmp_path):
    keys = [f"k{i}" for i in range(4)]
    for vids in ([30, 4, 30, 5], ["b", "a", "b", "c"]):
        root = pack(tmp_path / str(vids[0]), keys, {"keys": keys, "vids": vids})
        found = facts(datasets.load("luperson", root).train)
        expected = sorted(set(vids))
        assert [found[key][1] for key in keys] == [expected.index(vid) for vid in vids]


def test_a_key_list_may_name_fewer_keys_than_there_are(tmp_path):
    root = pack(tmp_path, LUP_KEYS, LUP_KEYS[1:3])
    assert sorted(facts(datasets.load("luperson", root).train)) == LUP_KEYS[1:3]


def test_keys_in_a_foreign_form(tmp_path):
    """Other packers keep the suffix or the folders in the key; a video is told from either."""
    keys = ["30_00_0292_00000238.jpg", "fr/paris/v1/00000001_0002.jpg", "x", "img_0001"]
    found = facts(datasets.load("luperson", pack(tmp_path, keys)).train)
    assert {key: found[key.rsplit("/", 1)[-1]][1] for key in keys} == {
        keys[0]: 0,
        keys[1]: 1,
        "x": -1,
        "img_0001": -1,
    }


PLACES = {
    "": ("", "lmdb", ""),
    "the environment": ("lmdb", "lmdb", ""),
    "its file": ("lmdb/data.mdb", "lmdb", ""),
    "keys in it": ("", "lmdb", "lmdb"),
    "lup": ("", "lup/lmdb_300_30/lmdb", "lup/lmdb_300_30"),
    "inside lup": ("lup", "lup/lmdb_300_30/lmdb", "lup/lmdb_300_30"),
    "sub-name": ("", "lmdb_200_20/lmdb", "lmdb_200_20"),
    "another name": ("", "persons.lmdb", ""),
    "a folder of another name": ("persons.mdb", "persons.mdb", ""),
}


@pytest.mark.parametrize("place", PLACES)
def test_places_of_the_lmdb(tmp_path, place):
    root, environment, beside = PLACES[place]
    pack(tmp_path, NL_KEYS, name=environment)
    content = {"keys": NL_KEYS[:4], "pids": NL_PIDS[:4]}
    (tmp_path / beside / "keys.pkl").write_bytes(pickle.dumps(content))
    table = datasets.load("luperson_nl", str(tmp_path / root)).train
    assert len(table) == 4
    for media in table.media:
        assert storage.read(media) == media.rpartition("#")[2].encode()


def test_an_environment_in_one_file(tmp_path):
    pack(tmp_path, NL_KEYS, name="x")
    shutil.copy(tmp_path / "x" / "data.mdb", tmp_path / "all.lmdb")
    shutil.rmtree(tmp_path / "x")
    for root in (tmp_path, tmp_path / "all.lmdb"):
        table = datasets.load("luperson_nl", str(root)).train
        assert sorted(facts(table)) == NL_KEYS
        assert storage.read(table.media[0])


def test_several_environments_are_one_set(tmp_path):
    """Running numbers of videos begin anew in each; identities do not."""
    halves = {"a": NL_KEYS[:3], "b": [key.replace("00002_", "00001_") for key in NL_KEYS[3:]]}
    for name, keys in halves.items():
        pack(tmp_path, keys, name=f"{name}.lmdb")
        content = {"keys": keys, "pids": [int(key.split("_")[1]) for key in keys]}
        (tmp_path / f"{name}_keys.pkl").write_bytes(pickle.dumps(content))
    table = datasets.load("luperson_nl", str(tmp_path)).train
    found = facts(table)
    assert [found[key][:2] for key in halves["a"]] == [(7, 0), (7, 0), (8, 0)]
    assert [found[key][:2] for key in halves["b"]] == [(7, 1), (9, 1)]
    assert len(set(table.track.tolist())) == 4


def test_several_packings_are_for_the_user_to_choose(tmp_path):
    for name in ("lmdb_300_30", "lmdb_200_20"):
        pack(tmp_path / "lup" / name, NL_KEYS)
    with pytest.raises(InputError, match=r"2 packings; give one.*lmdb_200_20, .*lmdb_300_30"):
        datasets.load("luperson_nl", str(tmp_path))
    assert len(datasets.load("luperson_nl", str(tmp_path / "lup" / "lmdb_200_20")).train) == 5


def test_a_moved_set_keeps_its_fingerprint(tmp_path):
    pack(tmp_path / "one", LUP_KEYS)
    shutil.copytree(tmp_path / "one", tmp_path / "two" / "deep")
    one, two = (
        datasets.load("luperson", str(tmp_path / name)).train for name in ("one", "two/deep")
    )
    assert one.fingerprint() == two.fingerprint()
    np.testing.assert_array_equal(one.camera, two.camera)


def test_folders(tmp_path):
    root = make_files(
        tmp_path,
        "fr/paris/v1/00000120_0000.jpg",
        "fr/paris/v1/00000120_0001.jpg",
        "fr/paris/v2/00000120_0000.jpg",
        "fr/nice/v0/00000001_0000.JPG",
        "loose.jpg",
        "vnames.txt",
        "fr/paris/v1/._00000120_0000.jpg",
    )
    table = datasets.load("luperson", root).train
    camera = {
        os.path.relpath(media, root): number
        for media, number in zip(table.media, table.camera.tolist(), strict=True)
    }
    assert camera == {
        "fr/nice/v0/00000001_0000.JPG": 0,
        "fr/paris/v1/00000120_0000.jpg": 1,
        "fr/paris/v1/00000120_0001.jpg": 1,
        "fr/paris/v2/00000120_0000.jpg": 2,
        "loose.jpg": -1,
    }
    assert (table.pid == -1).all()
    assert (table.track == -1).all()


def test_folders_of_parts_with_names_that_are_keys(tmp_path):
    """The set as it is passed around: the name of the file counts, not that of the part."""
    root = make_files(
        tmp_path,
        "part001/30_00_0292_00000238.jpg",
        "part002/30_00_0292_00000239.jpg",
        "part002/30_00_0531_00000167.jpg",
    )
    found = facts(datasets.load("luperson", root).train)
    assert {name: camera for name, (_, camera, _) in found.items()} == {
        "30_00_0292_00000238.jpg": 0,
        "30_00_0292_00000239.jpg": 0,
        "30_00_0531_00000167.jpg": 1,
    }


def test_columns_against_a_slow_twin(tmp_path):
    rng = np.random.default_rng(0)
    keys = sorted(
        {f"{rng.integers(1, 9):05d}_{rng.integers(40):06d}_{i:07d}_00" for i in range(300)}
    )
    table = datasets.load("luperson_nl", pack(tmp_path, rng.permutation(keys).tolist())).train
    videos = sorted({key[:5] for key in keys})
    for media, pid, camera in zip(table.media, table.pid, table.camera, strict=True):
        key = media.rpartition("#")[2]
        assert (int(key[6:12]), videos[camera]) == (pid, key[:5])
    pairs = list(zip(table.camera.tolist(), table.pid.tolist(), strict=True))
    tracks = dict(zip(pairs, table.track.tolist(), strict=True))
    assert [tracks[pair] for pair in pairs] == table.track.tolist()
    assert sorted(tracks.values()) == list(range(len(set(pairs))))
    assert (
        table.fingerprint()
        == records.make_table(
            list(
                zip(
                    table.media,
                    table.pid.tolist(),
                    table.camera.tolist(),
                    table.track.tolist(),
                    strict=True,
                )
            )
        ).fingerprint()
    )


WRONG_LISTS = {
    "no keys": ({"pids": [1]}, r"keys\.pkl is a dict of pids; expected"),
    "empty": ([], "an empty one"),
    "numbers": ([1, 2], "something else"),
    "a string": ("30_00", "something else"),
    "nothing": (None, "something else"),
    "fewer pids": ({"keys": NL_KEYS, "pids": [1]}, "as many 'pids' as 'keys', 5"),
    "pids that are names": ({"keys": NL_KEYS, "pids": list("abcde")}, "whole numbers"),
    "broken pids": ({"keys": NL_KEYS, "pids": [1.5] * 5}, "whole number"),
    "uneven pids": ({"keys": NL_KEYS, "pids": [[1], [1, 2], 3, 4, 5]}, "as many 'pids'"),
    "pids of any size": ({"keys": NL_KEYS, "pids": [2**70] * 5}, "whole number"),
    "fewer vids": ({"keys": NL_KEYS, "vids": ["a"]}, "as many 'vids'.*or a string"),
    "broken vids": ({"keys": NL_KEYS, "vids": [1.5] * 5}, "as many 'vids'.*or a string"),
    "other keys": (["00009_000007_0000020_01"], "no key '00009_.*belong together"),
    "more keys": ([*NL_KEYS, "x"], "names 6 keys, but .* has 5"),
    "a mark in a key": (["a#b"], "'#'"),
    "twice": ([NL_KEYS[0], NL_KEYS[0]], "twice"),
}


@pytest.mark.parametrize("name", WRONG_LISTS)
def test_key_lists_that_do_not_fit(tmp_path, name):
    content, message = WRONG_LISTS[name]
    root = pack(tmp_path, NL_KEYS)
    (tmp_path / "keys.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=message):
        datasets.load("luperson_nl", root)


def test_a_key_list_that_would_run_something(tmp_path):
    root = pack(tmp_path, NL_KEYS)
    mark = tmp_path / "mark"
    (tmp_path / "keys.pkl").write_bytes(f"cos\nsystem\n(S'touch {mark}'\ntR.".encode())
    with pytest.raises(InputError, match=r"asks for os\.system"):
        datasets.load("luperson_nl", root)
    assert not mark.exists()


def test_luperson_nl_without_identities(tmp_path):
    root = pack(tmp_path / "packed", LUP_KEYS, LUP_KEYS)
    with pytest.raises(InputError, match=r"6 of 6 pictures .* no identity.*'pids'.*luperson$"):
        datasets.load("luperson_nl", root)
    root = make_files(tmp_path / "files", "a/b/c/000007_0000020_01.jpg", "a/b/c/00000020_0001.jpg")
    with pytest.raises(InputError, match="1 of 2 pictures"):
        datasets.load("luperson_nl", root)


def test_roots_that_hold_nothing(tmp_path):
    (tmp_path / "luperson").mkdir()
    with pytest.raises(InputError, match=r"does not exist.*has 'luperson'"):
        datasets.load("luperson", str(tmp_path / "lupersons"))
    with pytest.raises(InputError, match=r"neither pictures nor .*lmdb/data\.mdb and keys\.pkl"):
        datasets.load("luperson", str(tmp_path / "luperson"))
    file = tmp_path / "keys.pkl"
    file.touch()
    with pytest.raises(InputError, match="is a file"):
        datasets.load("luperson", str(file))
    lmdb_store.write_lmdb(tmp_path / "luperson" / "lmdb", [])
    with pytest.raises(InputError, match="no keys"):
        datasets.load("luperson", str(tmp_path / "luperson"))


@pytest.mark.parametrize("word", FORMS)
def test_names_tell_which_of_the_two_sets_it_is(tmp_path, word):
    for form in FORMS[word]:
        layouts.make(form, tmp_path / form, **SMALL)
        assert luperson.word_of(str(tmp_path / form)) == word
    (tmp_path / "empty").mkdir()
    assert luperson.word_of(str(tmp_path / "empty")) == "luperson"


def test_what_is_published():
    counts = {one.name: one.counts["train"] for one in luperson.DATASETS}
    assert counts["luperson"].images == 4_180_243
    assert counts["luperson"].cameras == 46_260
    assert counts["luperson_nl"].images == 10_683_716
    assert (counts["luperson_nl"].ids, counts["luperson_nl"].cameras) == (433_997, 21_697)
