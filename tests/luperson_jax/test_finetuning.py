import dataclasses
import math
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.table.records import make_table
from luperson_jax import config, finetuning, tasks
from luperson_jax.optim import build as build_optimizer
from luperson_jax.run import loop, states
from luperson_jax.tasks import base
from tests.helpers import tiny

METHODS = ("bot", "agw", "sbs", "mgn")
WORDS = typing.get_args(typing.get_type_hints(finetuning.Arguments)["init"])
TAKEN = {init: weights for init, weights in finetuning.WEIGHTS.items() if init in WORDS}


def recipe_of(method: str, data: str, argument: str = "") -> config.Recipe:
    chosen = f"finetune_{method}:data={data},{argument}"
    return config.resolve(config.read(chosen, options=tasks.OPTIONS), tasks.OPTIONS)


def test_weights_decide_on_statistics_and_extra_normalization():
    for init, weights in TAKEN.items():
        recipe = recipe_of("mgn", "duke", f"init={init},depth=152")
        assert recipe.model.arch == "resnet152"
        assert recipe.task.extra_bn == weights.extra_bn == (init not in ("imagenet", "scratch"))
        assert recipe.augment.statistics == weights.statistics
        path = "" if init == "scratch" else f"weights/{init}_r152.npz"
        assert recipe.train.init_from == path


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        ("", "luperson convert lup_moco_r50.pth weights/lup_r50.npz --statistics lup"),
        (
            "init=nl,depth=101",
            "luperson convert lupws_r101.pth weights/nl_r101.npz --statistics lmdb_200_20",
        ),
    ],
)
def test_missing_weights_are_said_before_the_data_is_read(argument, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = recipe_of("bot", "duke", argument)
    with pytest.raises(InputError) as caught:
        loop.run(recipe, str(tmp_path / "run"), tasks.TASKS["identify"])
    assert command in str(caught.value)
    assert "init=scratch" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_weights_are_needed_to_begin_and_not_to_go_on(tmp_path):
    recipe = tiny("identify", "", train__init_from=str(tmp_path / "own.pth"))
    with pytest.raises(InputError, match=r"own\.pth' does not exist; give the workdir"):
        states.check_origin(recipe, tmp_path)
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    states.check_origin(recipe, tmp_path)


def test_splits_become_subsets():
    recipe = recipe_of("bot", "cuhk03", "split=im,ratio=0.3,repeat=2")
    assert (recipe.data.subset, recipe.data.ratio, recipe.data.repeat) == ("images", 0.3, 2)


@pytest.mark.parametrize("method", METHODS)
def test_recipes_are_those_of_the_reference(method):
    recipe = recipe_of(method, "market1501")
    model, task, optim = recipe.model, recipe.task, recipe.optim
    strong = method in ("sbs", "mgn")
    assert recipe.data.size == ((384, 128) if strong else (256, 128))
    assert recipe.data.num_instances == (16 if strong else 4)
    assert (recipe.data.batch_size, recipe.data.sampler) == (64, "pk")
    assert recipe.train.epochs == (60 if strong else 120)
    assert model.non_local == (method in ("agw", "sbs"))
    pooling = {"bot": "avg", "agw": "gem"}.get(method, "gem_learned")
    assert (model.last_stride, model.pooling) == (1, pooling)
    assert task.classifier == ("circle" if strong else "linear")
    assert (task.classifier_scale, task.classifier_margin) == (64.0, 0.35)
    assert task.triplet_feature == ("after" if strong else "before")
    assert task.margin == (0.3 if method == "bot" else 0.0)
    assert task.mining == ("weighted_fastreid" if method == "agw" else "hard")
    assert (task.network, task.embedding_dim) == (
        ("mgn", 256) if method == "mgn" else ("baseline", 0)
    )
    assert (optim.optimizer, optim.lr, optim.weight_decay) == ("adam", 3.5e-4, 5e-4)
    assert (optim.warmup_epochs, optim.warmup_factor) == (10, 0.01)
    assert optim.lr_factors == (() if strong else (("bias$", 2.0),))
    assert optim.freeze_epochs == (10 if strong else 0)
    assert (optim.freeze_steps, optim.freeze_statistics) == (0, True)
    assert recipe.augment.recipe == "finetune"  # in all of their files for unsupervised weights
    assert task.extra_bn
    if strong:
        assert (optim.schedule, optim.flat_epochs, optim.final_lr) == ("flat_cosine", 30, 7.7e-7)
    else:
        assert (optim.schedule, optim.milestones) == ("warmup_multistep", (40, 90))


@pytest.mark.parametrize("method", METHODS)
def test_data_sets_differ_in_nothing_but_their_name(method):
    market1501 = config.to_dict(recipe_of(method, "market1501"))
    for word, name in finetuning.DATA.items():
        tree = config.to_dict(recipe_of(method, word))
        assert tree["data"].pop("dataset") == tree["eval"].pop("dataset") == name
        rest = {group: {**market1501[group], **tree[group]} for group in market1501}
        assert rest == market1501


BASELINES = ("bot", "agw", "sbs")


@pytest.mark.parametrize("method", BASELINES)
@pytest.mark.parametrize("init", ["imagenet", "lup"])
def test_upstream_recipes_are_those_of_fastreid(method, init):
    upstream = recipe_of(method, "duke", f"recipe=upstream,init={init}")
    fork = recipe_of(method, "duke", f"recipe=fork,init={init}")
    optim, strong = upstream.optim, method == "sbs"
    assert not upstream.task.extra_bn
    assert upstream.augment.statistics == finetuning.WEIGHTS[init].statistics
    assert upstream.augment.recipe == "finetune-fastreid" + ("-auto" if strong else "")
    assert (optim.warmup_epochs, optim.warmup_steps, optim.warmup_factor) == (0, 2000, 0.1)
    assert optim.lr_factors == ()
    assert (optim.freeze_epochs, optim.freeze_steps) == (0, 1000 if strong else 0)
    assert optim.freeze_statistics != strong
    assert optim.final_lr == (7e-7 if strong else 0.0)
    # All else is shared.
    same = {"task": {"extra_bn"}, "augment": {"recipe"}, "eval": {"every_epochs"}}
    for group in ("model", "task", "data", "augment", "train", "eval"):
        one, two = (dataclasses.asdict(getattr(each, group)) for each in (upstream, fork))
        differ = {key for key in one if one[key] != two[key]}
        assert differ <= same.get(group, set()), group


@pytest.mark.parametrize("method", BASELINES)
def test_each_recipe_has_its_own_weights_to_start_from(method):
    assert recipe_of(method, "msmt17").train.init_from == "weights/lup_r50.npz"
    upstream = recipe_of(method, "msmt17", "recipe=upstream")
    assert upstream.train.init_from == "weights/imagenet_r50.npz"
    assert upstream.augment.statistics == "imagenet"


def test_auto_augment_of_the_fork_is_off_for_unsupervised_weights():
    for init, weights in TAKEN.items():
        recipe = recipe_of("sbs", "market1501", f"init={init}").augment.recipe
        assert recipe == ("finetune" if weights.extra_bn else "finetune-auto-1gpu")


def test_mgn_is_that_of_the_fork_alone():
    with pytest.raises(InputError, match="only BoT, AGW and SBS"):
        recipe_of("mgn", "duke", "recipe=upstream")


def fastreid_rates(method: str, steps: int) -> list[float]:
    """The rate of every iteration, stepped as FastReID's loop steps its two schedulers."""
    rates, passed, warmed = [], 0, 0
    for epoch in range(60 if method == "sbs" else 120):
        for _ in range(steps):
            if method == "sbs":
                rate = 7e-7 + (3.5e-4 - 7e-7) * (1 + math.cos(math.pi * passed / 30)) / 2
            else:
                rate = 3.5e-4 * 0.1 ** ((passed >= 40) + (passed >= 90))
            share = min(warmed / 2000, 1)
            rates.append(rate * (0.1 * (1 - share) + share))
            if len(rates) <= 2000:
                warmed += 1
        is_late = epoch + 1 > 30 if method == "sbs" else True
        if len(rates) + 1 > 2000 and is_late:
            passed += 1
    return rates


@pytest.mark.parametrize("method", BASELINES)
@pytest.mark.parametrize("steps", [202, 250, 509])
def test_upstream_rates_are_those_of_fastreids_loop(method, steps):
    options = recipe_of(method, "duke", "recipe=upstream").optim
    params = {"backbone": {"bias": jnp.zeros(1)}}
    expected = fastreid_rates(method, steps)
    epochs = len(expected) // steps
    _, schedule = build_optimizer(options, params, epochs=epochs, steps_per_epoch=steps)
    rates = jax.jit(jax.vmap(schedule))(jnp.arange(len(expected)))
    np.testing.assert_allclose(rates, expected, rtol=2e-4)


def test_strided_groups_hold_every_nth_image_of_a_batch():
    table = make_table([(f"{i:04d}.jpg", i // 8, i % 2, -1) for i in range(128)])
    sizes = {"data__batch_size": 16, "data__num_instances": 4, "model__bn_group_size": 4}
    plain = base.make_sampler(tiny("identify", "", **sizes))(table, 3, 4)
    strided = base.make_sampler(tiny("identify", "", data__strided_groups=True, **sizes))(
        table, 3, 4
    )
    groups = strided.reshape(len(strided), 4, 4)
    for i in range(4):
        np.testing.assert_array_equal(groups[:, i], plain[:, i::4])
    # Four identities of four images in a batch: every group has one image of each.
    assert (np.diff(np.sort(table.pid[groups], axis=-1), axis=-1) > 0).all()
