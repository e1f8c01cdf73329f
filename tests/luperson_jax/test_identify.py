"""The supervised baseline: what is frozen, what the loss is made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.read.loader import Loader
from data_pipeline.table.records import make_table
from luperson_jax import sharding, tasks
from luperson_jax.losses import classification, metric
from luperson_jax.run import setup
from luperson_jax.tasks import identify
from tests.helpers import assert_trees_equal, tiny


def build(tmp_path, root, **changes):
    recipe = tiny("identify", root, **changes)
    current = setup.build(recipe, str(tmp_path), tasks.TASKS["identify"])
    rows = current.task.sampler(current.table, 0, current.steps_per_epoch)
    loader = Loader(current.table, rows, setup.loader_options(recipe))
    return current, [sharding.put_batch(arrays, current.mesh) for arrays in loader]


def test_a_frozen_backbone_stays_until_its_epochs_are_over(tmp_path, labelled_world):
    """Weights, moments and BatchNorm statistics alike; the head learns meanwhile."""
    freeze = {"optim__freeze_epochs": 1, "optim__warmup_epochs": 0}
    current, batches = build(tmp_path, labelled_world, **freeze)
    step, state = setup.compile_step(current), setup.initial_state(current)
    start = jax.tree.map(np.asarray, state)
    for batch in (*batches, batches[0]):
        state, _ = step(state, batch)
    frozen = jax.tree.map(np.asarray, state)
    assert int(frozen.step) == current.steps_per_epoch + 1
    assert_trees_equal(frozen.params["backbone"], start.params["backbone"])
    assert_trees_equal(frozen.extra["stats"]["backbone"], start.extra["stats"]["backbone"])
    assert np.any(frozen.params["classifier"]["kernel"] != start.params["classifier"]["kernel"])
    assert np.any(frozen.extra["stats"]["neck"]["bn"]["mean"] != 0)

    thawed, _ = step(state, batches[1])
    for part, before in (("params", frozen.params), ("stats", frozen.extra["stats"])):
        after = thawed.params if part == "params" else thawed.extra["stats"]
        changed = jax.tree.map(
            lambda old, new: bool(np.any(old != np.asarray(new))),
            before["backbone"],
            after["backbone"],
        )
        assert all(jax.tree.leaves(changed)), part


def test_statistics_of_a_frozen_backbone_may_go_on(tmp_path, labelled_world):
    freeze = {"optim__freeze_steps": 2, "optim__freeze_statistics": False}
    current, batches = build(tmp_path, labelled_world, **freeze)
    step, state = setup.compile_step(current), setup.initial_state(current)
    start = jax.tree.map(np.asarray, state)
    for batch in batches[:2]:
        state, _ = step(state, batch)
    assert_trees_equal(jax.tree.map(np.asarray, state.params["backbone"]), start.params["backbone"])
    moved = jax.tree.map(
        lambda old, new: bool(np.any(old != np.asarray(new))),
        start.extra["stats"]["backbone"],
        state.extra["stats"]["backbone"],
    )
    assert all(jax.tree.leaves(moved))
    state, _ = step(state, batches[0])
    kernel = np.asarray(state.params["backbone"]["conv1"]["kernel"])
    assert np.any(kernel != start.params["backbone"]["conv1"]["kernel"])


def test_the_loss_is_the_weighted_sum_of_its_two_parts(tmp_path, labelled_world):
    weights = {"task__classification_weight": 0.5, "task__triplet_weight": 2.0}
    current, batches = build(tmp_path, labelled_world, **weights)
    state = setup.initial_state(current)
    loss, (_, metrics) = jax.jit(current.task.loss)(
        state.params, state.extra, batches[0], jax.random.key(0), state.step
    )
    expected = 0.5 * metrics["cross_entropy"] + 2 * metrics["triplet"]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("where", ["before", "after"])
def test_the_triplet_sees_the_side_of_the_neck_it_is_told(
    where, tmp_path, monkeypatch, labelled_world
):
    """The neck normalizes: features after it have mean 0 in every channel, those before do not."""
    seen = []
    original = metric.batch_hard_triplet

    def spy(features, labels, **options):
        if not isinstance(features, jax.core.Tracer):  # as when the run is checked beforehand
            seen.append(np.asarray(features))
        return original(features, labels, **options)

    monkeypatch.setattr(identify, "TRIPLETS", {"hard": spy})
    changes = {"task__triplet_feature": where, "task__extra_bn": False}
    current, batches = build(tmp_path, labelled_world, **changes)
    state = setup.initial_state(current)
    current.task.loss(state.params, state.extra, batches[0], jax.random.key(0), state.step)
    centered = np.allclose(seen[0].mean(axis=0), 0, atol=1e-4)
    assert centered == (where == "after")


def test_the_first_loss_is_near_the_logarithm_of_the_number_of_people(tmp_path, labelled_world):
    """The classifier starts near 0, so that all people are equally likely."""
    current, batches = build(tmp_path, labelled_world)
    state = setup.initial_state(current)
    assert state.params["classifier"]["kernel"].shape == (64, 6)
    _, (_, metrics) = jax.jit(current.task.loss)(
        state.params, state.extra, batches[0], jax.random.key(0), state.step
    )
    uniform = classification.smoothed_cross_entropy(jnp.zeros((6, 6)), jnp.arange(6))
    np.testing.assert_allclose(uniform, np.log(6), rtol=1e-6)
    np.testing.assert_allclose(metrics["cross_entropy"], np.log(6), atol=0.05)


def test_one_person_is_not_enough(labelled_world):
    recipe = tiny("identify", labelled_world)
    table = make_table([(f"{i}.jpg", 0, 0, -1) for i in range(32)])
    with pytest.raises(InputError, match="at least 2"):
        tasks.TASKS["identify"].build(recipe, table)


@pytest.mark.parametrize(
    ("changes", "images", "message"),
    [
        ({"data__num_instances": 16}, 32, "one identity into a batch.*at least 32"),
        (
            {"data__num_instances": 16, "data__sampler": "pk_camera", "task__circle_weight": 0.1},
            32,
            "task.circle_weight=0.1 compares",
        ),
        ({"data__num_instances": 1}, 32, "num_instances=1: no batch would hold two images"),
        ({"data__sampler": "shuffled"}, 1, "every identity has one training image"),
    ],
)
def test_batches_without_a_pair_to_compare_are_refused(changes, images, message):
    table = make_table([(f"{i}.jpg", i // images, 0, -1) for i in range(64)])
    task = tasks.TASKS["identify"]
    with pytest.raises(InputError, match=message):
        task.build(tiny("identify", "/data", **changes), table)
    no_pairs = {"task__triplet_weight": 0.0, "task__circle_weight": 0.0}
    task.build(tiny("identify", "/data", **{**changes, **no_pairs}), table)
    task.build(tiny("identify", "/data", **changes), None)
    if "image" in message:
        task.build(tiny("identify", "/data", **changes, task__lone_images=True), table)
