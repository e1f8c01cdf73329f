"""The optimizer of a whole recipe against PyTorch's, with the loop of a PyTorch trainer."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from luperson_jax import optim, trees
from luperson_jax.config import OptimConfig

torch = pytest.importorskip("torch", reason="the extra [torch] is not installed")

STEPS, EPOCHS = 5, 4

SHAPES = {
    "backbone/conv1/kernel": (3, 4),
    "backbone/bn1/bias": (4,),
    "b1/layer4/kernel": (4, 2),
    "b1_head/bn/bias": (2,),
    "b1_head/reduction/kernel": (4, 2),
    "classifier/b1/kernel": (2, 6),
}

SBS = OptimConfig(
    optimizer="adam",
    lr=3e-2,
    weight_decay=1e-2,
    schedule="flat_cosine",
    warmup_epochs=1,
    flat_epochs=2,
    final_lr=1e-3,
    lr_factors=(("bias$", 2.0), (optim.HEADS, 3.0)),
    freeze=("^backbone/", "^b1/"),
    freeze_epochs=1,
)

RECIPES = {
    "frozen": SBS,
    "clipped": dataclasses.replace(SBS, clip_norm=2.0),
    "sgd": dataclasses.replace(SBS, optimizer="sgd", clip_norm=2.0),
}


def gradients(step):
    generator = np.random.default_rng(step)
    draw = generator.standard_normal
    return {path: draw(shape).astype(np.float32) for path, shape in SHAPES.items()}


def torch_run(options):
    """Weights after every step, in double precision."""
    weights = {
        path: torch.nn.Parameter(torch.tensor(array, dtype=torch.float64))
        for path, array in gradients(1000).items()
    }
    groups, factors = [], []
    for path, weight in weights.items():
        groups.append({"params": [weight]})
        is_head = path.split("/")[0] in ("b1_head", "classifier")
        factors.append((2 if path.endswith("bias") else 1) * (3 if is_head else 1))
    if options.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, lr=1.0, weight_decay=options.weight_decay)
    else:
        optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9, weight_decay=options.weight_decay)
    freeze_iters = options.freeze_epochs * STEPS
    history = []
    for iteration in range(STEPS * EPOCHS):
        frozen = options.freeze if options.freeze_epochs and iteration <= freeze_iters else ()
        optimizer.zero_grad(set_to_none=True)
        for path, weight in weights.items():
            if not any(re.search(pattern, path) for pattern in frozen):
                weight.grad = torch.tensor(gradients(iteration)[path], dtype=torch.float64)
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = rate_of(iteration, options) * factor
        if options.clip_norm:
            torch.nn.utils.clip_grad_norm_(list(weights.values()), options.clip_norm)
        optimizer.step()
        history.append({path: weight.detach().numpy().copy() for path, weight in weights.items()})
    return history


def rate_of(iteration, options):
    epoch = iteration / STEPS
    warmup = 0.01 + 0.99 * min(epoch / options.warmup_epochs, 1)
    progress = max(epoch - options.flat_epochs, 0) / (EPOCHS - options.flat_epochs)
    cosine = (1 + np.cos(np.pi * progress)) / 2
    return warmup * (options.final_lr + (options.lr - options.final_lr) * cosine)


@pytest.mark.parametrize("name", RECIPES)
def test_every_step_of_a_recipe(name):
    options = RECIPES[name]
    params = trees.nest(jax.tree.map(jnp.asarray, gradients(1000)))
    optimizer, schedule = optim.build(options, params, epochs=EPOCHS, steps_per_epoch=STEPS)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for step, expected in enumerate(torch_run(options)):
        np.testing.assert_allclose(schedule(step), rate_of(step, options), rtol=1e-5)
        updates, state = update(trees.nest(gradients(step)), state, params)
        params = optax.apply_updates(params, updates)
        for path, weight in trees.by_name(params).items():
            np.testing.assert_allclose(
                weight, expected[path], rtol=2e-5, atol=1e-5, err_msg=f"step {step}, {path}"
            )
