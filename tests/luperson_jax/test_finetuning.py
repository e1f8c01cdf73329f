import itertools
import pathlib

import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.records import make_table
from luperson_jax import config, finetuning, tasks
from luperson_jax.tasks import base
from tests.helpers import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]
METHODS, SETS = ("bot", "agw", "sbs", "mgn"), ("market1501", "duke", "msmt17", "cuhk03")


def recipe_of(method: str, data: str, argument: str = "") -> config.Recipe:
    path = str(ROOT / "configs" / f"finetune_{method}_{data}.py")
    return config.resolve(config.load_file(path, argument), tasks.OPTIONS)


def test_arguments_are_read_and_the_rest_keeps_its_default():
    arguments = finetuning.parse("depth=101, init=nl,split=id,ratio=0.1")
    assert arguments == finetuning.Arguments(101, "nl", "id", 0.1, 1)
    assert finetuning.parse("") == finetuning.Arguments()


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("dept=101", "did you mean 'depth'"),
        ("depth", "depth=..."),
        ("depth=deep", "expected a int"),
        ("init=imagnet", "expected lup, nl, imagenet"),
        ("split=ids", "expected id, im"),
    ],
)
def test_wrong_arguments_are_named(argument, words):
    with pytest.raises(InputError, match=words):
        finetuning.parse(argument)


def test_weights_decide_on_statistics_and_extra_normalization():
    for init, weights in finetuning.WEIGHTS.items():
        recipe = recipe_of("mgn", "duke", f"init={init},depth=152")
        assert recipe.model.arch == "resnet152"
        assert recipe.task.extra_bn == weights.extra_bn == (init not in ("imagenet", "scratch"))
        assert recipe.augment.statistics == weights.statistics
        path = "" if init == "scratch" else f"weights/{init}_r152.npz"
        assert recipe.train.init_from == path


def test_splits_become_subsets():
    recipe = recipe_of("bot", "cuhk03", "split=im,ratio=0.3,repeat=2")
    assert (recipe.data.subset, recipe.data.ratio, recipe.data.repeat) == ("images", 0.3, 2)


@pytest.mark.parametrize(("method", "data"), list(itertools.product(METHODS, SETS)))
def test_recipes_are_those_of_the_reference(method, data):
    recipe = recipe_of(method, data)
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
    assert task.mining == ("weighted" if method == "agw" else "hard")
    assert (task.network, task.embedding_dim) == (
        ("mgn", 256) if method == "mgn" else ("baseline", 0)
    )
    assert (optim.optimizer, optim.lr, optim.weight_decay) == ("adam", 3.5e-4, 5e-4)
    assert (optim.warmup_epochs, optim.warmup_factor) == (10, 0.01)
    assert optim.bias_lr_multiplier == (1.0 if strong else 2.0)
    assert optim.freeze_epochs == (10 if strong else 0)
    if strong:
        assert (optim.schedule, optim.flat_epochs, optim.final_lr) == ("flat_cosine", 30, 7.7e-7)
    else:
        assert (optim.schedule, optim.milestones) == ("warmup_multistep", (40, 90))
    assert recipe.data.dataset == recipe.eval.dataset
    names = {"duke": "dukemtmc", "cuhk03": "cuhk03_np_labeled"}
    assert recipe.data.dataset == names.get(data, data)


def test_strided_groups_hold_every_nth_image_of_a_batch():
    table = make_table([(f"{i:04d}.jpg", i // 8, i % 2, -1) for i in range(128)])
    sizes = {"data__batch_size": 16, "data__num_instances": 4, "model__bn_group_size": 4}
    plain = base.make_sampler(tiny("identify", "", **sizes))(table, 3)
    strided = base.make_sampler(tiny("identify", "", data__strided_groups=True, **sizes))(table, 3)
    groups = strided.reshape(len(strided), 4, 4)
    for i in range(4):
        np.testing.assert_array_equal(groups[:, i], plain[:, i::4])
    # Four identities of four images in a batch: every group has one image of each.
    assert (np.diff(np.sort(table.pid[groups], axis=-1), axis=-1) > 0).all()
