"""The pictures that a run trains on."""

import numpy as np

from data_pipeline import datasets, subsets
from data_pipeline.errors import InputError
from data_pipeline.subsets import merge
from data_pipeline.table import samplers
from data_pipeline.table.records import UNLABELLED, Table
from luperson_jax import setting_names, sharding
from luperson_jax.augment import recipes
from luperson_jax.config import DataConfig, Recipe

SEVERAL = "several"
"""In place of a data set: `data.root` lists them, as NAME=FOLDER separated by commas."""
MAX_STEPS = 2**31 - 1
"""Steps are counted in int32."""


@setting_names.named()
def load(data: DataConfig) -> tuple[Table, str]:
    """What the group `data` trains on.

    Returns:
        the rows, and the fingerprint of the whole training set; of a part of it, also the part's,
        after a slash.

    Raises:
        InputError: wrong data or settings, or the processes of the job see different data.
    """
    if data.dataset == SEVERAL:
        table = merge.training_table(data.root, "data.root", data.split)
    else:
        table = datasets.load(data.dataset, data.root, "data.root", data.split).train
    root = "" if data.dataset == SEVERAL else data.root
    chosen = (data.subset, data.ratio, data.repeat, data.subset_list, data.subset_seed)
    part = _of_camera(subsets.apply(table, root, *chosen), data)
    fingerprint = table.fingerprint()
    if part is not table:
        fingerprint += f"/{part.fingerprint()}"
    sharding.check_alike({"the training images": fingerprint})
    return part, fingerprint


def _of_camera(table: Table, data: DataConfig) -> Table:
    """The images of `data.camera`."""
    if data.camera < 0:
        return table
    rows = np.flatnonzero(table.camera == data.camera)
    if not len(rows):
        cameras = ", ".join(map(str, np.unique(table.camera)))
        raise InputError(
            f"data.camera={data.camera} has no training image of {data.dataset} at {data.root!r}, "
            f"whose cameras are {cameras}"
        )
    return table.take(rows)


def with_identities(table: Table, data: DataConfig) -> tuple[Table, int]:
    """The rows that a method with labels can learn from.

    Args:
        table: of the group `data`.
        data: that group, for the message.

    Returns:
        the rows whose identity is known, numbered 0..C-1, and how many others were left out.

    Raises:
        InputError: none is left.
    """
    known = np.flatnonzero(table.pid != UNLABELLED)
    if not len(known):
        raise InputError(
            f"none of the {len(table)} training images of {data.dataset} at {data.root!r} has an "
            "identity, and this method learns from identities; name a labelled data set in "
            "data.dataset, or a method without labels in task.name, such as moco"
        )
    num_left_out = len(table) - len(known)
    return (table.take(known) if num_left_out else table).relabelled(), num_left_out


def check_sources(recipe: Recipe, table: Table, steps_per_epoch: int) -> None:
    """What mixes several data sets fits them.

    Raises:
        InputError: weights or pixel statistics of another number than data sets, weights that leave
            one of them out, a sampler that does not weigh, or a data set of which nothing is left.
    """
    data, weights = recipe.data, recipe.data.weights
    num = len(merge.parse(data.root, "data.root")) if data.dataset == SEVERAL else 1
    pixels = recipes.statistics_of_each(recipe.augment.statistics)
    wrong = {
        "data.weights": len(weights) * (len(weights) != num or num == 1),
        "augment.statistics": len(pixels) * (len(pixels) not in (1, num)),
    }
    for setting, given in wrong.items():
        if given:
            raise InputError(
                f"{setting} is for {given} data sets, and data.dataset={data.dataset!r} with "
                f"data.root={data.root!r} has {num}; give one value for each, in that order"
            )
    if not weights:
        return
    if data.sampler != "shuffled":
        raise InputError(f"data.weights goes with data.sampler=shuffled, not {data.sampler}")
    assert table.source is not None
    left = np.bincount(table.source, minlength=num)
    drawn = samplers.shares(weights, steps_per_epoch * data.batch_size)
    for place in range(num):
        if not left[place] or not drawn[place]:
            raise InputError(
                f"data.weights={weights}: of data set {place + 1} of data.root {left[place]} "
                f"pictures can be trained on, and {drawn[place]} would be drawn in an epoch; "
                "expected 1 or more of both"
            )


def steps_per_epoch(recipe: Recipe, table: Table) -> int:
    """How many steps are an epoch: `train.steps_per_epoch`, or as many as the table fills.

    Raises:
        InputError: the table fills none, or all epochs have more than a number of 32 bits counts.
    """
    steps = recipe.train.steps_per_epoch or len(table) // recipe.data.batch_size
    if not steps:
        raise InputError(
            f"{recipe.data.root!r} has {len(table)} training images, fewer than one batch of "
            f"data.batch_size={recipe.data.batch_size}; lower it, or set train.steps_per_epoch: "
            "images then come again within a batch"
        )
    if steps * recipe.train.epochs > MAX_STEPS:
        raise InputError(
            f"train.epochs={recipe.train.epochs} of {steps} steps are more than {MAX_STEPS} steps, "
            "which is as far as they are counted; lower train.epochs or train.steps_per_epoch"
        )
    return steps
