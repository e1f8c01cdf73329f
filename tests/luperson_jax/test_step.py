"""The one step: a batch encoded in parts is the batch."""

import functools

import jax
import numpy as np
import pytest

from luperson_jax import sharding, tasks
from luperson_jax.run import setup
from luperson_jax.run.step import loss_and_gradients
from luperson_jax.structs import Batch
from tests import stand_in
from tests.helpers import SIZE, assert_equal_to_rounding, tiny

CASES = {
    "moco": {"task__queue_size": 64, "model__bn_group_size": 4},
    "pnl": {"task__queue_size": 64, "model__bn_group_size": 4},
    "simclr": {},
    "supcont": {},
    "identify": {"task__center_weight": 0.01, "model__bn_group_size": 8},
}
ON_A_STAND_IN = ("moco", "pnl", "simclr", "supcont")
"""The parts of a ResNet are those of a fine-tuning."""


def build(name, world, workdir, mesh=None, **more) -> setup.Run:
    changes = {
        "augment__recipe": "weak",
        "data__batch_size": 32,
        "data__dataset": "market1501",
        "train__steps_per_epoch": 2,
    }
    recipe = tiny(name, world, **changes, **CASES[name], **more)
    return setup.build(recipe, str(workdir), tasks.TASKS[recipe.task.name], mesh)


def batch_of(mesh) -> Batch:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (32, *SIZE, 3), dtype=np.uint8)
    arrays = {
        "images": images,
        "size": np.tile(np.int32(SIZE), (32, 1)),
        "label": (np.arange(32) // 4 % 6).astype(np.int32),
        "camera": np.zeros(32, np.int32),
        "index": np.arange(32, dtype=np.int32),
        "mask": np.ones(32, bool),
    }
    return sharding.put_batch(arrays, mesh)


@pytest.mark.parametrize("name", CASES)
def test_four_parts_of_8_are_one_batch_of_32(name, labelled_world, tmp_path, monkeypatch):
    """Loss, metrics, gradients, statistics, key encoder, queue, prototypes and centers."""
    if name in ON_A_STAND_IN:
        stand_in.use(monkeypatch)
    current = build(name, labelled_world, tmp_path)
    state, batch = setup.initial_state(current), batch_of(current.mesh)
    results = []
    for num in (1, 4):
        current = build(name, labelled_world, tmp_path, optim__micro_batches=num)
        function = functools.partial(loss_and_gradients, current.task, micro_batches=num)
        with jax.set_mesh(current.mesh):
            (loss, (extra, metrics)), gradients = jax.jit(function)(
                state.params, state.extra, batch, jax.random.key(1), state.step + 2
            )
        results.append({"loss": loss, "metrics": metrics, "extra": extra, "gradients": gradients})
    whole, parts = results
    assert jax.tree.structure(whole) == jax.tree.structure(parts)
    for (path, one), two in zip(
        jax.tree_util.tree_leaves_with_path(whole), jax.tree.leaves(parts), strict=True
    ):
        one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
        scale = max(np.abs(one).max(), 1e-3)
        np.testing.assert_allclose(
            two / scale, one / scale, atol=1e-3, err_msg=jax.tree_util.keystr(path)
        )
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), state.extra, parts["extra"])
    assert any(jax.tree.leaves(moved))


def test_parts_of_a_step_lie_on_all_devices(labelled_world, tmp_path, monkeypatch):
    """The compiled step in parts, on two devices and on one."""
    stand_in.use(monkeypatch)
    ends = []
    for devices in (jax.devices()[:1], jax.devices()[:2]):
        mesh = sharding.make_mesh(devices)
        current = build("pnl", labelled_world, tmp_path, mesh, optim__micro_batches=4)
        step, state = setup.compile_step(current), setup.initial_state(current)
        for _ in range(2):
            state, _ = step(state, batch_of(mesh))
        ends.append({"step": state.step, "params": state.params, "extra": state.extra})
    one, two = ({**end, "opt_state": {"none": np.ones(1)}} for end in ends)
    assert_equal_to_rounding(one, two, lr=0.05)
