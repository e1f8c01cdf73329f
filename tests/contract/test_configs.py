"""Every shipped configuration resolves, and its network and state can be built."""

import functools
import pathlib

import jax
import numpy as np
import pytest

from data_pipeline.table.records import make_table
from luperson_jax import config, optim, tasks
from luperson_jax.run import states

ROOT = pathlib.Path(__file__).resolve().parents[2]
VARIANTS = [(path, None) for path in sorted((ROOT / "configs").glob("*.py"))]
VARIANTS += [
    (ROOT / "configs" / f"finetune_{method}.py", "recipe=upstream")
    for method in ("bot", "agw", "sbs")
]
VARIANTS += [(ROOT / "configs" / "demo.py", stage) for stage in ("scratch", "finetune")]
VARIANTS += [(ROOT / "configs" / "small.py", stage) for stage in ("pretrain", "mgn")]
VARIANTS += [(ROOT / "configs" / "cmpe597.py", "stage=finetune")]


@pytest.mark.parametrize(
    ("path", "argument"), VARIANTS, ids=lambda value: getattr(value, "stem", value)
)
def test_configuration_builds(path, argument):
    recipe = config.resolve(config.load_file(str(path), argument), tasks.OPTIONS)
    table = make_table([(f"{i:05d}.jpg", i % 100, i % 4, -1) for i in range(3000)])
    task = tasks.TASKS[recipe.task.name].build(recipe, table)
    params, _ = jax.eval_shape(functools.partial(states.init, task, recipe, table))
    optimizer, schedule = optim.build(
        recipe.optim, params, epochs=recipe.train.epochs, steps_per_epoch=202
    )
    jax.eval_shape(optimizer.init, params)
    assert np.isfinite(float(schedule(0)))


def recipe_of(name: str) -> config.Recipe:
    return config.resolve(config.load_file(str(ROOT / "configs" / name)), tasks.OPTIONS)


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_pretraining_is_the_published_recipe(depth):
    recipe = recipe_of(f"pretrain_r{depth}.py")
    assert recipe.model.arch == f"resnet{depth}"
    assert (recipe.model.bn_group_size, recipe.data.batch_size) == (320, 2560)
    assert (recipe.task.queue_size, recipe.task.momentum) == (65536, 0.999)
    assert (recipe.task.temperature, recipe.task.feature_dim) == (0.1, 128)
    assert (recipe.optim.optimizer, recipe.optim.lr) == ("sgd", 0.3)
    assert (recipe.optim.momentum, recipe.optim.weight_decay) == (0.9, 1e-4)
    assert (recipe.optim.schedule, recipe.train.epochs) == ("cosine_per_epoch", 200)
    assert (recipe.augment.recipe, recipe.augment.statistics) == ("ori-cj+sre", "lup")
    schedule = optim.build(recipe.optim, {"w": np.zeros(1)}, epochs=200, steps_per_epoch=1632)[1]
    rates = [float(schedule(1632 * epoch)) for epoch in (0, 100, 199)]
    np.testing.assert_allclose(rates, [0.3, 0.15, 1.85e-5], rtol=1e-2)
    assert float(schedule(1631)) == rates[0]
