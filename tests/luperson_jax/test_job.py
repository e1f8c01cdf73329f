"""What the processes of a job have to agree on before they train together."""

import dataclasses

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import sharding, tasks, trees
from luperson_jax.measure import evaluation
from luperson_jax.run import setup, training_table
from luperson_jax.workdir import recipe_file
from tests.helpers import tiny


@pytest.fixture
def job(monkeypatch):
    """Runs a check as another process of the job would, and then as this one."""

    def both(theirs, ours):
        sent = []

        def gather(mine):
            sent.append(mine)
            return mine[None]

        def gather_with_theirs(mine):
            return np.stack([mine, sent.pop(0)])

        monkeypatch.setattr(sharding.multihost_utils, "process_allgather", gather)
        theirs()
        monkeypatch.setattr(sharding.multihost_utils, "process_allgather", gather_with_theirs)
        ours()
        assert not sent, "one process waits for a comparison that the other does not make"

    return both


@pytest.mark.parametrize(
    "other",
    ["0123456789ab/cd", "0123456789ac/ab", "1123456789ab/ab", "0123456789ab"],
)
def test_every_digit_of_the_set_and_of_its_part_counts(other, job):
    def check(fingerprint):
        return lambda: sharding.check_alike({"the training images": fingerprint, "more": "1"})

    job(check("0123456789ab/ab"), check("0123456789ab/ab"))
    with pytest.raises(InputError, match="differs from others in the training images;"):
        job(check(other), check("0123456789ab/ab"))


def build(recipe, folder):
    return lambda: setup.build(recipe, str(folder), tasks.TASKS[recipe.task.name])


def test_processes_on_different_parts_of_one_set_are_told(job, tmp_path, labelled_world):
    half = {"data__subset": "images", "data__ratio": 0.67}
    one, other = (tiny("identify", labelled_world, **half, data__subset_seed=s) for s in (0, 1))
    job(build(one, tmp_path), build(one, tmp_path))
    with pytest.raises(InputError, match="the settings of the group data"):
        job(build(other, tmp_path), build(one, tmp_path))

    def load(recipe):
        return lambda: training_table.load(recipe.data)

    with pytest.raises(InputError, match="differs from others in the training images;"):
        job(load(other), load(one))


def test_processes_with_other_galleries_are_told(job, labelled_world, tmp_path):
    recipe = tiny(
        "identify", labelled_world, eval__dataset="market1501", eval__root=str(labelled_world)
    )
    task, mesh = tasks.TASKS["identify"].build(recipe, None), sharding.make_mesh()
    splits = evaluation.load_splits("market1501", str(labelled_world), "eval.root", 0)
    fewer = dataclasses.replace(splits, gallery=splits.gallery.take(np.arange(5)))
    checks = []
    for one in (fewer, splits):

        def check(one=one):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(evaluation, "load_splits", lambda *_: one)
                evaluation.Evaluation.build(recipe, task, mesh)

        checks.append(check)
    with pytest.raises(InputError, match="differs from others in the gallery;"):
        job(*checks)


def test_processes_with_other_settings_are_told_and_places_may_differ(job):
    here, there = tiny("identify", "/a"), tiny("identify", "/b", train__init_from="/c")
    job(lambda: recipe_file.check_alike(there), lambda: recipe_file.check_alike(here))
    saving = tiny("identify", "/a", train__checkpoint_every_steps=3)
    with pytest.raises(InputError, match="in the settings of the group train;"):
        job(lambda: recipe_file.check_alike(saving), lambda: recipe_file.check_alike(here))
    with pytest.raises(InputError, match="the settings of the group task"):
        job(
            lambda: recipe_file.check_alike(tiny("moco", "/a")),
            lambda: recipe_file.check_alike(here),
        )


def test_other_weights_to_start_from_are_told():
    tensors = {
        "params/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "params/p": np.ones(()),
    }
    found = {trees.fingerprint(tensors)}
    for change in (
        {"params/kernel": np.nextafter(tensors["params/kernel"], np.float32(9))},
        {"params/kernel": tensors["params/kernel"].reshape(3, 2)},
        {"params/p": np.zeros(())},
    ):
        found.add(trees.fingerprint({**tensors, **change}))
    assert len(found) == 4
    assert trees.fingerprint(dict(reversed(tensors.items()))) in found
