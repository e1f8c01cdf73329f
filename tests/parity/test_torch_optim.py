"""Optimizers against PyTorch's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from luperson_jax import optim

torch = pytest.importorskip("torch", reason="the extra [torch] is not installed")

NUM_STEPS = 20
SCHEDULE = optim.warmup_multistep(0.1, (12,), 0.1, 6)


def _random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _torch_run(make_optimizer, start, gradients, first_step=0):
    parameter = torch.nn.Parameter(torch.tensor(start))
    optimizer = make_optimizer([parameter])
    for step, gradient in enumerate(gradients):
        for group in optimizer.param_groups:
            group["lr"] = float(SCHEDULE(step))
        parameter.grad = torch.tensor(gradient) if step >= first_step else None
        optimizer.step()
    return parameter.detach().numpy()


def _our_run(transformation, params, gradients):
    state = transformation.init(params)
    step = jax.jit(transformation.update)
    for gradient in gradients:
        updates, state = step(jax.tree.map(lambda _, g=gradient: g, params), state, params)
        params = optax.apply_updates(params, updates)
    return params


OPTIMIZERS = {
    "sgd": (
        functools.partial(optim.sgd, momentum=0.9, weight_decay=1e-2),
        functools.partial(torch.optim.SGD, lr=1.0, momentum=0.9, weight_decay=1e-2),
    ),
    "nesterov": (
        functools.partial(optim.sgd, momentum=0.9, weight_decay=1e-2, nesterov=True),
        functools.partial(torch.optim.SGD, lr=1.0, momentum=0.9, weight_decay=1e-2, nesterov=True),
    ),
    "adam": (
        functools.partial(optim.adam, weight_decay=1e-2),
        functools.partial(torch.optim.Adam, lr=1.0, weight_decay=1e-2),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_with_a_changing_rate(name):
    ours, theirs = OPTIMIZERS[name]
    start, gradients = _random(8, 5, 3), [_random(20 + n, 5, 3) for n in range(NUM_STEPS)]
    result = _our_run(ours(SCHEDULE), {"kernel": jnp.asarray(start)}, gradients)["kernel"]
    np.testing.assert_allclose(result, _torch_run(theirs, start, gradients), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_frozen_leaf_is_a_torch_parameter_without_gradient(name):
    ours, theirs = OPTIMIZERS[name]
    start, gradients = _random(9, 5, 3), [_random(50 + n, 5, 3) for n in range(NUM_STEPS)]
    params = {"backbone": jnp.asarray(start), "head": jnp.asarray(start)}
    frozen = optim.frozen_until(ours, SCHEDULE, params, "^backbone", 7)
    result = _our_run(frozen, params, gradients)
    for leaf, first_step in (("backbone", 7), ("head", 0)):
        expected = _torch_run(theirs, start, gradients, first_step)
        np.testing.assert_allclose(result[leaf], expected, rtol=1e-6, atol=1e-6, err_msg=leaf)
