"""Cluster Contrast and CALR where whole tracklets are grouped, on drawn video."""

import numpy as np
import pytest

from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.table.frames import Tracklets
from luperson_jax import tasks
from luperson_jax.clustering import grouping
from luperson_jax.run import setup
from luperson_jax.tasks.pseudo_labels import Units
from tests import stand_in
from tests.helpers import final, run, tiny


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    stand_in.use(monkeypatch)


def recipe_of(root, name="cluster_contrast", **changes):
    known = {"units": "tracklets", "eps": 0.7, "k1": 4, "k2": 2, "min_samples": 2, "capacity": 32}
    changes = {**{f"task__{key}": value for key, value in known.items()}, **changes}
    changes = {"data__dataset": "mars", **changes}
    return tiny(name, root, train__steps_per_epoch=2, train__epochs=2, **changes)


@pytest.mark.parametrize("name", ["cluster_contrast", "calr"])
def test_all_frames_of_a_tracklet_are_in_its_cluster(mars, tmp_path, monkeypatch, name):
    seen = []
    group = grouping.group

    def watched(features, how):
        seen.append((features, group(features, how)))
        return seen[-1][1]

    monkeypatch.setattr(grouping, "group", watched)
    recipe = recipe_of(mars, name)
    train = setup.build(recipe, str(tmp_path), tasks.TASKS[name]).table
    run(recipe, tmp_path)
    tracklets = Tracklets.of(train)
    features, found = seen[1]  # of the second and last epoch
    assert features.shape[0] == len(tracklets) < len(train)
    labels = np.asarray(final(tmp_path)[1]["extra"]["labels"])
    for number in range(len(tracklets)):
        assert set(labels[tracklets.frames(number)]) == {found.labels[number]}
    assert found.labels.max() > 0


def test_a_tracklet_stands_at_the_mean_of_its_frames(mars):
    train = datasets.load("mars", str(mars)).train
    features = np.random.default_rng(0).normal(size=(len(train), 5)).astype(np.float32)
    units = Units.of(train, "tracklets")
    tracklets = Tracklets.of(train)
    for number, found in enumerate(units.pooled(features)):
        mean = features[tracklets.frames(number)].mean(axis=0)
        np.testing.assert_allclose(found, mean / np.linalg.norm(mean), rtol=1e-5, atol=1e-6)
    images = Units.of(train, "images")
    assert images.pooled(features) is features
    np.testing.assert_array_equal(images.spread(train.pid), train.pid)


def test_pictures_without_tracklets_and_local_stages_are_refused(labelled_world, mars, tmp_path):
    pictures = recipe_of(labelled_world, data__dataset="market1501")
    with pytest.raises(InputError, match="none of the 36 images belongs to a tracklet"):
        run(pictures, tmp_path / "pictures")
    with pytest.raises(InputError, match=r"task\.units=tracklets: local labels are of images"):
        run(recipe_of(mars, "calr_local"), tmp_path / "local")
