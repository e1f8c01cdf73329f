"""The whole MoCo step against the same step in PyTorch, over several updates."""

import dataclasses
import functools
import importlib
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline import records
from data_pipeline.errors import InputError
from luperson_jax import models, optim, tasks, train
from luperson_jax.structs import Batch, TrainState
from tests.helpers import tiny

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
SIZE = (65, 33)  # odd at every stage, so that each padding matters
BATCH_SIZE = 16
NUM_STEPS = 3  # the third wraps around the queue of 40


@pytest.fixture(scope="module")
def torch_moco():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        yield importlib.import_module("torch_moco")


class GivenViews:
    """Takes the two views from the batch: its canvases hold them side by side. The task asks for
    the query view first; the keys come permuted, together with their pictures."""

    def __init__(self):
        self.halves = itertools.cycle((slice(None, SIZE[1]), slice(SIZE[1], None)))

    def draw(self, keys, batch):
        del keys
        half = batch.images[:, 0, :, next(self.halves)]
        return half.astype(jnp.float32) / 64 - 2


def make_pairs(seed):
    """[B, h, 2w, 3] uint8: smooth pictures, and a second view that resembles the first."""
    random = np.random.default_rng(seed)
    coarse = random.integers(30, 226, (BATCH_SIZE, 13, 11, 3))
    picture = np.repeat(np.repeat(coarse, 5, 1), 3, 2)
    noise = random.integers(-30, 30, (2, *picture.shape))
    return np.concatenate(list(picture + noise), axis=2).astype(np.uint8)


def make_batch(pairs):
    zeros = jnp.zeros(BATCH_SIZE, jnp.int32)
    size = jnp.tile(jnp.array([[SIZE[0], 2 * SIZE[1]]], jnp.int32), (BATCH_SIZE, 1))
    mask = jnp.ones(BATCH_SIZE, bool)
    return Batch(jnp.asarray(pairs)[:, None], size, zeros, zeros, zeros, mask)


def to_torch(pairs):
    views = np.split(pairs.astype(np.float32) / 64 - 2, 2, axis=2)
    return [torch.from_numpy(view.transpose(0, 3, 1, 2).copy()) for view in views]


def make_state(task):
    """Parameters and the rest, the key encoder unlike the query's from the start."""
    params, extra = task.init(jax.random.key(0), make_batch(make_pairs(0)), records.empty_table())
    extra["key_params"] = jax.tree.map(lambda leaf: 1.2 * leaf + 0.01, params)
    return params, extra


def close(got, wanted, tolerance):
    """Every tensor of ours, by the norm of its difference."""
    for name, value in got.items():
        error = torch.linalg.norm(value - wanted[name]) / torch.linalg.norm(wanted[name])
        assert error < tolerance, (name, error)


def minus(state, start):
    return {name: value - start[name] for name, value in state.items()}


def test_three_steps_of_moco(torch_moco):
    """Loss, queue, statistics and parameters of both encoders. One network is enough here, the
    others are compared in test_torch_models."""
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
    task = dataclasses.replace(task, views=GivenViews())
    step = jax.jit(
        functools.partial(train.train_step, task, optimizer, schedule),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    twin = torch_moco.TorchMoco(torch_moco.settings_of(recipe), torch.device("cpu"))
    twin.load(params, extra)
    start = torch_moco.state_of(params, extra["stats"])
    key_start = torch_moco.state_of(extra["key_params"], extra["key_stats"])

    for number in range(NUM_STEPS):
        pairs = make_pairs(number)
        state, metrics = step(state, make_batch(pairs))
        loss = twin.step(*to_torch(pairs))
        np.testing.assert_allclose(metrics["loss"], loss.numpy(), rtol=2e-5)
        queue = torch.from_numpy(np.array(state.extra["queue"]))
        close({"queue": queue}, {"queue": twin.queue}, 2e-5)
        assert int(state.extra["queue_pointer"]) == twin.pointer
        # What the steps changed, not where they ended: a step is small against the parameters.
        for encoder, stats, module, first in (
            (state.params, state.extra["stats"], twin.query, start),
            (state.extra["key_params"], state.extra["key_stats"], twin.key, key_start),
        ):
            got = minus(torch_moco.state_of(encoder, stats), first)
            close(got, minus({name: module.state_dict()[name] for name in got}, first), 1e-3)
    assert twin.pointer == NUM_STEPS * BATCH_SIZE % recipe.task.queue_size


def test_the_deep_encoder(torch_moco):
    """Bottlenecks, whose training is too ill-conditioned at this size to compare."""
    recipe = tiny("moco", "", model__arch="resnet50", model__bn_group_size=0, data__size=SIZE)
    task = tasks.TASKS["moco"].build(recipe, None)
    _, extra = make_state(task)
    stats = jax.tree.map(lambda leaf: leaf + 0.1, extra["stats"])
    twin = torch_moco.TorchMoco(torch_moco.settings_of(recipe), torch.device("cpu"))
    twin.load(extra["key_params"], {**extra, "stats": stats})
    images = to_torch(make_pairs(0))[0]
    encode = jax.jit(
        lambda x: models.apply(task.network, extra["key_params"], stats, x, train=False)[0][1],
        compiler_options={"xla_backend_optimization_level": 0},
    )
    got = encode(jnp.asarray(images.numpy().transpose(0, 2, 3, 1)))
    with torch.no_grad():
        wanted = twin.query.eval()(images, False)
    close({"projection": torch.from_numpy(np.array(got))}, {"projection": wanted}, 1e-5)


def test_a_recipe_that_the_twin_lacks(torch_moco):
    with pytest.raises(InputError, match=r"model\.bn_group_size=0 only, not 4"):
        torch_moco.settings_of(tiny("moco", ""))
