"""The description of a network: what it builds, and how shapes and settings are told from it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from data_pipeline.errors import InputError
from luperson_jax import models, tasks, trees
from luperson_jax.models import NetworkSpec, spec
from tests.helpers import TINY, tiny

SPECS = {
    "backbone": NetworkSpec("backbone", "resnet18", 4, stem="small", pooling="max"),
    "moco": NetworkSpec("moco", "resnet50", 4, head="linear", feature_dim=6, queue_size=10),
    "moco, hidden": NetworkSpec("moco", "resnet18", 4, hidden=9, feature_dim=6),
    "reid": NetworkSpec("reid", "resnet34", 4, ibn=True, extra_bn=True, num_classes=5),
    "sbs": NetworkSpec("reid", "resnet50", 4, non_local=True, pooling="gem_learned"),
    "mgn": NetworkSpec("mgn", "resnet18", 4, embedding_dim=6, num_classes=3, last_stride=1),
}


def shapes_of(module):
    images = jax.ShapeDtypeStruct((1, 96, 32, 3), jnp.float32)
    start = jax.eval_shape(lambda images: models.init(module, jax.random.key(0), images), images)
    return tuple({one: leaf.shape for one, leaf in trees.by_name(tree).items()} for tree in start)


@pytest.mark.parametrize("name", SPECS)
def test_a_description_is_read_off_its_own_shapes(name):
    one = SPECS[name]
    params, stats = one.shapes
    assert stats
    found = spec.describe(params, one.kind, one.last_stride, queue_size=one.queue_size)
    unknown = {} if one.pooling == "gem_learned" else {"pooling": "avg"}  # no parameter tells it
    assert found == dataclasses.replace(one, **unknown)


@pytest.mark.parametrize("name", SPECS)
def test_json_holds_a_description(name):
    one = SPECS[name]
    assert NetworkSpec(**json.loads(json.dumps(dataclasses.asdict(one)))) == one


@pytest.mark.parametrize("name", ["backbone", "moco", "reid", "mgn"])
def test_the_feature_is_one_row_an_image(name):
    one = dataclasses.replace(SPECS[name], num_classes=0)
    images = jax.ShapeDtypeStruct((2, 96, 32, 3), jnp.float32)

    def run(images):
        module = one.build()
        params, state = models.init(module, jax.random.key(0), images)
        outputs, _ = models.apply(module, params, state, images, train=False)
        return one.feature(outputs)

    width = {"backbone": 32, "moco": 6, "reid": 32, "mgn": 48}[name]
    assert jax.eval_shape(run, images).shape == (2, width)


def test_run_time_arguments_change_no_parameter():
    one = SPECS["reid"]
    module = one.build(bn_group_size=2, compute_dtype="bfloat16")
    assert module.backbone.bn_group_size == 2
    params, _ = shapes_of(module)
    assert params | {"classifier/kernel": (32, 5)} == one.shapes[0]


@pytest.mark.parametrize("name", TINY)
def test_a_task_trains_the_network_that_it_describes(name):
    recipe = tiny(name, "", data__size=(96, 32))
    task = tasks.TASKS[recipe.task.name].build(recipe)
    assert shapes_of(task.network) == task.spec.shapes


def test_an_unknown_trunk_is_an_error_with_a_suggestion():
    with pytest.raises(InputError, match=r"model\.arch is 'resnet51'.*'resnet50'"):
        NetworkSpec("backbone", "resnet51")
    with pytest.raises(InputError, match=r"model\.arch is 'resnet51'"):
        tasks.TASKS["moco"].build(tiny("moco", "", model__arch="resnet51"), None)
