"""Small recipes that the tests share."""

from typing import Any

import jax
import numpy as np

from luperson_jax import config, tasks
from luperson_jax.run import loop
from luperson_jax.workdir import checkpoint

SIZE = (32, 16)

TINY_MODEL = {"arch": "resnet18", "width": 8, "compute_dtype": "float32"}

SUPERVISED = {
    "data": {"dataset": "market1501", "batch_size": 16, "sampler": "pk", "num_instances": 4},
    "augment": {"recipe": "finetune"},
    "optim": {"optimizer": "adam", "lr": 1e-3, "warmup_epochs": 1, "freeze_epochs": 0},
}

TINY = {
    "moco": {
        "task": {"name": "moco", "queue_size": 40, "feature_dim": 16, "momentum": 0.9},
        "model": {**TINY_MODEL, "bn_group_size": 4},
        "data": {"dataset": "image_folder", "batch_size": 16},
        "augment": {"recipe": "ori-cj+sre", "statistics": "lup"},
        "optim": {"lr": 0.05},
    },
    "simclr": {
        "task": {"name": "simclr", "feature_dim": 16},
        "model": {**TINY_MODEL, "bn_group_size": 8},
        "data": {"dataset": "image_folder", "batch_size": 16},
        "augment": {"recipe": "weak", "statistics": "lmdb_200_20"},
        "optim": {
            "optimizer": "lars",
            "lr": 0.3,
            "peak_multiplier": 2.0,
            "warmup_epochs": 1,
            "lars_excluded": "^backbone/.*scale$|bias$",
        },
    },
    "supcont": {
        "task": {"name": "supcont", "feature_dim": 16},
        "model": {**TINY_MODEL, "bn_group_size": 8},
        "data": {"dataset": "market1501", "batch_size": 16},
        "augment": {"recipe": "weak", "statistics": "lmdb_200_20"},
        "optim": {"optimizer": "lars", "lr": 0.1},
    },
    "pnl": {
        "task": {
            "name": "pnl",
            "queue_size": 40,
            "feature_dim": 16,
            "cls_dim": 8,
            "class_multiple": 4,
            "momentum": 0.9,
            "start_clean_epoch": 1,
            "start_supcont_epoch": 1,
        },
        "model": {**TINY_MODEL, "bn_group_size": 4},
        "data": {"dataset": "market1501", "batch_size": 16},
        "augment": {"recipe": "weak", "statistics": "lmdb_200_20"},
        "optim": {"lr": 0.05, "schedule": "step_per_epoch", "milestones": (1,)},
    },
    "identify": {
        "task": {"name": "identify", "extra_bn": True},
        "model": {**TINY_MODEL, "last_stride": 1, "bn_group_size": 8},
        **SUPERVISED,
        "optim": {
            **SUPERVISED["optim"],
            "schedule": "warmup_multistep",
            "milestones": (1,),
            "lr_factors": (("bias$", 2.0),),
        },
    },
    "cluster_contrast": {
        "task": {"name": "cluster_contrast", "capacity": 8, "k1": 6, "k2": 2, "min_samples": 2},
        "model": {**TINY_MODEL, "last_stride": 1, "pooling": "gem_learned", "bn_group_size": 8},
        **SUPERVISED,
        "data": {**SUPERVISED["data"], "sampler": "pk_across"},
        "optim": {"optimizer": "adam", "lr": 1e-3, "schedule": "step_per_epoch"},
    },
    "spcl": {
        "task": {"name": "spcl", "k1": 6, "k2": 2, "min_samples": 2, "eps_gap": 0.1},
        "model": {**TINY_MODEL, "last_stride": 1, "bn_group_size": 8},
        **SUPERVISED,
        "data": {**SUPERVISED["data"], "sampler": "pk_across"},
        "optim": {"optimizer": "adam", "lr": 1e-3, "schedule": "step_per_epoch"},
    },
    "calr": {
        "task": {"name": "calr", "capacity": 8, "k1": 6, "k2": 2, "min_samples": 2},
        "model": {**TINY_MODEL, "last_stride": 1, "bn_group_size": 8},
        **SUPERVISED,
        "data": {**SUPERVISED["data"], "sampler": "pk_across"},
        "optim": {"optimizer": "adam", "lr": 1e-3, "schedule": "step_per_epoch"},
    },
    "calr_local": {
        "task": {"name": "calr_local", "k1": 6, "k2": 2, "images_per_cluster": 6},
        "model": {**TINY_MODEL, "last_stride": 1, "bn_group_size": 8},
        **SUPERVISED,
        "data": {**SUPERVISED["data"], "sampler": "pk_across"},
        "optim": {"optimizer": "adam", "lr": 1e-3, "schedule": "step_per_epoch"},
    },
    "upmnet": {
        "task": {"name": "upmnet", "parts": 2, "relation_dim": 8, "warm_up_epochs": 1},
        "model": {**TINY_MODEL, "last_stride": 1, "bn_group_size": 8},
        "data": {"dataset": "luperson_nl", "batch_size": 16},
        "augment": {"recipe": "test"},
        "optim": {"optimizer": "rmsprop", "lr": 0.01, "clip_value": 2.0},
    },
    "sbs": {
        "task": {
            "name": "identify",
            "classifier": "circle",
            "margin": 0.0,
            "triplet_feature": "after",
            "circle_weight": 0.1,
        },
        "model": {
            **TINY_MODEL,
            "last_stride": 1,
            "pooling": "gem_learned",
            "non_local": True,
        },
        **SUPERVISED,
    },
    "mgn": {
        "task": {
            "name": "identify",
            "network": "mgn",
            "embedding_dim": 16,
            "extra_bn": True,
            "classifier": "circle",
            "mining": "weighted",
            "margin": 0.0,
            "triplet_feature": "after",
        },
        "model": {
            **TINY_MODEL,
            "stem": "small",
            "last_stride": 1,
            "pooling": "gem_learned",
            "bn_group_size": 8,
        },
        **SUPERVISED,
        "optim": {
            **SUPERVISED["optim"],
            "schedule": "flat_cosine",
            "flat_epochs": 1,
            "freeze": ("^(backbone|b[123])/",),
        },
    },
}
"""Small recipes; several of one method where its networks differ."""


def tiny(name: str, root: Any, **changes: Any) -> config.Recipe:
    """The small recipe of a method; changes are `group__setting=value`."""
    tree = {group: dict(values) for group, values in TINY[name].items()}
    tree["data"] |= {"root": str(root), "canvas": SIZE, "size": SIZE, "num_workers": 0}
    tree |= {"train": {"epochs": 2, "log_every_steps": 1}, "eval": {"batch_size": 16}}
    for path, value in changes.items():
        group, setting = path.split("__")
        tree[group][setting] = value
    return config.resolve(tree, tasks.OPTIONS)


def run(recipe: config.Recipe, workdir: Any) -> Any:
    """Trains to the end of a recipe."""
    return loop.run(recipe, str(workdir), tasks.TASKS[recipe.task.name])


def final(workdir: Any) -> tuple[int, Any]:
    """Step and tree of the newest checkpoint."""
    return checkpoint.Checkpoints(workdir, read_only=True).read()


def assert_trees_equal(first: Any, second: Any) -> None:
    """Same structure and the same bits in every leaf."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for (path, one), two in zip(
        jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(second), strict=True
    ):
        np.testing.assert_array_equal(
            np.asarray(one), np.asarray(two), err_msg=jax.tree_util.keystr(path)
        )


def assert_equal_to_rounding(first: Any, second: Any, *, lr: float) -> None:
    """Two checkpoints of one run that differ by rounding, after a few steps at a low rate.

    The optimizer's moments are compared as a whole and loosely: a unit that rounding moves across
    the kink of its ReLU leaves the loss as it is and changes gradients by some percent.
    """
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert int(first["step"]) == int(second["step"])
    for group in ("params", "extra"):
        pairs = zip(
            jax.tree_util.tree_leaves_with_path(first[group]),
            jax.tree.leaves(second[group]),
            strict=True,
        )
        for (path, one), two in pairs:
            one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
            # Adam makes steps of the size of the rate out of a gradient that is mere rounding.
            allowed = 1e-3 * np.linalg.norm(one) + 2 * lr * np.sqrt(one.size)
            difference = np.linalg.norm(one - two)
            assert difference <= allowed, (jax.tree_util.keystr(path), difference, allowed)
    one, two = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree["opt_state"])])
        for tree in (first, second)
    )
    assert np.linalg.norm(one - two) <= 0.05 * np.linalg.norm(one)
