"""Records of LMDB that declare more than the file has: LMDB itself would end the process."""

import struct

import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.read import lmdb_pages, lmdb_store

pytest.importorskip("lmdb")

NUMBER = 3000
BIG = 20_011


def sizes():
    """Small values lie in the nodes; those of more than half a page in pages of their own."""
    return np.random.default_rng(0).choice([7, 900, BIG], NUMBER, p=[0.5, 0.45, 0.05]).tolist()


def key(number: int) -> str:
    return f"{number * 7919 % NUMBER:05d}_{'x' * (number % 90)}"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lmdb") / "a"
    items = ((key(number), bytes([number % 256]) * size) for number, size in enumerate(sizes()))
    lmdb_store.write_lmdb(folder, items)
    return folder


def test_every_record_of_a_whole_file_is_found_and_read(environment, monkeypatch):
    checked = []
    monkeypatch.setattr(lmdb_pages.Pages, "_check_value", lambda _, *told: checked.append(told))
    one = lmdb_store.Environment(str(environment))
    for number, size in enumerate(sizes()):
        assert one.read(key(number)) == bytes([number % 256]) * size
        assert checked[number][1:] == (size, size > 2000)
    with pytest.raises(InputError, match="has no key"):
        one.read("none")
    assert len(checked) == NUMBER


@pytest.mark.parametrize("declared", [BIG * 1000, 0xFFFFFFF0])
def test_a_record_that_declares_more_than_the_file_has(environment, tmp_path, declared):
    data = (environment / lmdb_store.DATA_FILE).read_bytes()
    (tmp_path / lmdb_store.DATA_FILE).write_bytes(
        data.replace(struct.pack("<I", BIG), struct.pack("<I", declared))
    )
    one = lmdb_store.Environment(str(tmp_path))
    for number, size in enumerate(sizes()):
        if size == BIG:
            with pytest.raises(InputError, match=f"it declares {declared} bytes, more than"):
                one.read(key(number))
        else:
            assert len(one.read(key(number))) == size


def test_an_empty_environment_has_no_record(tmp_path):
    lmdb_store.write_lmdb(tmp_path / "a", [])
    with pytest.raises(InputError, match="has no key 'b'; it has 0 keys"):
        lmdb_store.Environment(str(tmp_path / "a")).read("b")


def test_a_tree_that_leads_out_of_the_file(environment, tmp_path):
    data = bytearray((environment / lmdb_store.DATA_FILE).read_bytes())
    for number in lmdb_pages.HEADS:
        struct.pack_into("<Q", data, number * 4096 + 128, 1 << 40)
    (tmp_path / "data.mdb").write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        lmdb_pages.Pages(str(tmp_path / "data.mdb")).check(b"00000_")
