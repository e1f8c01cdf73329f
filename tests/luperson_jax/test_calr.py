"""Both stages of CALR, from images of each camera to a network, on one that compiles at once."""

import json

import numpy as np
import pytest

from data_pipeline import datasets
from data_pipeline.errors import InputError
from luperson_jax import cli, config, tasks
from luperson_jax.clustering import local_labels
from luperson_jax.commands import local_labels as command
from luperson_jax.tasks.calr import Calr
from luperson_jax.tasks.calr_local import CalrLocal
from luperson_jax.workdir.metrics_file import METRICS_FILE
from tests import stand_in
from tests.helpers import assert_trees_equal, final, run, tiny
from tests.interruptions import cut_short

CLUSTERING = {"task__k1": 8, "task__k2": 2, "task__min_samples": 2, "task__eps": 0.7}


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    stand_in.use(monkeypatch)


@pytest.fixture
def labels_file(labelled_world, tmp_path):
    """Local labels of which every third contradicts the true identity."""
    table = datasets.load("market1501", str(labelled_world)).train
    labels = np.where(np.arange(len(table)) % 3, table.pid, 90 + np.arange(len(table)))
    local_labels.write(tmp_path / "labels.npz", table, labels)
    return str(tmp_path / "labels.npz")


def recipe_of(root, **changes):
    known = {**CLUSTERING, "task__capacity": 16, "task__pivot_similarity": -1.0}
    train = {"train__steps_per_epoch": 2, "train__epochs": 3}
    return tiny("calr", root, **{**known, **train, **changes})


def lines_of(workdir):
    return [json.loads(line) for line in (workdir / METRICS_FILE).read_text().splitlines()]


def test_cut_anywhere_a_run_ends_as_one_that_went_through(labelled_world, tmp_path, labels_file):
    """Also inside the epoch in which the loss of the cameras ends and weights begin."""
    switches = {"task__camera_epochs": 1, "task__weights_from_epoch": 1}
    often = {"train__checkpoint_every_steps": 1, "train__log_every_steps": 1}
    recipe = recipe_of(labelled_world, task__local_labels=labels_file, **often, **switches)
    run(recipe, tmp_path / "whole")
    for steps in (1, 2, 2):
        with cut_short(steps):
            run(recipe, tmp_path / "pieces")
    run(recipe, tmp_path / "pieces")
    whole, pieces = final(tmp_path / "whole"), final(tmp_path / "pieces")
    assert whole[0] == pieces[0] == 6
    assert_trees_equal(whole[1], pieces[1])
    lines = lines_of(tmp_path / "whole")
    assert max(line.get("clusters/refined", 0) for line in lines) > 0
    assert [line["train/camera"] > 0 for line in lines if "train/loss" in line] == [True] * 6
    weights = np.asarray(whole[1]["extra"]["weights"])
    assert weights.min() >= 0.1
    assert (weights[: whole[1]["extra"]["num_clusters"]] != 1).all()


def test_without_its_parts_it_is_cluster_contrast(labelled_world, tmp_path):
    off = {"task__camera_epochs": 0, "task__weights_from_epoch": -1}
    run(recipe_of(labelled_world, **off), tmp_path / "calr")
    options = {**CLUSTERING, "task__capacity": 16}
    train = {"train__steps_per_epoch": 2, "train__epochs": 3}
    run(tiny("cluster_contrast", labelled_world, **options, **train), tmp_path / "plain")
    ours, plain = (final(tmp_path / name)[1] for name in ("calr", "plain"))
    # The keys of the start are split once more, so only what starts alike can be compared.
    assert ours["params"].keys() == plain["params"].keys()
    assert ours["extra"].keys() == {*plain["extra"], "weights", "local"}
    assert (np.asarray(ours["extra"]["weights"]) == 1).all()


def test_a_workdir_is_evaluated_without_the_camera_head(labelled_world, tmp_path):
    recipe = recipe_of(labelled_world, eval__dataset="market1501", eval__root=str(labelled_world))
    report = run(recipe, tmp_path / "run")
    assert report.num_valid_queries > 0
    assert "camera_head" in final(tmp_path / "run")[1]["params"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task__least_weight": -1.0}, "task.least_weight=-1.0"),
        ({"task__camera_epochs": -1}, "task.camera_epochs=-1"),
        ({"task__pivot_similarity": 2.0}, "must be a cosine"),
        ({"data__camera": 1}, "two cameras or more.* has 1"),
        ({"task__local_labels": "none.npz"}, "none.npz"),
    ],
)
def test_mistakes_are_told(labelled_world, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(recipe_of(labelled_world, **changes), tmp_path)


def test_labels_of_another_data_set_are_refused(labelled_world, tmp_path, labels_file):
    test = datasets.load("market1501", str(labelled_world)).gallery
    local_labels.write(tmp_path / "other.npz", test, test.pid)
    changes = {"task__local_labels": str(tmp_path / "other.npz")}
    with pytest.raises(InputError, match="has no label of 36 of 36 training images"):
        run(recipe_of(labelled_world, **changes), tmp_path / "run")


@pytest.fixture
def small_config(monkeypatch, labelled_world):
    """The command's configuration is that of a tiny run."""
    groups = config.to_dict(tiny("calr", labelled_world))
    groups["task"] = {"name": "calr_local", "k1": 8, "k2": 2, "images_per_cluster": 5}
    groups["train"] |= {"steps_per_epoch": 2, "epochs": 2}

    def read(path, changes, options):
        settings = groups
        for change in changes:
            settings = config.override(settings, change, options)
        return settings

    monkeypatch.setattr(command.config, "read", read)


def test_every_camera_gets_labels_of_its_best_epoch(labelled_world, tmp_path, small_config, capsys):
    given = ["local-labels", "--config", "any", "--root", str(tmp_path / "local")]
    with cut_short(3):  # inside the run of the first camera
        cli.main(given)
    assert cli.main(given) == 0
    assert "purity" in capsys.readouterr().out
    table = datasets.load("market1501", str(labelled_world)).train
    path = tmp_path / "local" / "local_labels.npz"
    labels = local_labels.read(path, table)
    for camera in (0, 1):
        mine = labels[table.camera == camera]
        assert set(mine) == set(range(len(mine) // 5))
        _, tree = final(tmp_path / "local" / f"camera{camera}")
        np.testing.assert_array_equal(mine, tree["extra"]["best_labels"])
        lines = lines_of(tmp_path / "local" / f"camera{camera}")
        values = [one["clusters/silhouette"] for one in lines if "clusters/silhouette" in one]
        assert tree["extra"]["best_silhouette"] == np.float32(max(values[:2]))
    before = path.read_bytes()
    assert cli.main(given) == 0  # all are done
    assert path.read_bytes() == before
    run(recipe_of(labelled_world, task__local_labels=str(path)), tmp_path / "run")


def test_few_images_of_a_camera_get_no_labels(labelled_world, tmp_path, small_config, capsys):
    given = ["local-labels", "--config", "any", "--root", str(tmp_path)]
    assert cli.main([*given, "task.images_per_cluster=12"]) == 0
    assert capsys.readouterr().out.count("18 images, fewer than 24: they get no local labels") == 2
    table = datasets.load("market1501", str(labelled_world)).train
    assert (local_labels.read(tmp_path / "local_labels.npz", table) == -1).all()


def test_the_command_wants_its_own_configuration(tmp_path, small_config, capsys):
    given = ["local-labels", "--config", "any", "--root", str(tmp_path)]
    assert cli.main([*given, "data.camera=1"]) == 2
    assert "all cameras are done in turn" in capsys.readouterr().err


def test_the_number_of_clusters_may_follow_the_images(labelled_world):
    rng = np.random.default_rng(0)
    centers = np.eye(16, dtype=np.float32)
    features = np.repeat(centers, 6, 0) + 0.05 * rng.standard_normal((96, 16)).astype(np.float32)
    numbers = {}
    for adaptive in (False, True):
        groups = config.to_dict(tiny("calr", labelled_world))
        options = {"k1": 6, "k2": 2, "images_per_cluster": 12, "adaptive": adaptive}
        groups["task"] = {"name": "calr_local", **options}
        task = CalrLocal.build(config.resolve(groups, tasks.OPTIONS))
        numbers[adaptive] = task.grouped(features).labels.max() + 1
    assert numbers == {False: 8, True: 16}


def test_both_are_known_by_name():
    assert tasks.TASKS["calr"] is Calr
    assert tasks.TASKS["calr_local"] is CalrLocal
