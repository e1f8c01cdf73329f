"""The door: what a configuration may say and what it gets told."""

import dataclasses
import json

import pytest
from ml_collections import ConfigDict

from data_pipeline.errors import InputError
from luperson_jax import config, setting_values, tasks
from luperson_jax.workdir import recipe_file
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
        ({"optim": {"speed_of_it": 1.0}}, ["optim.speed_of_it", "valid are"]),
        ({"optim": {"learning_rte": 1.0}}, ["optim.learning_rte", "did you mean 'lr'"]),
        ({"optim": {"learning_rate": 1.0}}, ["optim.learning_rate", "did you mean 'lr'"]),
        ({"train": {"lr": 1.0}}, ["train.lr", "did you mean 'optim.lr'"]),
        ({"train": {"batch_size": 1}}, ["'data.batch_size' or 'eval.batch_size'"]),
        ({"data": {"batchsize": 1}}, ["did you mean 'batch_size'"]),
        ({"train": {"workers": 1}}, ["did you mean 'data.num_workers'"]),
        ({"optim": {"max_epochs": 1}}, ["did you mean 'train.epochs'"]),
        ({"train": {"weight_decay": 1.0}}, ["did you mean 'optim.weight_decay'"]),
        ({"optim": {"smoothing": 0.1}}, ["valid are"]),  # no setting of this method
        ({"optim": {"lr": float("nan")}}, ["optim.lr", "finite"]),
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
        ({"eval": {"every_epochs": -1}}, ["eval.every_epochs", "at least 0"]),
        ({"train": {"checkpoint_every_epochs": 0}}, ["checkpoint_every_epochs", "at least 1"]),
        ({"data": {"size": (0, 5)}}, ["data.size", "at least 1"]),
        (
            {"optim": {"schedule": "flat_cosine", "warmup_epochs": 10, "flat_epochs": 9}},
            ["optim.flat_epochs=9", "optim.warmup_epochs=10", "train.epochs=200"],
        ),
        (
            {"optim": {"schedule": "flat_cosine", "flat_epochs": 30}, "train": {"epochs": 30}},
            ["optim.flat_epochs=30", "train.epochs=30"],
        ),
        ({"optim": {"freeze": (), "freeze_epochs": 1}}, ["optim.freeze", "('^backbone/',)"]),
        (
            {"optim": {"warmup_epochs": 1, "warmup_steps": 9, "schedule": "warmup_multistep"}},
            ["optim.warmup_epochs=1", "optim.warmup_steps=9"],
        ),
        (
            {"optim": {"freeze_epochs": 1, "freeze_steps": 9}},
            ["optim.freeze_epochs=1", "optim.freeze_steps=9"],
        ),
        ({"optim": {"warmup_steps": 9}}, ["optim.warmup_steps=9", "cosine_per_epoch"]),
        ({"optim": {"freeze_backbone_epochs": 1}}, ["optim.freeze_backbone_epochs", "freeze"]),
        ({"optim": {"micro_batches": 0}}, ["optim.micro_batches", "at least 1"]),
        ({"optim": {"micro_batches": 3}}, ["optim.micro_batches=3", "data.batch_size=64"]),
        ({"optim": {"micro_batches": 2}}, ["whole groups of model.bn_group_size=0"]),
    ],
)
def test_mistakes_are_named_with_the_remedy(groups, words):
    with pytest.raises(InputError) as caught:
        resolve(**groups)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("data.root=2024", "2024"),
        ("data.root='a b=c'", "a b=c"),
        ("data.root=(1, 2)", "(1, 2)"),
        ("data.root=", ""),
        ("augment.statistics=0.3,0.3,0.3,0.2,0.2,0.2", "0.3,0.3,0.3,0.2,0.2,0.2"),
        ("train.epochs=3", 3),
        ("optim.lr=1", 1.0),
        ("optim.lr=1e-3", 1e-3),
        ("model.ibn=true", True),
        ("model.ibn=0", False),
        ("model.arch=resnet18", "resnet18"),
        ("data.size=384,128", (384, 128)),
        ("data.size=(384, 128)", (384, 128)),
        ("data.size=384x128", (384, 128)),
        ("optim.milestones=(40,)", (40,)),
        ("optim.milestones=40,90", (40, 90)),
        ("optim.milestones=()", ()),
        ("optim.freeze=backbone", ("backbone",)),
        ("optim.freeze=('backbone', 'neck')", ("backbone", "neck")),
        ("task.queue_size=8", 8),
        ("task.shuffle_bn=False", False),
    ],
)
def test_text_takes_the_type_of_its_setting(change, value):
    tree = {"task": {"name": "moco"}}
    changed = config.override(tree, change, tasks.OPTIONS)
    assert tree == {"task": {"name": "moco"}}
    group, key = change.partition("=")[0].split(".")
    found = getattr(getattr(config.resolve(changed, tasks.OPTIONS), group), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train.epochs=1.5", "expected a whole number"),
        ("optim.lr=high", "expected a number"),
        ("model.ibn=maybe", "True or False"),
        ("data.size=1", "2 values"),
        ("optim.lr", "GROUP.SETTING=VALUE"),
        ("lr=1", "GROUP.SETTING=VALUE"),
        ("optm.lr=1", "'optim'"),
        ("optim.learning_rate=1", "did you mean 'lr'"),
        ("task.label_smoothing=1", "task.label_smoothing"),
    ],
)
def test_text_that_is_no_such_value_is_named(change, words):
    with pytest.raises(InputError, match=words):
        config.override({"task": {"name": "moco"}}, change, tasks.OPTIONS)


def test_a_change_of_the_method_decides_on_the_settings_that_follow():
    tree = config.override({"task": {"name": "moco"}}, "task.name=identify", tasks.OPTIONS)
    tree = config.override(tree, "task.margin=0", tasks.OPTIONS)
    assert config.resolve(tree, tasks.OPTIONS).task.margin == 0.0


def test_words_of_other_programs_name_settings_that_exist():
    groups = {field.name: field.type for field in dataclasses.fields(config.Recipe)}
    known = {
        f"{group}.{one.name}"
        for group, kind in groups.items()
        if group != "task"
        for one in dataclasses.fields(kind)
    }
    known |= {
        f"task.{one.name}" for kind in tasks.OPTIONS.values() for one in dataclasses.fields(kind)
    }
    assert set(setting_values.SYNONYMS) - known == {"task.name"}


def test_json_round_trip_gives_the_same_recipe():
    recipe = tiny("identify", "/data")
    text = json.dumps(config.to_dict(recipe))
    assert config.resolve(json.loads(text), tasks.OPTIONS) == recipe
    assert config.resolve(ConfigDict(json.loads(text)), tasks.OPTIONS) == recipe


def test_differences_pass_over_what_does_not_change_the_parameters():
    old, new = config.to_dict(tiny("moco", "/a")), config.to_dict(tiny("moco", "/b"))
    new["eval"]["batch_size"] = 99
    assert recipe_file.differences(old, new) == []
    new["optim"]["lr"] = 7.0
    assert recipe_file.differences(old, new) == []
    new["optim"]["optimizer"] = "adam"
    assert recipe_file.differences(old, new) == ["optim.optimizer: 'sgd' there, 'adam' here"]


def test_missing_file_is_named():
    with pytest.raises(InputError, match=r"nowhere\.py"):
        config.load_file("nowhere.py")


def test_a_misspelt_file_gets_the_nearest_one(tmp_path):
    (tmp_path / "finetune_bot.py").touch()
    with pytest.raises(InputError, match=r"did you mean '.*/finetune_bot\.py'"):
        config.load_file(str(tmp_path / "finetune_bo.py"))


@pytest.mark.parametrize(
    ("text", "argument", "words"),
    [
        ("", None, "get_config"),
        ("def get_config(:", None, "get_config"),
        ("\ndef get_config():\n    return 1 / 0\n", None, "fails in line 3 .*ZeroDivisionError"),
        ("def get_config():\n    return {}\n", "word", "argument 'word'"),
        ("def get_config(a):\n    raise ValueError('odd')\n", "word", "argument 'word': odd"),
    ],
)
def test_a_file_that_fails_is_named(text, argument, words, tmp_path):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(InputError, match=words):
        config.load_file(str(tmp_path / "own.py"), argument)


def write_with(folder, **former):
    """A workdir whose checkpoints belong to a recipe with other settings in `optim`."""
    recipe = tiny("identify", "/data")
    written = config.to_dict(recipe)
    text = json.dumps({**written, "optim": {**written["optim"], **former}})
    (folder / recipe_file.RECIPE_FILE).write_text(text)
    (folder / "checkpoints" / "1").mkdir(parents=True)
    return recipe, written, folder


def test_a_setting_that_is_no_more_is_passed_over_where_it_was_off(tmp_path):
    recipe_file.check_workdir(*write_with(tmp_path, freeze_backbone_epochs=0))


def test_a_run_that_used_a_setting_that_is_no_more_cannot_go_on(tmp_path):
    with pytest.raises(InputError, match=r"optim\.freeze_backbone_epochs: 5 there"):
        recipe_file.check_workdir(*write_with(tmp_path, freeze_backbone_epochs=5))


@pytest.mark.parametrize(
    "may_change", [recipe_file.MAY_CHANGE, recipe_file.MAY_CHANGE_IN_EVALUATION]
)
def test_checkpoints_without_their_recipe_belong_to_nobody(may_change, tmp_path):
    recipe, written, folder = write_with(tmp_path)
    recipe_file.check_workdir(recipe, written, folder, may_change)
    (folder / recipe_file.RECIPE_FILE).unlink()
    with pytest.raises(InputError, match=r"put back the recipe\.json .* or give another --workdir"):
        recipe_file.check_workdir(recipe, written, folder, may_change)
    (folder / "checkpoints" / "1").rmdir()
    recipe_file.check_workdir(recipe, written, folder, may_change)


def test_a_damaged_recipe_is_to_be_put_back(tmp_path):
    recipe, written, folder = write_with(tmp_path)
    (folder / recipe_file.RECIPE_FILE).write_text('{"model": ')
    with pytest.raises(InputError, match=r"recipe\.json is damaged") as caught:
        recipe_file.check_workdir(recipe, written, folder)
    assert "put back" in str(caught.value)
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"lr"', '{"data": []}', '{"optim": 3}'])
def test_a_recipe_file_without_groups_of_settings_is_a_message(tmp_path, text):
    (tmp_path / recipe_file.RECIPE_FILE).write_text(text)
    with pytest.raises(InputError, match="holds no groups of settings"):
        recipe_file.read(tmp_path)
