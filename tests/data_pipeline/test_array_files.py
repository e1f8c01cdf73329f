import io
import re
import tracemalloc
import zipfile

import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.read import array_files

ADVICE = "copy it again"


def header(descr="<f4", shape=(10**13,), version=(1, 0)) -> bytes:
    """The head of an array of NumPy, of any claims."""
    stream = io.BytesIO()
    write = np.lib.format.write_array_header_1_0
    if version == (2, 0):
        write = np.lib.format.write_array_header_2_0
    write(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def npz(path, compression=zipfile.ZIP_STORED, **members: bytes):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


ARRAYS = {
    "numbers": np.arange(12, dtype=np.float32).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(6, dtype=">i8").reshape(2, 3)),
    "words": np.array(["a", "ünïcode"]),
    "bytes": np.array([b"a", b"bc"]),
    "truth": np.array([True, False]),
    "scalar": np.array(3.5),
    "none": np.zeros((0, 4), np.int16),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_numpy_reads_them(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    found = array_files.read_npz(tmp_path / "a.npz", ADVICE)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable


def test_a_mapped_array_comes_back(tmp_path):
    np.save(tmp_path / "a.npy", ARRAYS["numbers"])
    np.testing.assert_array_equal(
        array_files.map_npy(tmp_path / "a.npy", ADVICE), ARRAYS["numbers"]
    )


CLAIMS = {
    "40 TB": (header(), "declares 40000000000000 bytes"),
    "40 TB in another version": (header(version=(2, 0)), "declares 40000000000000 bytes"),
    "more than a number holds": (header(shape=(1 << 62, 1 << 62)), "declares"),
    "less than there is": (header(shape=(0,)) + b"1234", "declares 0 bytes"),
    "strings of no letters": (header("<U0", (10**13,)), "its shape is"),
    "objects": (header("|O", (1,)) + b"12345678", "Python objects"),
    "a negative size": (header(shape=(-1,)), "its shape is"),
    "letters that do not exist": (header("<U1", (1,)) + b"\xff\xff\xff\x7f", "letters"),
    "words": (b"hello, this is text", "no array of NumPy"),
}


@pytest.mark.parametrize("case", CLAIMS)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_false_claims_are_refused_before_memory_is_taken(tmp_path, case, compression):
    data, words = CLAIMS[case]
    path = npz(tmp_path / "a.npz", compression, weight=data)
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"array 'weight' of .*a\.npz .*{words}.*{ADVICE}"):
        array_files.read_npz(path, ADVICE)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


@pytest.mark.parametrize("case", ["40 TB", "more than a number holds", "objects", "words"])
def test_false_claims_of_a_mapped_array_are_refused(tmp_path, case):
    data, words = CLAIMS[case]
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.npy .*{words}.*{ADVICE}"):
        array_files.map_npy(tmp_path / "a.npy", ADVICE)


def test_what_grows_out_of_proportion_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "FREE_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1 << 20))
    with pytest.raises(InputError, match=r"a\.npz has \d+ bytes and declares 8388\d+ unpacked"):
        array_files.read_npz(tmp_path / "a.npz", ADVICE)
    np.savez(tmp_path / "b.npz", a=np.zeros(1 << 10))
    array_files.read_npz(tmp_path / "b.npz", ADVICE)


def test_a_text_under_the_name_is_no_reason_to_trust_pickles(tmp_path):
    (tmp_path / "a.npz").write_text("pid,camera\n1,2\n")
    with pytest.raises(
        InputError, match=r"it is no zip, which an \.npz is: it begins with"
    ) as told:
        array_files.read_npz(tmp_path / "a.npz", ADVICE)
    assert not re.search("pickle|trust", str(told.value))


def test_an_array_that_is_missing_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(2))
    with (
        array_files.open_npz(tmp_path / "a.npz", ADVICE) as arrays,
        pytest.raises(InputError, match=r"array 'b' of .*no item named 'b\.npy'"),
    ):
        _ = arrays["b"]


def test_no_memory_is_a_message(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    np.savez(tmp_path / "a.npz", a=np.zeros(2))
    monkeypatch.setattr(np, "empty", fail)
    with pytest.raises(InputError, match=f"needs more memory than there is; {ADVICE}"):
        array_files.read_npz(tmp_path / "a.npz", ADVICE)
