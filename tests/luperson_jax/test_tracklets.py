"""Tracklets against a twin that keeps every frame."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.table.records import Splits, empty_table, make_table
from luperson_jax import sharding
from luperson_jax.measure import streaming, tracklet_pooling
from luperson_jax.measure.evaluation import Evaluation, write_results
from luperson_jax.retrieval import protocols
from luperson_jax.run.reporter import Reporter
from luperson_jax.structs import TrainState
from tests.helpers import tiny
from tests.ranking_twin import written_out


@dataclasses.dataclass(frozen=True)
class Colors:
    """A network that sees the mean color of each corner of a picture."""

    def embed(self, params, extra, batch):
        images = batch.images.astype(jnp.float32) * params["scale"]
        height, width = (size // 2 for size in images.shape[1:3])
        rows = (images[:, :height], images[:, height:])
        corners = [part for row in rows for part in (row[:, :, :width], row[:, :, width:])]
        return jnp.concatenate([jnp.mean(one, axis=(1, 2)) for one in corners], axis=1)


STATE = TrainState(jnp.int32(7), {"scale": jnp.float32(1.0)}, {}, {}, None)


def recipe_of(mars, **changes):
    return tiny("identify", "/x", eval__dataset="mars", eval__root=str(mars), **changes)


def features_by_hand(splits, recipe, how):
    """(features, pid, camera) of the tracklets of query and gallery, from all frames at once."""
    sides = []
    for table in (splits.query, splits.gallery):
        frames = streaming.embed_table(Colors(), STATE, table, recipe, sharding.make_mesh())
        found = {}
        for row, track in enumerate(table.track.tolist()):
            found.setdefault(track, []).append(row)
        pool = {"mean": np.mean, "max": np.max}[how]
        features = [pool(frames.features[rows], axis=0) for rows in found.values()]
        first = [rows[0] for rows in found.values()]
        sides.append((np.array(features), table.pid[first], table.camera[first]))
    return sides


@pytest.mark.parametrize("how", ["mean", "max"])
def test_an_evaluation_ranks_tracklets_as_the_twin_pools_them(how, mars, tmp_path):
    changes = {} if how == "mean" else {"eval__pool": how}
    recipe = recipe_of(mars, **changes)
    splits = datasets.load("mars", str(mars), "data.root", 0)
    evaluation = Evaluation.build(recipe, Colors(), sharding.make_mesh())
    measured = evaluation.measure(STATE)
    query, gallery = features_by_hand(splits, recipe, how)
    for found, expected in ((measured.query, query), (measured.gallery, gallery)):
        assert len(found.pid) == len(expected[1]) < len(splits.gallery)
        np.testing.assert_allclose(found.features, expected[0], rtol=1e-5)
        np.testing.assert_array_equal(found.pid, expected[1])
        np.testing.assert_array_equal(found.camera, expected[2])
    unit = [one[0] / np.linalg.norm(one[0], axis=1, keepdims=True) for one in (query, gallery)]
    twin = written_out(1 - unit[0] @ unit[1].T, *query[1:], *gallery[1:])
    assert measured.ranking.mAP == pytest.approx(twin.mAP, abs=1e-6)
    result = protocols.evaluate(measured.query, measured.gallery, protocols.PROTOCOLS["mars"])
    assert result.mAP == pytest.approx(twin.mAP_trapezoid, abs=1e-6)
    reporter = Reporter(tmp_path, 1, 1)
    title = evaluation._title(measured)
    reporter.close()
    assert f"{len(query[1])} query and {len(gallery[1])} gallery tracklets by the {how}" in title
    write_results(tmp_path / "results.json", measured)
    assert json.loads((tmp_path / "results.json").read_text())["pool"] == how


def test_single_frames_are_ranked_where_that_is_asked_for(mars):
    recipe = recipe_of(mars, eval__pool="none")
    evaluation = Evaluation.build(recipe, Colors(), sharding.make_mesh())
    measured = evaluation.measure(STATE)
    assert len(measured.query.pid) == len(evaluation.splits.query)
    assert "tracklets" not in evaluation._title(measured)
    for protocol in tracklet_pooling.PROTOCOLS:
        with pytest.raises(InputError, match=f"{protocol} ranks tracklets.*give --pool mean"):
            tracklet_pooling.check_protocol(protocol, "none", evaluation.splits)
        tracklet_pooling.check_protocol(protocol, "max", evaluation.splits)
    tracklet_pooling.check_protocol("market1501", "none", evaluation.splits)


def test_pictures_belong_to_no_tracklet(labelled_world):
    splits = datasets.load("market1501", str(labelled_world), "data.root", 0)
    assert tracklet_pooling.chosen("auto", splits) == "none"
    with pytest.raises(InputError, match="pictures of this data set belong to none"):
        tracklet_pooling.chosen("mean", splits)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_pooling_does_not_depend_on_the_batches_and_no_padding_enters(how):
    generator = np.random.default_rng(3)
    frames = generator.standard_normal((23, 4)).astype(np.float32)
    number = np.append(np.arange(6), generator.integers(0, 6, 17))
    pool = {"mean": np.mean, "max": np.max}[how]
    expected = [pool(frames[number == place].astype(np.float64), axis=0) for place in range(6)]
    padded = np.concatenate([frames, np.full((9, 4), 1e9, np.float32)])
    results = []
    for size in (1, 4, 23, 32):
        parts = [padded[start : start + size] for start in range(0, 23, size)]
        results.append(tracklet_pooling.pooled(iter(parts), number, how))
        for found, first in zip(results[-1], results[0], strict=True):
            np.testing.assert_array_equal(found, first)
    np.testing.assert_allclose(results[0].features, expected, rtol=1e-6)
    assert results[0].features.dtype == np.float32


def test_the_frames_of_a_maximum_are_those_that_gave_most_of_it():
    generator = np.random.default_rng(3)
    frames, number = generator.standard_normal((40, 64)), generator.permutation([0] * 38 + [1] * 2)
    found = tracklet_pooling.pooled([frames.astype(np.float32)], number, "max").frames
    inside = np.flatnonzero(number == 0)
    gave = np.bincount(inside[frames[inside].argmax(axis=0)], minlength=40)
    assert np.all(np.diff(found[0]) > 0)
    rest = np.delete(gave, found[0])
    assert gave[found[0]].min() >= rest.max() > 0
    np.testing.assert_array_equal(found[1], [*np.flatnonzero(number == 1), -1])


def test_the_frames_of_a_mean_are_spread_over_the_tracklet():
    number = np.array([0, 1, 0, 0, 1, 0, 0])
    found = tracklet_pooling.pooled([np.ones((7, 2), np.float32)], number, "mean").frames
    np.testing.assert_array_equal(found, [[0, 3, 6], [1, 4, -1]])


def test_a_picture_without_a_tracklet_is_one_of_its_own():
    rows = [(f"{i}.jpg", i % 2, 0, track) for i, track in enumerate((5, -1, 5, -1, 2, 5))]
    table = make_table(rows)
    whole, number = tracklet_pooling.table_of(table)
    assert len(whole) == 4
    for row, place in enumerate(number):
        same = table.track == table.track[row] if table.track[row] >= 0 else np.arange(6) == row
        np.testing.assert_array_equal(number == place, same)
        assert whole.media[place] == table.media[np.flatnonzero(same)[0]]
    assert len(tracklet_pooling.table_of(empty_table())[0]) == 0
    assert tracklet_pooling.chosen("auto", Splits(table, table, empty_table())) == "none"
