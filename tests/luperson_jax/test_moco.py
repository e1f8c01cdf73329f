"""What makes MoCo MoCo."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import sharding, tasks
from luperson_jax.augment import recipes
from luperson_jax.run import setup
from luperson_jax.structs import Batch
from luperson_jax.tasks import key_encoder
from luperson_jax.tasks.base import Views
from tests import stand_in
from tests.helpers import SIZE, run, tiny

BATCH = 16


def build(tmp_path, root, **changes):
    recipe = tiny("moco", root, **{"augment__recipe": "weak", **changes})
    current = setup.build(recipe, str(tmp_path), tasks.TASKS["moco"])
    return current, setup.initial_state(current)


def batch_of(seed: int = 0) -> Batch:
    images = np.random.default_rng(seed).integers(0, 256, (BATCH, *SIZE, 3), dtype=np.uint8)
    rows = jnp.arange(BATCH, dtype=jnp.int32)
    size = jnp.tile(jnp.array(SIZE, jnp.int32), (BATCH, 1))
    return Batch(jnp.asarray(images), size, rows, rows, rows, jnp.ones(BATCH, bool))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    stand_in.use(monkeypatch)


def loss_of(current, state, batch, key=0):
    loss = jax.jit(current.task.loss)
    return loss(state.params, state.extra, batch, jax.random.key(key), state.step)


def test_encoders_start_equal_and_apart_in_memory(tmp_path, unlabelled_world):
    _, state = build(tmp_path, unlabelled_world)
    pairs = zip(
        jax.tree.leaves(state.params), jax.tree.leaves(state.extra["key_params"]), strict=True
    )
    for query, key in pairs:
        np.testing.assert_array_equal(query, key)
        buffers = [leaf.addressable_shards[0].data.unsafe_buffer_pointer() for leaf in (query, key)]
        assert buffers[0] != buffers[1]


def test_key_encoder_follows_before_the_key_forward(tmp_path, unlabelled_world):
    """With momentum 0 the keys are those of the query network, whatever the key encoder was."""
    current, state = build(tmp_path, unlabelled_world, task__momentum=0.0)
    moved = jax.tree.map(lambda leaf: leaf + 1.0, state.extra["key_params"])
    other = dataclasses.replace(state, extra={**state.extra, "key_params": moved})
    first, (extra, _) = loss_of(current, state, batch_of())
    second, (extra_moved, _) = loss_of(current, other, batch_of())
    assert float(first) == float(second)
    np.testing.assert_array_equal(extra["queue"], extra_moved["queue"])


def test_key_encoder_is_the_average_and_its_statistics_are_not(tmp_path, unlabelled_world):
    current, state = build(tmp_path, unlabelled_world)
    apart = jax.tree.map(lambda leaf: leaf + 0.5, state.params)
    _, (extra, _) = loss_of(current, dataclasses.replace(state, params=apart), batch_of())
    expected = jax.tree.map(
        lambda key, query: 0.9 * key + 0.1 * query, state.extra["key_params"], apart
    )
    jax.tree.map(
        lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-5),
        extra["key_params"],
        expected,
    )
    means = [np.asarray(extra[name]["norm"]["mean"]) for name in ("key_stats", "stats")]
    assert np.any(means[0] != means[1])


def test_no_gradient_through_keys_or_queue(tmp_path, unlabelled_world):
    current, state = build(tmp_path, unlabelled_world)

    def loss(extra):
        return current.task.loss(state.params, extra, batch_of(), jax.random.key(0), state.step)[0]

    floats = {name: state.extra[name] for name in ("key_params", "queue")}
    gradients = jax.jit(jax.grad(lambda part: loss({**state.extra, **part})))(floats)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_the_queue_takes_the_keys_of_the_batch_in_order(tmp_path, unlabelled_world):
    """Batch 16 into 40: the third push wraps around."""
    current, state = build(tmp_path, unlabelled_world)
    extra, pushed = state.extra, []
    for turn in range(3):
        before = np.asarray(extra["queue"])
        moved = dataclasses.replace(state, extra=extra)
        _, (extra, _) = loss_of(current, moved, batch_of(turn), key=turn)
        rows = np.arange(turn * BATCH, (turn + 1) * BATCH) % 40
        pushed.append(np.asarray(extra["queue"])[rows])
        untouched = np.setdiff1d(np.arange(40), rows)
        np.testing.assert_array_equal(np.asarray(extra["queue"])[untouched], before[untouched])
    assert int(extra["queue_pointer"]) == 48 % 40
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(pushed), axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("shuffle", [False, True])
def test_shuffling_changes_the_company_of_a_key_and_not_its_place(
    shuffle, tmp_path, unlabelled_world
):
    """Keys of one group of BatchNorm: with all statistics equal, order must be that of the batch.

    One group for the whole batch makes the company equal, so that shuffling may change nothing but
    rounding.
    """
    whole = {"model__bn_group_size": 16, "task__shuffle_bn": shuffle}
    current, state = build(tmp_path / "a", unlabelled_world, **whole)
    plain = {"model__bn_group_size": 16, "task__shuffle_bn": False}
    other, _ = build(tmp_path / "b", unlabelled_world, **plain)
    _, (one, _) = loss_of(current, state, batch_of())
    _, (two, _) = loss_of(other, state, batch_of())
    np.testing.assert_allclose(one["queue"][:16], two["queue"][:16], atol=2e-5)
    if shuffle:
        groups = {"model__bn_group_size": 4}
        mixed, _ = build(tmp_path / "c", unlabelled_world, **groups)
        fixed, _ = build(tmp_path / "d", unlabelled_world, **groups, task__shuffle_bn=False)
        _, (three, _) = loss_of(mixed, state, batch_of())
        _, (four, _) = loss_of(fixed, state, batch_of())
        assert np.abs(np.asarray(three["queue"][:16] - four["queue"][:16])).max() > 1e-3


class PlainViews(Views):
    """Views without chance: a query and its key see the same picture."""

    def draw(self, pictures, step):
        return recipes.prepare(pictures.images, self.size, *self.pixels[0])


def test_loss_is_infonce_against_the_queue_before_the_batch(tmp_path, unlabelled_world):
    """With equal views and equal encoders every query is its own key, and the keys are in the queue
    that comes back."""
    current, state = build(tmp_path, unlabelled_world, task__shuffle_bn=False)
    drawn = current.task.views
    views = PlainViews(drawn.law, drawn.size, drawn.pixels)
    current = dataclasses.replace(current, task=dataclasses.replace(current.task, views=views))
    loss, (extra, metrics) = loss_of(current, state, batch_of())
    keys = np.asarray(extra["queue"][:BATCH], np.float64)
    similarity = keys @ np.asarray(state.extra["queue"], np.float64).T
    logits = np.concatenate([np.ones((BATCH, 1)), similarity], axis=1)
    logits /= current.task.options.temperature
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[:, 0])
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert float(metrics["loss"]) == float(loss)
    assert float(metrics["top1"]) == 1.0


@pytest.mark.parametrize(
    ("choice", "width"), [("projection", 16), ("backbone", stand_in.NUM_POOLED)]
)
def test_embedding_is_a_unit_vector_of_the_chosen_feature(
    choice, width, tmp_path, unlabelled_world
):
    current, state = build(tmp_path, unlabelled_world, task__embedding=choice)
    features = current.task.embed(state.params, state.extra, batch_of())
    assert features.shape == (BATCH, width)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)


def test_the_permutation_keeps_the_batch_cut_over_the_devices():
    mesh = sharding.make_mesh()

    @jax.jit
    def permuted(array):
        return sharding.constrain_to_batch(array[jax.random.permutation(jax.random.key(0), 8)])

    with jax.set_mesh(mesh):
        result = permuted(jax.device_put(jnp.arange(8.0), sharding.over_batch(mesh)))
    assert result.sharding.is_equivalent_to(sharding.over_batch(mesh), 1)


def test_the_queue_grows_older_until_it_is_full():
    batch = batch_of()
    ages = [float(key_encoder.queue_age(batch, 40, jnp.int32(step))) for step in (0, 1, 2, 3, 99)]
    assert ages == [0, 1, 2, 2, 2]


@pytest.mark.parametrize(("size", "is_said"), [(64, False), (160, True)])
def test_more_keys_than_pictures_are_told(tmp_path, capsys, unlabelled_world, size, is_said):
    """The world has 64 pictures."""
    run(tiny("moco", unlabelled_world, train__epochs=1, task__queue_size=size), tmp_path)
    said = (
        "task.queue_size=160 keys of 64 pictures: each picture is told to be unlike itself, in 2.5"
    )
    assert (said in capsys.readouterr().out) == is_said
