"""Matlab's files: what they declare is believed only as far as they hold it."""

import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from data_pipeline.errors import InputError
from data_pipeline.read import matlab
from tests import fuzzing

CELLS = np.array([["a.png", np.eye(3)], [np.array([], np.uint8), "b"]], dtype=object)
CONTENT = {"ls_set": np.arange(60).reshape(10, 6), "half": np.array([0.5]), "cells": CELLS}
CLAIM = 1 << 30


def written(content, **options) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, content, **options)
    return stream.getvalue()


def claiming(data: bytes, shape: tuple[int, int]) -> bytes:
    """The file with `CLAIM` rows in place of those of the first array of this shape."""
    old, new = struct.pack("<ii", *shape), struct.pack("<ii", CLAIM, shape[1])
    assert old in data
    return data.replace(old, new, 1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.mat"


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}])
def test_whole_files_are_read_as_scipy_reads_them(path, options):
    content = {**CONTENT, "sparse": scipy.sparse.csc_matrix(np.eye(50))}
    if "format" in options:
        del content["cells"]
    path.write_bytes(written(content, **options))
    found = matlab.read(str(path))
    np.testing.assert_array_equal(found["ls_set"], CONTENT["ls_set"])
    np.testing.assert_array_equal(found["sparse"].toarray(), np.eye(50))
    if "cells" in content:
        assert found["cells"][0, 0].item() == "a.png"
        assert found["cells"].shape == (2, 2)


@pytest.mark.parametrize(
    ("content", "shape"),
    [
        (CONTENT, (10, 6)),
        ({"cells": CELLS}, (2, 2)),
        ({"cells": CELLS}, (3, 3)),
        ({"fields": {"a": np.ones((1, 7))}}, (1, 7)),
        ({"fields": np.zeros((2, 1), [("a", "f8"), ("b", "f8")])}, (2, 1)),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_shape_that_the_file_does_not_hold(path, content, shape, packed, monkeypatch):
    data = claiming(written(content), shape)
    if packed:
        unpacked = data[matlab.HEADER :]
        size = 8 + struct.unpack_from("<I", unpacked, 4)[0]
        small = zlib.compress(unpacked[:size])
        head = struct.pack("<II", matlab.COMPRESSED, len(small))
        data = data[: matlab.HEADER] + head + small + unpacked[size:]
    path.write_bytes(data)
    monkeypatch.setattr(scipy.io, "loadmat", lambda *_, **__: pytest.fail("memory was taken"))
    with pytest.raises(InputError, match=r"no readable Matlab file .* declares the shape"):
        matlab.read(str(path))


def test_a_compressed_variable_that_grows_out_of_proportion(path, monkeypatch):
    path.write_bytes(written({"zeros": np.zeros((1 << 16, 8))}, do_compression=True))
    matlab.read(str(path))
    monkeypatch.setattr(matlab, "FREE_BYTES", 1 << 10)
    monkeypatch.setattr("data_pipeline.read.array_files.FREE_BYTES", 1 << 10)
    with pytest.raises(InputError, match=r"more than the .* that a file of its size may hold"):
        matlab.read(str(path))


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}])
def test_damage_ends_in_values_or_in_a_message(path, options):
    data = written({"ls_set": CONTENT["ls_set"]}, **options)

    def read(damaged: bytes):
        path.write_bytes(damaged)
        return matlab.read(str(path))

    assert fuzzing.survivors(read, data, 200) < 200
