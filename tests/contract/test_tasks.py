"""What every task keeps, whoever wrote it."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import sharding, tasks, trees
from luperson_jax.run import setup, states
from luperson_jax.structs import Batch
from luperson_jax.weights.model import shapes_of
from tests import stand_in
from tests.helpers import SIZE, TINY, assert_trees_equal, tiny

NAMES = sorted(TINY)


ON_A_STAND_IN = (
    *("pnl", "simclr", "supcont", "cluster_contrast", "spcl", "calr", "calr_local", "upmnet"),
)
"""The network is that of moco or identify, and takes most of the time to compile."""


@pytest.fixture(scope="module", params=NAMES)
def current(request, tmp_path_factory, labelled_world, unlabelled_world) -> setup.Run:
    layout = TINY[request.param]["data"]["dataset"]
    recipe = tiny(request.param, labelled_world if layout == "market1501" else unlabelled_world)
    workdir = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        if request.param in ON_A_STAND_IN:
            stand_in.use(patch)
        return setup.build(recipe, str(workdir), tasks.TASKS[recipe.task.name])


@pytest.fixture(scope="module")
def step(current) -> setup.Step:
    return setup.compile_step(current)


def batch_of(current: setup.Run, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    size = current.recipe.data.batch_size
    arrays = {
        "images": rng.integers(0, 256, (size, *SIZE, 3), dtype=np.uint8),
        "size": np.tile(np.int32(SIZE), (size, 1)),
        "label": (np.arange(size) // 4).astype(np.int32),
        "camera": (np.arange(size) % 2).astype(np.int32),
        "index": np.arange(size, dtype=np.int32),
        "mask": np.ones(size, bool),
    }
    return sharding.put_batch(arrays, current.mesh)


def test_every_method_is_in_the_small_recipes():
    assert {recipe["task"]["name"] for recipe in TINY.values()} == set(tasks.TASKS)


def test_gradient_reaches_every_parameter(current):
    state = setup.initial_state(current)
    batch = batch_of(current, 0)
    # Non-local blocks start with a scale of 0, behind which nothing has a gradient.
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: leaf + 0.01 * rng.standard_normal(leaf.shape).astype(np.float32), state.params
    )

    extra = state.extra
    if "banks" in extra:  # empty at the start, and then nothing is learned
        extra = jax.jit(current.task.loss)(params, extra, batch, jax.random.key(1), 0)[1][0]

    def loss(params):
        return current.task.loss(params, extra, batch, jax.random.key(1), state.step)

    (value, (_, metrics)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert np.isfinite(value)
    assert float(metrics["loss"]) == float(value)
    assert all(metric.shape == () for metric in metrics.values())
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert np.isfinite(gradient).all(), name
        # BNNeck's bias is frozen at 0 by its definition.
        is_neck = re.search("(^neck|_head)/bn/bias$", name) is not None
        assert (np.abs(gradient).max() > 0) != is_neck, name


def test_a_step_keeps_structure_and_compiles_once(current, step):
    state = setup.initial_state(current)
    shapes = jax.eval_shape(lambda: state)
    with jax.log_compiles(False):
        state, first = step(state, batch_of(current, 1))
        jax.block_until_ready(state)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), shapes
    )
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    state, second = step(state, batch_of(current, 2))
    jax.block_until_ready(state)
    assert not compiled
    assert int(state.step) == 2
    assert first.keys() == second.keys()


def test_the_step_moves_parameters_and_is_a_function_of_its_arguments(current, step):
    before = setup.initial_state(current)
    kept = jax.tree.map(np.asarray, before.params)
    one, _ = step(before, batch_of(current, 3))
    two, _ = step(setup.initial_state(current), batch_of(current, 3))
    assert_trees_equal(one, two)
    moved = [
        name
        for (path, old), new in zip(
            jax.tree_util.tree_leaves_with_path(kept), jax.tree.leaves(one.params), strict=True
        )
        if np.any(old != np.asarray(new))
        for name in [jax.tree_util.keystr(path, simple=True, separator="/")]
    ]
    assert any(name.startswith(("backbone/conv1", "head/")) for name in moved)


def test_embedding_depends_on_the_picture_alone(current):
    state = setup.initial_state(current)
    embed = jax.jit(functools.partial(current.task.embed, state.params, state.extra))
    batch = batch_of(current, 4)
    features = np.asarray(embed(batch))
    assert features.ndim == 2
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    turned = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), batch)
    np.testing.assert_allclose(np.asarray(embed(turned)), np.roll(features, 1, axis=0), atol=1e-5)
    unlabelled = dataclasses.replace(batch, label=jnp.full_like(batch.label, -1))
    np.testing.assert_array_equal(np.asarray(embed(unlabelled)), features)


@pytest.mark.parametrize("name", NAMES)
def test_the_description_of_the_network_has_every_tensor_of_it(
    name, labelled_world, unlabelled_world, tmp_path
):
    """So that files of weights are complete; CALR's classifier of cameras serves training alone."""
    recipe = tiny(name, labelled_world, data__dataset="market1501")
    if name == "upmnet":  # learns from tracklets
        recipe = tiny(name, unlabelled_world)
    current = setup.build(recipe, str(tmp_path), tasks.TASKS[recipe.task.name])
    state = current.shapes
    found = trees.by_name({"params": state.params, "extra": state.extra})
    described = shapes_of(current.task.spec)
    assert {path: found[path].shape for path in described} == described
    own = [path for path in found if path.startswith(("params/", "extra/stats/"))]
    assert all(path in described for path in own if "/camera_head/" not in path)


def test_state_survives_the_way_to_a_checkpoint_and_back(current):
    state = setup.initial_state(current)
    assert_trees_equal(states.from_tree(states.to_tree(state), state), state)
