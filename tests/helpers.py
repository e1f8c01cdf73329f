"""Small recipes that the tests share."""

from typing import Any

import jax
import numpy as np

from luperson_jax import config, tasks

SIZE = (32, 16)

TINY_MODEL = {"arch": "resnet18", "width": 8, "compute_dtype": "float32"}

TINY = {
    "moco": {
        "task": {"name": "moco", "queue_size": 40, "feature_dim": 16, "momentum": 0.9},
        "model": {**TINY_MODEL, "bn_group_size": 4},
        "data": {"dataset": "image_folder", "batch_size": 16},
        "augment": {"recipe": "ori-cj+sre", "statistics": "lup"},
        "optim": {"lr": 0.05},
    },
    "identify": {
        "task": {"name": "identify", "extra_bn": True},
        "model": {**TINY_MODEL, "last_stride": 1, "bn_group_size": 8},
        "data": {"dataset": "market1501", "batch_size": 16, "sampler": "pk", "num_instances": 4},
        "augment": {"recipe": "finetune"},
        "optim": {
            "optimizer": "adam",
            "lr": 1e-3,
            "schedule": "warmup_multistep",
            "warmup_epochs": 1,
            "milestones": (1,),
            "bias_lr_multiplier": 2.0,
        },
    },
}


def tiny(name: str, root: Any, **changes: Any) -> config.Recipe:
    """The small recipe of a method; changes are `group__setting=value`."""
    tree = {group: dict(values) for group, values in TINY[name].items()}
    tree["data"] |= {"root": str(root), "canvas": SIZE, "size": SIZE, "num_workers": 0}
    tree |= {"train": {"epochs": 2, "log_every_steps": 1}, "eval": {"batch_size": 16}}
    for path, value in changes.items():
        group, setting = path.split("__")
        tree[group][setting] = value
    return config.resolve(tree, tasks.OPTIONS)


def assert_trees_equal(first: Any, second: Any) -> None:
    """Same structure and the same bits in every leaf."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for (path, one), two in zip(
        jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(second), strict=True
    ):
        np.testing.assert_array_equal(
            np.asarray(one), np.asarray(two), err_msg=jax.tree_util.keystr(path)
        )
