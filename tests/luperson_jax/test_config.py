"""The door: what a configuration may say and what it gets told."""

import json

import pytest
from ml_collections import ConfigDict

from data_pipeline.errors import InputError
from luperson_jax import config, tasks
from tests.helpers import tiny


def resolve(**groups):
    return config.resolve({"task": {"name": "moco"}, **groups}, tasks.OPTIONS)


def test_defaults_fill_what_is_left_out():
    recipe = resolve(optim={"lr": 1})
    assert recipe.optim.lr == 1.0
    assert isinstance(recipe.optim.lr, float)
    assert recipe.task.queue_size == 65536
    assert recipe.data.size == (256, 128)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"optim": {"learning_rte": 1.0}}, ["optim.learning_rte", "valid are"]),
        ({"optim": {"weight_deca": 1.0}}, ["optim.weight_deca", "'weight_decay'"]),
        ({"optm": {}}, ["'optm'", "'optim'"]),
        ({"task": {"name": "mocco"}}, ["'mocco'", "'moco'"]),
        ({"task": {"name": "moco", "queue": 1}}, ["task.queue", "queue_size"]),
        ({"optim": {"lr": "high"}}, ["optim.lr", "float", "'high'"]),
        ({"train": {"epochs": 1.5}}, ["train.epochs", "int", "1.5"]),
        ({"train": {"epochs": True}}, ["train.epochs", "int", "True"]),
        ({"train": {"epochs": 0}}, ["train.epochs", "at least 1"]),
        ({"data": {"size": (1, 2, 3)}}, ["data.size", "2 values"]),
        ({"data": {"sampler": "pkk"}}, ["data.sampler", "'pk'"]),
        ({"model": {"last_stride": 3}}, ["last_stride", "1 or 2"]),
        ({"model": {"bn_group_size": 48}}, ["64", "48", "not divisible"]),
        ({"model": 3}, ["model", "group"]),
        ({"model": {"arch": "resnet51"}}, ["model.arch", "'resnet50'"]),
        ({"eval": {"every_epochs": -1}}, ["eval.every_epochs", "at least 0"]),
        ({"train": {"checkpoint_every_epochs": 0}}, ["checkpoint_every_epochs", "at least 1"]),
        ({"data": {"size": (0, 5)}}, ["data.size", "at least 1"]),
    ],
)
def test_mistakes_are_named_with_the_remedy(groups, words):
    with pytest.raises(InputError) as caught:
        resolve(**groups)
    for word in words:
        assert word in str(caught.value)


def test_json_round_trip_gives_the_same_recipe():
    recipe = tiny("identify", "/data")
    text = json.dumps(config.to_dict(recipe))
    assert config.resolve(json.loads(text), tasks.OPTIONS) == recipe
    assert config.resolve(ConfigDict(json.loads(text)), tasks.OPTIONS) == recipe


def test_differences_pass_over_what_does_not_change_the_parameters():
    old, new = config.to_dict(tiny("moco", "/a")), config.to_dict(tiny("moco", "/b"))
    new["eval"]["batch_size"] = 99
    assert config.differences(old, new) == []
    new["optim"]["lr"] = 7.0
    assert config.differences(old, new) == ["optim.lr: 0.05 there, 7.0 here"]


def test_missing_file_is_named():
    with pytest.raises(InputError, match=r"nowhere\.py"):
        config.load_file("nowhere.py")
