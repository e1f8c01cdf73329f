"""Where `model.compute_dtype` says bfloat16, the network computes in it, and nothing else does."""

import functools

import jax
import jax.numpy as jnp
import pytest

from luperson_jax import tasks
from luperson_jax.run import setup, states
from luperson_jax.run.step import train_step
from tests.helpers import tiny

KEPT = {
    "moco": ("queue", "stats", "key_stats", "key_params"),
    "simclr": ("stats",),
    "supcont": ("stats",),
    "pnl": ("queue", "prototypes", "stats", "key_stats", "key_params"),
}
"""What a method keeps beside its parameters, in float32."""


def kinds(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize("name", KEPT)
def test_losses_statistics_and_memories_stay_float32(name, labelled_world, tmp_path):
    changes = {"data__dataset": "market1501", "model__compute_dtype": "bfloat16"}
    recipe = tiny(name, labelled_world, **changes)
    current = setup.build(recipe, str(tmp_path), tasks.TASKS[name])
    task, state, batch = current.task, current.shapes, states.batch_shapes(recipe)
    key = jax.eval_shape(lambda: jax.random.key(0))
    step = functools.partial(
        train_step, task, current.optimizer, current.schedule, averaging=current.averaging
    )
    with jax.set_mesh(current.mesh):
        given = state.params, state.extra, jax.eval_shape(task.inputs, batch, key), state.step
        outputs, moved = jax.eval_shape(task.encode, *given)
        encoding = jax.make_jaxpr(task.encode)(*given)
        comparing = jax.make_jaxpr(task.objective)(
            state.params, {**state.extra, **moved}, outputs, batch, key, state.step
        )
        after, metrics = jax.eval_shape(step, state, batch)
    assert "bf16" in str(encoding)
    assert "bf16" not in str(comparing)
    assert kinds(outputs) == kinds(moved) == kinds(metrics) == {jnp.dtype(jnp.float32)}
    assert kinds({part: after.extra[part] for part in KEPT[name]}) == {jnp.dtype(jnp.float32)}
    assert jax.tree.map(lambda leaf: leaf.dtype, after) == jax.tree.map(
        lambda leaf: leaf.dtype, state
    )
    assert kinds(after.params) == {jnp.dtype(jnp.float32)}
