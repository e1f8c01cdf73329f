"""uPMnet: unsupervised video re-identification from the tracklets of each camera; DAL by arguments.

Paper: X. Zang, G. Li, W. Gao, X. Shu, "Exploiting Robust Unsupervised Video Person
    Re-identification", IET Image Processing 2022, arXiv 2111.05170; Y. Chen, X. Zhu, S. Gong, "Deep
    Association Learning for Unsupervised Video Person Re-identification", BMVC 2018, arXiv
    1808.07301. Values as the authors' program has them.
Command: luperson train --config upmnet:data=prid2011 --workdir runs/upmnet \\
    data.root=/data/PRID2011 eval.root=/data/PRID2011 train.init_from=imagenet_r50.npz
Ten splits, mean and spread, as the published figures of prid2011 and ilids_vid are made (the
    second in both directions, which --protocol ilids_vid measures of either set):
    luperson study --root runs/ilids --seeds 10 --protocol ilids_vid \\
    --row "uPMnet: upmnet:data=ilids_vid published.rank1=63.1" data.split={seed} \\
    eval.split={seed} data.root=/data/iLIDS eval.root=/data/iLIDS train.init_from=imagenet_r50.npz
Arguments: FILE.py:data=mars,backbone=mobilenet,parts=8,head=fused,relation=frozen. data is prid2011
    (the default), ilids_vid, dukemtmc_videoreid or mars; backbone resnet50 (the default, with the
    strides and weights of torchvision), resnet50_slim or mobilenet (both as the authors have them,
    with TensorFlow 1's resize, from weights of TensorFlow-slim, see docs/converting.md); parts 1,
    2, 4 or 8; head local, global or fused (the default: both on one backbone, where the authors
    train two); relation=frozen leaves the head that knows of the whole person at its random start,
    as in the authors' program. parts=1,head=local is DAL.
Hardware of the authors: one GPU.
Expected, Rank-1 of the authors' README: prid2011 92.0 and ilids_vid 63.1, means of ten splits;
    dukemtmc_videoreid 83.6; which of their backbones gave them is not known. DAL: 85.3, 56.9; mars
    49.3 (second-hand). Not measured by this program yet.
"""

import dataclasses
from typing import Literal

from ml_collections import ConfigDict

from luperson_jax import arguments

BY_DATA = {
    # steps an epoch are frames / 64: about 300 and 330 in the first two, 5775 and 7967
    "prid2011": {"train.epochs": 66},
    "ilids_vid": {"train.epochs": 45},
    "dukemtmc_videoreid": {"train.epochs": 4, "task.warm_up_epochs": 1},
    "mars": {"train.epochs": 12, "task.warm_up_epochs": 1},
}

BY_BACKBONE = {
    "resnet50": {
        "model.arch": "resnet50",
        "augment.statistics": "imagenet",
        "train.init_from": "weights/imagenet_r50.npz",
    },
    "resnet50_slim": {
        "model.arch": "resnet50",
        "model.strides": "slim",
        "data.resize": "bilinear_tf1",
        "augment.statistics": "slim_resnet",
        "train.init_from": "weights/resnet_v1_50.npz",
    },
    "mobilenet": {
        "model.arch": "mobilenet_v1",
        "model.bn_momentum": 0.0003,
        "data.resize": "bilinear_tf1",
        "augment.statistics": "slim_mobilenet",
        "train.init_from": "weights/mobilenet_v1_1.0_224.npz",
    },
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What may stand behind the colon."""

    data: Literal["prid2011", "ilids_vid", "dukemtmc_videoreid", "mars"] = "prid2011"
    backbone: Literal["resnet50", "resnet50_slim", "mobilenet"] = "resnet50"
    parts: Literal[1, 2, 4, 8] = 8
    head: Literal["local", "global", "fused"] = "fused"
    relation: Literal["trained", "frozen"] = "trained"


def get_config(argument: str = "") -> ConfigDict:
    """The run, group by group."""
    given = arguments.parse(argument, Arguments)
    config = ConfigDict()

    config.model = ConfigDict()
    config.model.last_stride = 2  # a map of 8x4
    config.model.bn_group_size = 0
    config.model.bn_momentum = 0.003
    config.model.compute_dtype = "auto"

    config.task = ConfigDict()
    config.task.name = "upmnet"
    config.task.parts = given.parts
    config.task.head = given.head
    config.task.relation_dim = 256
    config.task.margin = 0.5
    config.task.rate = 0.5
    config.task.update = "reference"  # an anchor is the last frame of its tracklet
    config.task.empty_rows = "masked"  # "compete" as in the authors' program
    config.task.warm_up_epochs = 2

    config.data = ConfigDict()
    config.data.dataset = given.data
    config.data.root = ""
    config.data.canvas = (256, 128)
    config.data.resize = "bilinear"
    config.data.size = (256, 128)
    config.data.batch_size = 64  # frames, each from anywhere
    config.data.num_workers = 8

    config.augment = ConfigDict()
    config.augment.recipe = "test"  # none

    config.optim = ConfigDict()
    config.optim.weight_decay = 4e-5
    config.optim.decay_factors = ((r"(^|/)(scale|bias|reduce_bias)$", 0.0),)
    config.optim.clip_value = 2.0

    config.train = ConfigDict()
    config.train.average = "ema"
    config.train.ema_decay = 0.9999
    config.train.log_every_steps = 50
    config.train.keep_checkpoints = 1

    config.eval = ConfigDict()
    config.eval.dataset = given.data
    config.eval.root = ""
    config.eval.batch_size = 64
    config.eval.metric = "cosine"  # the order of Euclidean distances of unit vectors
    config.eval.pool = "max"
    config.eval.weights = "average"
    config.update_from_flattened_dict(BY_DATA[given.data])
    config.update_from_flattened_dict(BY_BACKBONE[given.backbone])
    config.update_from_flattened_dict(_optimizer(given.data, config.train.epochs))
    if given.relation == "frozen" and given.head != "local":
        config.optim.freeze = ("^relation/",)
        config.optim.freeze_epochs = config.train.epochs
    return config


def _optimizer(data: str, epochs: int) -> dict:
    if data in ("prid2011", "ilids_vid"):
        return {
            "optim.schedule": "step_per_epoch",
            "optim.optimizer": "rmsprop",
            "optim.lr": 0.045,
            "optim.milestones": tuple(range(2, epochs, 2)),
            "optim.gamma": 0.94,
        }
    return {
        "optim.schedule": "step_per_epoch",
        "optim.optimizer": "sgd",
        "optim.nesterov": True,
        "optim.lr": 4.5e-4 if data == "dukemtmc_videoreid" else 0.01,
        "optim.milestones": (epochs // 2,),
        "optim.gamma": 0.1,
    }
