"""Runs of Cluster Contrast on a network that compiles at once."""

import dataclasses
import json
import sys

import jax
import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.table.records import table_of
from luperson_jax.clustering import grouping
from luperson_jax.run import loop, setup
from luperson_jax.structs import EmbeddingSet
from luperson_jax.tasks.cluster_contrast import ClusterContrast
from luperson_jax.workdir.metrics_file import METRICS_FILE
from tests import stand_in
from tests.helpers import assert_trees_equal, final, run, tiny
from tests.interruptions import Interruption, cut_short


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    stand_in.use(monkeypatch)


def recipe_of(root, **changes):
    known = {"eps": 0.7, "k1": 8, "min_samples": 2, "capacity": 16}
    changes = {**{f"task__{name}": value for name, value in known.items()}, **changes}
    train = {"steps_per_epoch": 2, "epochs": 3, "best": "clusters/silhouette"}
    changes = {**{f"train__{name}": value for name, value in train.items()}, **changes}
    return tiny("cluster_contrast", root, **changes)


def lines_of(workdir):
    return [json.loads(line) for line in (workdir / METRICS_FILE).read_text().splitlines()]


def test_cut_anywhere_a_run_ends_as_one_that_went_through(labelled_world, tmp_path, monkeypatch):
    recipe = recipe_of(labelled_world, train__checkpoint_every_steps=1)
    run(recipe, tmp_path / "whole")
    with cut_short(3):  # inside the second epoch
        run(recipe, tmp_path / "pieces")

    def cut(*given):  # inside the clustering of the third
        raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr(grouping, "group", cut)
        with pytest.raises(Interruption):
            run(recipe, tmp_path / "pieces")
    run(recipe, tmp_path / "pieces")
    whole, pieces = final(tmp_path / "whole"), final(tmp_path / "pieces")
    assert whole[0] == pieces[0] == 6
    assert_trees_equal(whole[1], pieces[1])
    assert lines_of(tmp_path / "whole")[-1] == lines_of(tmp_path / "pieces")[-1]


def test_the_step_compiles_once_whatever_the_number_of_clusters(
    labelled_world, tmp_path, monkeypatch
):
    made, numbers = [], []
    jitted = setup._jitted_step
    monkeypatch.setattr(setup, "_jitted_step", lambda one: made.append(jitted(one)) or made[-1])
    group = grouping.group

    def varied(features, how):
        found = group(features, dataclasses.replace(how, eps=(0.5, 0.6, 0.8)[len(numbers) % 3]))
        numbers.append(int(found.labels.max()) + 1)
        return found

    monkeypatch.setattr(grouping, "group", varied)
    run(recipe_of(labelled_world), tmp_path)
    assert len(set(numbers)) > 1
    assert [one._cache_size() for one in made] == [1]


def test_figures_of_the_clusters_are_logged_and_learned_from(labelled_world, tmp_path):
    run(recipe_of(labelled_world), tmp_path)
    lines = [line for line in lines_of(tmp_path) if "clusters/count" in line]
    assert [line["step"] for line in lines] == [0, 2, 4, 6]
    assert "clusters/stability" not in lines[0]
    names = ("outliers", "median_size", "camera_entropy", "silhouette", "stability", "purity")
    assert all(f"clusters/{name}" in lines[-1] for name in (*names, "v_measure", "ari"))
    extra = final(tmp_path)[1]["extra"]
    labels = np.asarray(extra["labels"])
    assert labels.max() + 1 == extra["num_clusters"] == lines[2]["clusters/count"]
    used = np.asarray(extra["memory"])[: labels.max() + 1]
    np.testing.assert_allclose(np.linalg.norm(used, axis=1), 1, atol=1e-5)
    assert not np.any(np.asarray(extra["memory"])[labels.max() + 1 :])


def test_batches_are_of_clusters_and_never_of_outliers(labelled_world, tmp_path):
    current = setup.build(recipe_of(labelled_world), str(tmp_path), ClusterContrast)
    labels = np.arange(len(current.table)) % 4 - 1
    table, sampler = current.task.plan({"labels": labels.astype(np.int32)}, current.table)
    rows = sampler(table, 0, 5)
    assert set(labels[rows].reshape(-1)) == {0, 1, 2}
    np.testing.assert_array_equal(table.camera, current.table.camera)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task__capacity": 2}, r"found \d+ clusters, .* rows for 2 \(task.capacity=2\)"),
        ({"task__min_samples": 30}, "no cluster among 36 images.*raise task.eps=0.7"),
        ({"task__eps": 0.99, "task__k1": 36}, "one cluster among 36 images.*lower task.eps"),
        ({"task__eps": 1.0}, r"task.eps=1.0 must be above 0 and below 1"),
        ({"task__k2": 9}, r"task.k2=9 must be from 1 to task.k1=8"),
        ({"task__min_samples": 0}, "task.min_samples=0"),
        ({"task__momentum": 1.5}, "task.momentum=1.5"),
        ({"task__capacity": -1}, "task.capacity=-1"),
        ({"task__num_clusters": 37}, "task.num_clusters=37 is more than the 36 training images"),
        ({"task__resolution": 0.0}, r"task.resolution=0.0"),
    ],
)
def test_mistakes_are_told(labelled_world, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        loop.run(recipe_of(labelled_world, **changes), str(tmp_path), ClusterContrast)


def test_infomap_that_is_missing_is_told_before_training(labelled_world, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "infomap", None)
    with pytest.raises(InputError, match="Infomap is not installed"):
        run(recipe_of(labelled_world, task__clustering="infomap"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_clustering_trains(labelled_world, tmp_path):
    changes = {"task__clustering": "kmeans", "task__num_clusters": 5, "train__epochs": 1}
    run(recipe_of(labelled_world, **changes), tmp_path)
    assert lines_of(tmp_path)[0]["clusters/count"] == 5


def test_clusters_that_fail_after_the_last_epoch_take_nothing_away(
    labelled_world, tmp_path, monkeypatch, capsys
):
    group, calls = grouping.group, []

    def fail_at_last(features, how):
        calls.append(1)
        return group(features, how if len(calls) < 4 else dataclasses.replace(how, min_samples=36))

    monkeypatch.setattr(grouping, "group", fail_at_last)
    run(recipe_of(labelled_world), tmp_path)
    assert final(tmp_path)[0] == 6
    assert "clusters/silhouette of the last epoch is not known" in capsys.readouterr().out


@pytest.mark.parametrize("cameras", [1, 2])
def test_one_camera_and_fewer_clusters_than_a_batch_asks_for(
    labelled_world, tmp_path, monkeypatch, cameras
):
    def two(features, how):
        found = real(features, how)
        return found._replace(labels=np.arange(len(features)) % 2)

    real = grouping.group
    monkeypatch.setattr(grouping, "group", two)
    recipe = recipe_of(labelled_world, train__epochs=1)
    if cameras == 1:
        load = setup.training_table.load

        def one_camera(data):
            table, fingerprint = load(data)
            return dataclasses.replace(table, camera=np.zeros_like(table.camera)), fingerprint

        monkeypatch.setattr(setup.training_table, "load", one_camera)
    run(recipe, tmp_path)
    assert final(tmp_path)[0] == 2


def test_the_order_of_files_changes_nothing_but_numbers(labelled_world, tmp_path):
    """Files of one person stand side by side in a folder; the rows of a table do not, and clusters
    are the same whatever their order is."""
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(12), 8)
    features = np.float32(rng.standard_normal((12, 16))[true] + 0.4 * rng.standard_normal((96, 16)))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    sides, found = [], []
    for names in ([f"{i:03d}.jpg" for i in range(96)], [f"{rng.random()}.jpg" for _ in range(96)]):
        table = table_of(names, np.arange(96), np.zeros(96, int), np.full(96, -1))
        order = table.pid  # which image stands where
        sides.append(np.mean(np.diff(true[order]) == 0))
        result = grouping.group(features[order], grouping.Grouping(k1=10, k2=3, min_samples=3))
        labels = np.empty(96, int)
        labels[order] = result.labels
        found.append(labels)
    assert max(sides) < 0.25  # one in eleven by chance, 88 of 95 in the order of the names
    one, other = found
    assert len(np.unique(one)) > 5
    pairs = np.unique(np.stack([one, other]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize("k", [(30, 6), (20, 6), (15, 4), (15, 1)])
def test_clusters_and_centers_of_the_authors(golden, k):
    stored = np.load(golden / "methods" / "jaccard_dbscan_centroids.npz")
    name = f"k{k[0]}_{k[1]}"
    features = stored["features"]
    for eps in (0.4, 0.5, 0.6, 0.7):
        if f"{name}/dbscan_{eps}" not in stored:
            continue
        how = grouping.Grouping(k1=k[0], k2=k[1], eps=eps)
        found = grouping.group(features, how)
        np.testing.assert_array_equal(found.labels, stored[f"{name}/dbscan_{eps}"])
    dense = grouping.jaccard_distance(features, k1=k[0], k2=k[1]).dense()
    if f"{name}/jaccard" in stored:
        np.testing.assert_allclose(dense, stored[f"{name}/jaccard"], rtol=0, atol=2e-6)
    else:
        np.testing.assert_allclose(dense[:8], stored[f"{name}/rows_0_7"], rtol=0, atol=2e-6)
        np.testing.assert_allclose(np.sum(dense, axis=1), stored[f"{name}/row_sum"], rtol=2e-6)
    if f"{name}/centroids_0.6" in stored:
        centers = stored[f"{name}/centroids_0.6"]
        labels = stored[f"{name}/dbscan_0.6"]
        found = grouping.centers(features, labels, len(centers) + 3)
        np.testing.assert_allclose(found[: len(centers)], centers, rtol=0, atol=1e-6)
        assert not np.any(found[len(centers) :])


def test_an_epoch_begins_with_clusters_of_the_embedded_images(labelled_world, tmp_path):
    current = setup.build(recipe_of(labelled_world), str(tmp_path), ClusterContrast)
    state, table = setup.initial_state(current), current.table
    rng = np.random.default_rng(0)
    features = np.eye(24, dtype=np.float32)[table.pid % 24]
    features = np.float32(features + 0.01 * rng.standard_normal(features.shape))
    embedded = EmbeddingSet(features, table.pid, table.camera, ("",) * len(table))
    extra, figures = current.task.start_epoch(state, table, 0, lambda *_: embedded)
    assert figures["clusters/purity"] == figures["clusters/v_measure"] == 1
    means = np.stack([features[extra["labels"] == c].mean(axis=0) for c in range(6)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(extra["memory"][:6], means, atol=1e-6)
    assert jax.tree.map(np.shape, extra) == jax.tree.map(np.shape, state.extra)
