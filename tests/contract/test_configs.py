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
NL = ROOT / "configs" / "pretrain_nl.py"
VARIANTS += [(NL, f"method={method}") for method in ("moco", "simclr", "supcont")]
VARIANTS += [(NL, "method=pnl,depth=152"), (NL, "method=simclr,depth=101")]
VARIANTS += [(ROOT / "configs" / "small.py", stage) for stage in ("pretrain", "mgn")]
VARIANTS += [(ROOT / "configs" / "cmpe597.py", "stage=finetune")]
VARIANTS += [
    (ROOT / "configs" / "cluster_contrast.py", "data=veri776,ibn=True,pooling=avg,init=lup")
]
VARIANTS += [(ROOT / "configs" / "calr.py", "stage=local")]
VARIANTS += [(ROOT / "configs" / "upmnet.py", "data=mars,parts=1,head=local")]
VARIANTS += [(ROOT / "configs" / "upmnet.py", "data=dukemtmc_videoreid,relation=frozen")]


@pytest.mark.parametrize(
    ("path", "argument"), VARIANTS, ids=lambda value: getattr(value, "stem", value)
)
def test_configuration_builds(path, argument):
    recipe = config.resolve(config.load_file(str(path), argument), tasks.OPTIONS)
    table = make_table([(f"{i:05d}.jpg", i % 100, i % 4, i % 400) for i in range(3000)])
    task = tasks.TASKS[recipe.task.name].build(recipe, table)
    params, _ = jax.eval_shape(
        functools.partial(states.init, task, recipe, table), jax.random.key(0)
    )
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


@pytest.mark.parametrize(
    ("method", "batch", "group", "optimizer", "epochs", "temperature", "dim", "views", "rates"),
    [
        ("moco", 2560, 320, "sgd", 200, 0.07, 128, "ori-cj+sre", {0: 0.3, 100: 0.15, 199: 1.85e-5}),
        (
            *("simclr", 2048, 0, "lars", 200, 0.1, 128, "ori-cj+sre"),
            {0: 0.3, 5: 1.35, 9: 2.19, 10: 2.385226},
        ),
        ("supcont", 2048, 0, "lars", 200, 0.1, 2048, "ori", {0: 0.1, 9: 0.73, 100: 0.4}),
        ("pnl", 1536, 192, "sgd", 90, 0.07, 128, "ori-cj+sre", {0: 0.4, 40: 0.04, 80: 0.004}),
    ],
)
def test_pretraining_on_noisy_labels_is_the_published_recipe(
    method, batch, group, optimizer, epochs, temperature, dim, views, rates
):
    recipe = config.resolve(config.load_file(str(NL), f"method={method}"), tasks.OPTIONS)
    assert (recipe.task.name, recipe.data.dataset) == (method, "luperson_nl")
    assert (recipe.data.batch_size, recipe.model.bn_group_size) == (batch, group)
    assert (recipe.optim.optimizer, recipe.train.epochs) == (optimizer, epochs)
    assert (recipe.optim.momentum, recipe.optim.weight_decay) == (0.9, 1e-4)
    assert (recipe.task.temperature, recipe.task.feature_dim) == (temperature, dim)
    assert (recipe.augment.recipe, recipe.augment.statistics) == (views, "lmdb_200_20")
    params = {"backbone": {"bn1": {"scale": np.zeros(1)}}, "bias": np.zeros(1)}
    schedule = optim.build(recipe.optim, params, epochs=epochs, steps_per_epoch=7)[1]
    for epoch, rate in rates.items():
        np.testing.assert_allclose(float(schedule(7 * epoch)), rate, rtol=2e-3)
    if method in ("moco", "pnl"):
        assert (recipe.task.queue_size, recipe.task.momentum) == (65536, 0.999)
    if method == "pnl":
        own = recipe.task
        assert (own.cls_dim, own.prototype_momentum, own.query_recipe) == (256, 0.999, "weak")
        assert (own.start_clean_epoch, own.start_supcont_epoch) == (11, 15)
        assert (own.alpha, own.pseudo_threshold) == (0.5, 0.8)
    else:
        assert method == "moco" or recipe.optim.lars_decay_twice


def test_clustering_is_the_published_recipe():
    path = str(ROOT / "configs" / "cluster_contrast.py")
    recipe = config.resolve(config.load_file(path, "data=msmt17,ibn=True"), tasks.OPTIONS)
    assert (recipe.model.arch, recipe.model.ibn) == ("resnet50", True)
    assert (recipe.model.pooling, recipe.model.bn_group_size) == ("gem_learned", 64)
    assert (recipe.data.batch_size, recipe.data.num_instances) == (256, 16)
    assert (recipe.task.k1, recipe.task.k2, recipe.task.eps) == (30, 6, 0.6)
    assert (recipe.task.temperature, recipe.task.momentum) == (0.05, 0.1)
    assert (recipe.train.epochs, recipe.train.steps_per_epoch) == (50, 400)
    assert (recipe.train.init_from, recipe.train.best) == (
        "weights/imagenet_ibn_r50.npz",
        "clusters/silhouette",
    )
    schedule = optim.build(recipe.optim, {"w": np.zeros(1)}, epochs=50, steps_per_epoch=400)[1]
    rates = [float(schedule(400 * epoch)) for epoch in (0, 19, 20, 40)]
    np.testing.assert_allclose(rates, [3.5e-4, 3.5e-4, 3.5e-5, 3.5e-6], rtol=1e-6)
    vehicles = config.resolve(config.load_file(path, "data=veri776,init=lup"), tasks.OPTIONS)
    assert (vehicles.data.size, vehicles.augment.statistics) == ((224, 224), "lup_finetune")
    market = config.resolve(config.load_file(path), tasks.OPTIONS)
    assert (market.train.steps_per_epoch, market.data.size) == (200, (256, 128))
    path = str(ROOT / "configs" / "spcl.py")
    recipe = config.resolve(config.load_file(path, "data=msmt17,ibn=True"), tasks.OPTIONS)
    assert (recipe.model.pooling, recipe.model.bn_group_size) == ("avg", 16)
    assert (recipe.data.batch_size, recipe.data.num_instances) == (64, 4)
    assert (recipe.task.eps, recipe.task.eps_gap, recipe.task.momentum) == (0.6, 0.02, 0.2)
    assert (recipe.train.steps_per_epoch, recipe.task.temperature) == (800, 0.05)
    path = str(ROOT / "configs" / "calr.py")
    recipe = config.resolve(config.load_file(path, "data=msmt17"), tasks.OPTIONS)
    assert (recipe.task.name, recipe.task.k1, recipe.task.k2) == ("calr", 15, 4)
    assert (recipe.data.batch_size, recipe.data.num_instances) == (256, 16)
    assert (recipe.task.camera_epochs, recipe.task.weights_from_epoch) == (3, 5)
    assert (recipe.train.epochs, recipe.train.steps_per_epoch) == (50, 400)
    old = config.resolve(config.load_file(path, "data=msmt17,recipe=msmt17"), tasks.OPTIONS)
    assert (old.task.camera_epochs, old.task.weights_from_epoch, old.train.epochs) == (0, -1, 70)
    assert (old.data.batch_size, old.data.num_instances) == (64, 4)
    local = config.resolve(config.load_file(path, "stage=local"), tasks.OPTIONS)
    assert (local.task.name, local.task.images_per_cluster) == ("calr_local", 5)
    assert (local.data.batch_size, local.data.num_instances) == (256, 4)
    assert (local.train.epochs, local.train.steps_per_epoch) == (20, 100)
