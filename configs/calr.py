"""CALR: clusters over all cameras, refined by clusters of each camera alone.

Paper: Yunfei Li et al., "CALR: Camera-Aware Label Refinement for Unsupervised Person
    Re-Identification", 2024, arXiv 2403.16450; values of the authors' commands and code.
Command, in two stages:
    luperson local-labels --config calr:stage=local,data=market1501 --root runs/local \\
        data.root=/data/Market-1501 train.init_from=imagenet_r50.npz
    luperson train --config calr:data=market1501 --workdir runs/calr \\
        task.local_labels=runs/local/local_labels.npz train.init_from=imagenet_r50.npz \\
        data.root=/data/Market-1501 eval.root=/data/Market-1501
Arguments: FILE.py:stage=global,data=msmt17,depth=50,ibn=True,pooling=avg,init=lup,recipe=head.
    stage is local (of one camera) or global (the default); the others as in
    configs/cluster_contrast.py. recipe is head (the default, as their program stands), or what an
    older state of it says of its best run: msmt17 (batches of 64, neither the camera loss nor
    weights, 70 epochs, IBN) and market1501 (batches of 64, both in all epochs).
    As their program has them and this one does not by default: task.clustering=infomap (an extra),
    task.pivot=released, task.least_weight=0, task.camera_twice=True.
Hardware of the authors: 4 GPUs (2080 Ti), whose BatchNorm sees 64 images each.
Expected, mAP and Rank-1 of the authors' tables (their clusters are Infomap's):
                     market1501   dukemtmc     msmt17       veri776
    R50, pooling=avg 82.8 92.5    71.5 82.7    44.2 73.0    42.9 88.7
    IBN, pooling=avg 83.7 93.3    72.5 85.2    47.9 75.9    43.9 91.2
    IBN, pooling=gem 84.5 93.6    74.2 86.0    50.4 78.1    44.8 91.6
    Not measured by this program yet.
"""

import dataclasses
from typing import Literal

from ml_collections import ConfigDict

from data_pipeline.errors import InputError
from luperson_jax import arguments, config, finetuning

STEPS = {"market1501": 200, "dukemtmc": 200}  # an epoch; 400 with the others
HISTORIC = {
    "head": {},
    "msmt17": {"task.camera_epochs": 0, "task.weights_from_epoch": -1, "train.epochs": 70},
    "market1501": {"task.camera_epochs": 50, "task.weights_from_epoch": 0},
}
SMALL_BATCHES = {"data.batch_size": 64, "data.num_instances": 4, "model.bn_group_size": 16}


@dataclasses.dataclass(frozen=True)
class Arguments(finetuning.ClusteringArguments):
    """What may stand behind the colon."""

    stage: Literal["local", "global"] = "global"
    recipe: Literal["head", "msmt17", "market1501"] = "head"


def get_config(argument: str = "") -> ConfigDict:
    """Cluster Contrast, and what CALR has of its own."""
    given = arguments.parse(argument, Arguments)
    chosen = config.load_file("cluster_contrast")
    with chosen.unlocked():
        chosen.task = ConfigDict(_local() if given.stage == "local" else _global())
    if given.stage == "local" and given.data in finetuning.VIDEOS:
        raise InputError(
            f"argument stage=local: {given.data} has tracklets in place of local labels"
        )
    finetuning.apply_clustering(chosen, given, {})
    steps = 100 if given.stage == "local" else STEPS.get(given.data, 400)
    changes = {"train.steps_per_epoch": steps}
    if given.stage == "local":
        # 64 clusters of 4 images
        changes |= {"data.num_instances": 4, "train.epochs": 20, "eval.dataset": ""}
    elif given.recipe != "head":
        changes |= SMALL_BATCHES | HISTORIC[given.recipe]
    chosen.update_from_flattened_dict(changes)
    return chosen


def _local() -> dict:
    return {
        "name": "calr_local",
        "k1": 15,
        "k2": 4,
        "images_per_cluster": 5,
        "adaptive": False,
        "temperature": 0.05,
        "momentum": 0.1,
    }


def _global() -> dict:
    return {
        "name": "calr",
        "k1": 15,
        "k2": 4,
        "clustering": "communities",  # the authors have infomap, which needs an extra
        "resolution": 0.1,
        "eps": 0.8,
        "min_similarity": 0.5,  # of infomap
        "min_samples": 5,  # smaller clusters are dissolved
        "temperature": 0.05,
        "momentum": 0.1,
        "local_labels": "",  # of the first stage; empty = clusters are not refined
        "pivot": "best",
        "weights_from_epoch": 5,
        "least_weight": 0.1,
        "camera_epochs": 3,
        "camera_weight": 1.0,
        "units": "images",
    }
