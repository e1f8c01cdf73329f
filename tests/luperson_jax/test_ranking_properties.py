"""What holds for galleries of any size, duplicates and all."""

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luperson_jax import sharding
from luperson_jax.retrieval import device_counting, labels, ranking
from luperson_jax.retrieval.execution import Execution, TileShape
from luperson_jax.structs import EmbeddingSet
from tests.ranking_twin import assert_same_report, exactly_scored, written_out

DIM = 8
TILE = TileShape(8, 16)
MESHES = [sharding.make_mesh(jax.devices()[:size]) for size in (1, 2)]

few_examples = settings(
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def problems(draw):
    """Features, identities and cameras of both sides; most rows are there several times."""
    num_queries = draw(st.integers(1, 20))
    num_gallery = draw(st.integers(1, 70))
    num_kinds = draw(st.sampled_from([1, 3, 40]))
    num_cameras = draw(st.integers(2, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = generator.standard_normal((num_kinds, DIM))
    kinds[0] *= draw(st.sampled_from([0, 1]))
    dtype = draw(st.sampled_from([np.float16, np.float32]))

    def embed(num):
        features = kinds[generator.integers(0, num_kinds, num)].astype(dtype)
        pid = generator.integers(-1, 4, num)
        return EmbeddingSet(features, pid, generator.integers(0, num_cameras, num), ("",) * num)

    query, gallery = embed(num_queries), embed(num_gallery)
    # One match at least: the last query in the gallery, before another camera.
    query.pid[-1] = gallery.pid[-1] = 2
    query.camera[-1] = gallery.camera[-1] + 1
    return query, gallery


def columns(query, gallery):
    return query.pid, query.camera, gallery.pid, gallery.camera


def rank(query, gallery, mesh=None, **options):
    return ranking.rank(query, gallery, execution=Execution(TILE, mesh), **options)


@few_examples
@given(
    problems(),
    st.sampled_from(["cosine", "euclidean"]),
    st.sampled_from([None, *MESHES]),
    st.data(),
)
def test_the_report_is_that_of_a_sort_by_exact_scores(problem, metric, mesh, data):
    query, gallery = problem
    removal = data.draw(st.sampled_from(labels.REMOVALS))
    share = data.draw(st.sampled_from([0, 0.3]))
    junk = np.random.default_rng(0).random(len(gallery.pid)) < share
    junk[-1] = False
    scores = exactly_scored(query.features, gallery.features, metric)
    expected = written_out(scores, *columns(query, gallery), removal=removal, junk=junk)
    rule = labels.RemovalRule(removal, junk)
    assert_same_report(rank(query, gallery, mesh, metric=metric, rule=rule), expected)


@few_examples
@given(problem=problems(), data=st.data())
def test_several_galleries_are_one_and_may_be_files(problem, data, tmp_path):
    query, gallery = problem
    num = len(gallery.pid)
    cuts = sorted(data.draw(st.lists(st.integers(1, num), max_size=3)))
    parts = [part for part in np.split(gallery.features, cuts) if len(part)]
    path = tmp_path / "part.npy"
    np.save(path, parts[0])
    parts[0] = np.load(path, mmap_mode="r")
    assert isinstance(parts[0], np.memmap)
    ends = np.cumsum([len(part) for part in parts])
    pids, cameras = (np.split(one, ends[:-1]) for one in (gallery.pid, gallery.camera))
    divided = [
        EmbeddingSet(*columns, ("",) * len(columns[1]))
        for columns in zip(parts, pids, cameras, strict=True)
    ]
    assert_same_report(rank(query, divided), rank(query, gallery), 0)


@few_examples
@given(problems(), st.sampled_from(["cosine", "euclidean"]))
def test_devices_change_nothing(problem, metric):
    host, one, two = (rank(*problem, metric=metric, mesh=mesh) for mesh in (None, *MESHES))
    assert_same_report(one, host, 0)
    assert_same_report(two, host, 0)
    lists = [
        ranking.top_matches(*problem, k=5, metric=metric, execution=Execution(TILE, mesh))
        for mesh in (None, *MESHES)
    ]
    for name, column in lists[0]._asdict().items():
        for other in lists[1:]:
            np.testing.assert_array_equal(getattr(other, name), column, err_msg=name)


@few_examples
@given(problems())
def test_a_duplicate_of_another_person_ranks_before_the_row_it_copies(problem):
    query, gallery = problem
    num = len(gallery.pid)
    twice = EmbeddingSet(
        np.concatenate([gallery.features] * 2),
        np.concatenate([gallery.pid, np.full(num, 99)]),
        np.concatenate([gallery.camera] * 2),
        gallery.key * 2,
    )
    ranks = rank(query, gallery).first_rank
    found = rank(query, twice).first_rank
    assert (found[ranks > 0] > ranks[ranks > 0]).all()


@few_examples
@given(problems())
def test_both_ways_of_counting_agree(problem):
    loop = rank(*problem, mesh=MESHES[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_counting, "_at_once", lambda mesh: True)
        at_once = rank(*problem, mesh=MESHES[0])
    assert_same_report(at_once, loop, 0)
