"""An index goes to faiss and usearch and comes back; without them, what is said."""

import sys

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import cli
from luperson_jax.commands.options import index_export
from luperson_jax.serving import index_exchange
from luperson_jax.serving.camera_names import CameraNames
from luperson_jax.serving.gallery_index import Index
from luperson_jax.serving.index_columns import IndexColumns


def drawn(num=40, dimensions=8):
    numbers = np.random.default_rng(0)
    features = numbers.normal(size=(num, dimensions)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    columns = IndexColumns(
        numbers.permutation(num) + 5,
        np.array([f"{one}.jpg" for one in range(num)]),
        np.arange(num) % 3,
        np.full(num, "2026-11-29", "datetime64[us]"),
    )
    cameras = CameraNames({0: "hall", 1: "1", 2: "2"})
    return Index((features,), np.arange(num), columns, None, "digest", "bot.npz", cameras)


@pytest.mark.parametrize("library", index_exchange.LIBRARIES)
@pytest.mark.parametrize("approximate", [False, True])
def test_vectors_numbers_and_answers_come_back(library, approximate, tmp_path):
    module = index_exchange.LIBRARIES[library].module.partition(".")[0]
    pytest.importorskip(module, reason=f"{module} is not installed")
    index, folder = drawn(), tmp_path / "there"
    found = index_exchange.hand_over(index, folder, library, approximate=approximate)
    assert found.pictures == len(index)
    assert found.difference < 1e-5
    assert found.recall == 1 if library == "faiss" and not approximate else found.recall > 0.9
    again = index_exchange.take_over(folder, library)
    np.testing.assert_array_equal(again.features(), index.features())
    for one, other in zip(again.columns, index.columns, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (again.made_by, again.made_with) == ("digest", "bot.npz")
    assert again.cameras == index.cameras
    query = index.features()[:3]
    assert again.search(query, k=5) == index.search(query, k=5)
    index.save(tmp_path / "index")
    given = [str(tmp_path / "index"), str(tmp_path / "again"), "--to", library]
    assert cli.main(["index-export", *given]) == 0
    back = [str(tmp_path / "again"), str(tmp_path / "back"), "--from", library]
    assert cli.main(["index-import", *back]) == 0
    back = Index.open(tmp_path / "back")
    assert back.search(query, k=5) == index.search(query, k=5)
    assert (back.cameras, back.made_with) == (index.cameras, "bot.npz")


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no library is called 'annoy'"):
        index_exchange.hand_over(drawn(), tmp_path / "out", "annoy")
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r"pip install 'luperson_jax\[ann\]'"):
        index_exchange.hand_over(drawn(), tmp_path / "out", "faiss")
    assert not list(tmp_path.iterdir())


def test_a_library_that_gives_back_something_else_is_refused():
    index = drawn()
    ids, features = index.columns.id, index.features()
    order = np.random.default_rng(1).permutation(len(ids))
    index_exchange._check_vectors((ids[order], features[order]), ids, features)
    for wrong in ((ids[order], features), (ids + 1, features), (ids, features * 0.999)):
        with pytest.raises(InputError, match="does not give back"):
            index_exchange._check_vectors(wrong, ids, features)


def test_the_choices_are_those_of_the_program():
    assert tuple(index_exchange.LIBRARIES) == index_export.LIBRARIES
