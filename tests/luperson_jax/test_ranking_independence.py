"""A report depends on the features alone: byte for byte, near-ties and all."""

import json
from concurrent import futures

import jax
import numpy as np
import pytest
import threadpoolctl

from luperson_jax import sharding
from luperson_jax.measure.figures import all_ranking_values
from luperson_jax.retrieval import (
    counting,
    device_counting,
    grid_gallery,
    grid_rows,
    inputs,
    match_ranks,
    near_scores,
    ranking,
)
from luperson_jax.retrieval.execution import Execution, TileShape
from luperson_jax.structs import EmbeddingSet
from tests.ranking_twin import assert_same_report, exactly_scored, written_out

DIMENSIONS = 64


def crowded(kinds, apart, seed=0):
    """Sets whose rows are a few kinds, and within a kind about `apart` from each other."""
    generator = np.random.default_rng(seed)
    centers = generator.standard_normal((kinds, DIMENSIONS)) + 1

    def embed(num):
        noise = apart * generator.standard_normal((num, DIMENSIONS))
        features = (centers[generator.integers(0, kinds, num)] + noise).astype(np.float32)
        pid, camera = generator.integers(0, 6, num), generator.integers(0, 3, num)
        return EmbeddingSet(features, pid, camera, ("",) * num)

    return embed(24), embed(240)


def as_json(report):
    return json.dumps(all_ranking_values(report))


def exactly_ranked(query, gallery, metric):
    scores = exactly_scored(query.features, gallery.features, metric)
    return written_out(scores, query.pid, query.camera, gallery.pid, gallery.camera)


@pytest.mark.parametrize("metric", inputs.METRICS)
@pytest.mark.parametrize("apart", [3e-7, 0.5])
def test_tilings_and_orders_of_the_gallery_give_the_same_bytes(metric, apart):
    query, gallery = crowded(3, apart)
    generator = np.random.default_rng(1)
    expected = exactly_ranked(query, gallery, metric)
    whole = ranking.rank(query, gallery, metric=metric)
    assert_same_report(whole, expected)
    for _ in range(25):  # a hundred in all four cases
        tile = TileShape(*(int(n) for n in generator.integers((3, 30), (30, 300))))
        shuffled = gallery.take(generator.permutation(len(gallery.pid)))
        report = ranking.rank(query, shuffled, metric=metric, execution=Execution(tile))
        assert as_json(report) == as_json(whole), tile


@pytest.mark.parametrize("apart", [3e-7, 0.5])
def test_any_number_of_threads_gives_the_same_bytes(apart, monkeypatch):
    query, gallery = crowded(3, apart)
    whole = ranking.rank(query, gallery)
    monkeypatch.setattr(match_ranks, "LEAST_QUERIES", 1)
    monkeypatch.setattr(match_ranks, "BLOCK_ELEMENTS", 7 * DIMENSIONS)
    for threads in (1, 2, 5, 16):
        monkeypatch.setattr(match_ranks, "_num_threads", lambda threads=threads: threads)
        assert as_json(ranking.rank(query, gallery)) == as_json(whole), threads


@pytest.mark.parametrize("most_near", [-1, 1], ids=["whole rows", "near scores"])
@pytest.mark.parametrize("kept", [0, 2**28], ids=["made again", "kept"])
@pytest.mark.parametrize("metric", inputs.METRICS)
@pytest.mark.parametrize("apart", [3e-7, 0.5])
def test_all_ways_to_count_give_the_same_bytes(apart, metric, kept, most_near, monkeypatch):
    query, gallery = crowded(3, apart)
    whole = ranking.rank(query, gallery, metric=metric)
    assert_same_report(whole, exactly_ranked(query, gallery, metric))
    monkeypatch.setattr(near_scores, "MOST_SHARE", most_near)
    monkeypatch.setattr(grid_gallery, "KEPT_BYTES", kept)
    for execution in (Execution(), Execution(TileShape(5, 7))):
        report = ranking.rank(query, gallery, metric=metric, execution=execution)
        assert as_json(report) == as_json(whole)


@pytest.mark.parametrize("dimensions", [2, 512])
def test_a_thread_holds_few_scores_whatever_the_dimensions(dimensions, monkeypatch):
    sizes, count = [], match_ranks._count

    def watched(counter, block, first, left, right):
        sizes.append((len(block) * len(right.rows), right.rows.size))
        return count(counter, block, first, left, right)

    monkeypatch.setattr(match_ranks, "_count", watched)
    monkeypatch.setattr(match_ranks, "_num_threads", lambda: 1)
    monkeypatch.setattr(match_ranks, "BLOCK_ELEMENTS", 2**14)
    generator = np.random.default_rng(0)

    def embed(num):
        features = generator.standard_normal((num, dimensions)).astype(np.float32)
        return EmbeddingSet(features, np.arange(num) % 8, np.full(num, num % 2), ("",) * num)

    ranking.rank(embed(100), embed(301))
    assert sum(scores for scores, _ in sizes) == 100 * 301
    assert max(map(max, sizes)) <= 2**14


def test_threads_of_a_library_are_given_back_also_after_rankings_side_by_side():
    def found():
        return [one["num_threads"] for one in threadpoolctl.threadpool_info()]

    query, gallery = crowded(3, 0.5)
    ranking.rank(query, gallery)
    before = found()
    with futures.ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: as_json(ranking.rank(query, gallery)), range(8)))
    assert len(set(reports)) == 1
    assert found() == before


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("metric", inputs.METRICS)
def test_any_number_of_devices_gives_the_same_bytes(metric, devices):
    query, gallery = crowded(3, 3e-7)
    whole = ranking.rank(query, gallery, metric=metric)
    mesh = sharding.make_mesh(jax.devices()[:devices])
    for tile in (TileShape(16, 32), TileShape(5, 7)):
        report = ranking.rank(query, gallery, metric=metric, execution=Execution(tile, mesh))
        assert as_json(report) == as_json(whole)


@pytest.mark.parametrize("metric", inputs.METRICS)
def test_float32_alone_would_order_these_otherwise(metric):
    query, gallery = crowded(3, 3e-7)
    left, right = (grid_rows.on_grid(one.features, metric) for one in (query, gallery))
    scores = right.offset.astype(np.float32) - right.weight * (left.rows @ right.rows.T)
    rounded = written_out(scores, query.pid, query.camera, gallery.pid, gallery.camera)
    exact = ranking.rank(query, gallery, metric=metric)
    assert (rounded.ap != exact.ap).mean() > 0.5


@pytest.mark.parametrize(("apart", "one_by_one"), [(3e-7, False), (0.5, True)])
def test_few_close_scores_are_settled_one_by_one_and_many_together(apart, one_by_one, monkeypatch):
    pairs, whole_blocks = [], []
    exact_pairs, add_known = match_ranks.exact_pairs, counting.Counter.add_known

    def watched(query, gallery, positions, columns):
        pairs.extend(zip(positions, columns, strict=True))
        return exact_pairs(query, gallery, positions, columns)

    def noted(counter, *block):
        whole_blocks.append(block)
        add_known(counter, *block)

    query, gallery = crowded(3, apart)
    monkeypatch.setattr(match_ranks, "exact_pairs", watched)
    monkeypatch.setattr(counting.Counter, "add_known", noted)
    report = ranking.rank(query, gallery)
    assert bool(whole_blocks) != one_by_one
    assert bool(pairs) == one_by_one
    assert_same_report(report, exactly_ranked(query, gallery, "cosine"))


@pytest.mark.parametrize(
    "mesh", [None, sharding.make_mesh(jax.devices()[:2])], ids=["host", "mesh"]
)
def test_an_error_beyond_the_bound_is_noticed(mesh, monkeypatch):
    query, gallery = crowded(3, 0.5)
    execution = Execution(mesh=mesh)
    whole = ranking.rank(query, gallery, execution=execution)
    monkeypatch.setattr(counting, "EXACT_SHARE", 1)
    for module in (match_ranks, device_counting):
        monkeypatch.setattr(module, "error_bound", lambda left, right: 1.0)
    assert as_json(ranking.rank(query, gallery, execution=execution)) == as_json(whole)


@pytest.mark.parametrize("metric", inputs.METRICS)
def test_the_bound_holds_and_rows_do_not_depend_on_their_neighbors(metric):
    generator = np.random.default_rng(3)
    for dimensions, mean in ((3, 0), (100, 0), (1000, 3), (2048, 0)):
        rows = (generator.standard_normal((40, dimensions)) + mean).astype(np.float32)
        rows *= 2.0 ** generator.integers(-20, 20, (40, 1))
        left, right = grid_rows.on_grid(rows[:10], metric), grid_rows.on_grid(rows[10:], metric)
        alone = [grid_rows.on_grid(rows[i : i + 1], metric) for i in range(10)]
        np.testing.assert_array_equal(np.concatenate([one.rows for one in alone]), left.rows)
        np.testing.assert_array_equal(np.concatenate([one.offset for one in alone]), left.offset)
        exact = grid_rows.exact_scores(left.wide(), right, slice(None))
        order = generator.permutation(dimensions)
        np.testing.assert_array_equal(
            exact[:, ::-1],
            grid_rows.exact_scores(
                left.wide()[:, order],
                right._replace(rows=right.rows[::-1, order], offset=right.offset[::-1]),
                slice(None),
            ),
        )
        scores = right.offset.astype(np.float32) - right.weight * (left.rows @ right.rows.T)
        worst = np.abs(scores - exact).max()
        assert 0 < worst < grid_rows.error_bound(left, right) / 2
