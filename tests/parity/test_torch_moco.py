"""The whole MoCo step against the same step in PyTorch, over several updates."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.table import records
from luperson_jax import models, optim, tasks
from luperson_jax.run.step import train_step
from luperson_jax.structs import TrainState
from luperson_jax.weights.rules import COUNTER
from tests.converted import GivenViews, floats, make_batch, make_views
from tests.helpers import tiny

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

import torch_moco  # noqa: E402

from tests.parity.cases import to_nchw  # noqa: E402

SIZE = (65, 33)  # odd at every stage, so that each padding matters
BATCH_SIZE = 16
NUM_STEPS = 3  # the third wraps around the queue of 40


def make_state(task):
    """Parameters and the rest, the key encoder unlike the query's from the start."""
    batch = make_batch(make_views(0, 2, BATCH_SIZE, SIZE))
    params, extra = task.init(jax.random.key(0), batch, records.empty_table())
    extra["key_params"] = jax.tree.map(lambda leaf: 1.2 * leaf + 0.01, params)
    return params, extra


def to_torch(views):
    return [to_nchw(view) for view in floats(views)]


def tensors_of(twin):
    """Both encoders by the names of the public files."""
    encoders = {"encoder_q": twin.query, "encoder_k": twin.key}
    return {
        f"{name}.{key}": value.clone()
        for name, encoder in encoders.items()
        for key, value in encoder.state_dict().items()
        if not key.endswith(COUNTER)
    }


def close(got, wanted, tolerance):
    """Every tensor of ours, by the norm of its difference."""
    for name, value in got.items():
        error = torch.linalg.norm(value - wanted[name]) / torch.linalg.norm(wanted[name])
        assert error < tolerance, (name, error)


def test_three_steps_of_moco():
    """Loss, queue, statistics and parameters of both encoders. One network is enough here, the
    others are compared in test_torch_convert."""
    recipe = tiny(
        "moco",
        "",
        model__bn_group_size=0,
        data__size=SIZE,
        data__batch_size=BATCH_SIZE,
        task__momentum=0.7,  # far from 1, and the decay far from 0: one step must show both
        optim__weight_decay=0.05,
    )
    task = tasks.TASKS["moco"].build(recipe, None)
    params, extra = make_state(task)
    optimizer, schedule = optim.build(recipe.optim, params, epochs=2, steps_per_epoch=NUM_STEPS)
    key = jax.random.key_data(jax.random.key(1))
    state = TrainState(jnp.zeros((), jnp.int32), params, extra, optimizer.init(params), key)
    task = dataclasses.replace(task, views=GivenViews(2))
    step = jax.jit(
        functools.partial(train_step, task, optimizer, schedule),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    twin = torch_moco.TorchMoco(torch_moco.settings_of(recipe), torch.device("cpu"))
    twin.load(params, extra)
    start = tensors_of(twin)

    for number in range(NUM_STEPS):
        views = make_views(number, 2, BATCH_SIZE, SIZE)
        state, metrics = step(state, make_batch(views))
        loss = twin.step(*to_torch(views))
        np.testing.assert_allclose(metrics["loss"], loss.numpy(), rtol=2e-5)
        tensors = torch_moco.tensors_of(state.params, state.extra)
        close({"queue": tensors["queue"]}, {"queue": twin.queue.T}, 2e-5)
        assert int(state.extra["queue_pointer"]) == twin.pointer
        # What the steps changed, not where they ended: a step is small against the parameters.
        got, wanted = (
            {key: one[key] - start[key] for key in start} for one in (tensors, tensors_of(twin))
        )
        close(got, wanted, 1e-3)
    assert twin.pointer == NUM_STEPS * BATCH_SIZE % recipe.task.queue_size


def test_the_deep_encoder():
    """Bottlenecks, whose training is too ill-conditioned at this size to compare."""
    recipe = tiny("moco", "", model__arch="resnet50", model__bn_group_size=0, data__size=SIZE)
    task = tasks.TASKS["moco"].build(recipe, None)
    _, extra = make_state(task)
    stats = jax.tree.map(lambda leaf: leaf + 0.1, extra["stats"])
    twin = torch_moco.TorchMoco(torch_moco.settings_of(recipe), torch.device("cpu"))
    twin.load(extra["key_params"], {**extra, "stats": stats})
    images = to_torch(make_views(0, 2, BATCH_SIZE, SIZE))[0]
    encode = jax.jit(
        lambda x: models.apply(task.network, extra["key_params"], stats, x, train=False)[0][1],
        compiler_options={"xla_backend_optimization_level": 0},
    )
    got = encode(jnp.asarray(images.numpy().transpose(0, 2, 3, 1)))
    with torch.no_grad():
        wanted = twin.query.eval()(images, False)
    close({"projection": torch.from_numpy(np.array(got))}, {"projection": wanted}, 1e-5)


def test_a_recipe_that_the_twin_lacks():
    with pytest.raises(InputError, match=r"model\.bn_group_size=0 only, not 4"):
        torch_moco.settings_of(tiny("moco", ""))
