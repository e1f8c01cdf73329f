"""CMPE597: a course project on LUPerson, as it really ran and as it was meant.

Project: github.com/omerfarukcavass/CMPE597_DL_LUPerson, on Dengpan Fu et al., "Unsupervised
    Pre-training for Person Re-identification", CVPR 2021, arXiv 2012.03753. Does color jitter, or
    an affine map, help in a pre-training on 90 % of Market-1501, or in fine-tuning on the rest?
Command: python scripts/study_cmpe597.py --root runs/cmpe597 --market Market-1501-v15.09.15 \\
    --lup weights/lup_r50.npz
Arguments: FILE.py:stage=finetune,variant=color,way=published,small=True.
    stage is pretrain (MoCo) or finetune (MGN); variant is default, color or affine; small is a
    network for two CPU cores.
    way=published is what ran: no positive in a batch (K = 1), and parts that share 64 of their 75
    people. Nor were the weights of the own pre-training loaded: its rows started at random.
    way=corrected differs in these three things alone: the weights are loaded, K = 4, and the parts
    share nobody.
Hardware of the project: one RTX 2060.
Expected, mAP and Rank-1, as published; not measured by this program:
    Def_SSL + ft  31.4 55.0      PT + Def_ft  48.6 74.2
    CJ_SSL + ft   32.0 56.1      PT + CJ_ft   48.2 73.5
    AF_SSL + ft   31.1 55.0      PT + AF_ft   46.4 72.4
    The same setting from random weights gave 29.2 to 31.6 mAP in four runs of the project. The
    features of the pre-trainings, not fine-tuned: Def 2.59 7.3, CJ 4.50 14.4, AF 3.24 9.0.
"""

import dataclasses
from typing import Literal

from ml_collections import ConfigDict

from luperson_jax import arguments, config

VIEWS = {
    "pretrain": {"default": "reid", "color": "cmpe-color", "affine": "cmpe-affine"},
    "finetune": {
        "default": "finetune",
        "color": "cmpe-finetune-color",
        "affine": "cmpe-finetune-affine",
    },
}
EPOCHS = {"default": 250, "color": 300, "affine": 300}  # of the pre-training, by their logs

PARTS = {"published": "cmpe_pretrain_published", "corrected": "cmpe_pretrain"}

SMALL = {
    "model.arch": "resnet18",
    "model.width": 16,
    "model.compute_dtype": "float32",
    "data.canvas": (96, 48),
    "data.size": (96, 48),
    "data.num_workers": 0,
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What may stand behind the colon."""

    stage: Literal["pretrain", "finetune"] = "pretrain"
    variant: Literal["default", "color", "affine"] = "default"
    way: Literal["published", "corrected"] = "corrected"
    small: bool = False


def get_config(argument: str = "") -> ConfigDict:
    """The published recipe of the stage, and what the project changed of it."""
    given = arguments.parse(argument, Arguments)
    pretrain = given.stage == "pretrain"
    chosen = config.load_file("pretrain_r50" if pretrain else "finetune_mgn")
    chosen.update_from_flattened_dict(_pretrain(given) if pretrain else _finetune(given))
    if given.small:
        chosen.update_from_flattened_dict(SMALL)
    return chosen


def _pretrain(given: Arguments) -> dict:
    changes = {
        "model.bn_group_size": 64,  # one GPU; keys share the statistics of their queries
        "task.queue_size": 8192,
        "task.momentum": 0.99,
        "task.shuffle_bn": False,
        "data.dataset": "market1501",
        "data.batch_size": 64,
        "data.num_workers": 8,
        "data.subset": PARTS[given.way],
        "augment.recipe": VIEWS["pretrain"][given.variant],
        "optim.optimizer": "lars",
        "optim.lr": 0.3,
        "optim.warmup_epochs": 10,
        "optim.peak_multiplier": 0.1,  # so the "warm-up" goes down, from 0.3 to 0.03
        "train.epochs": EPOCHS[given.variant],
        "eval.dataset": "market1501",  # the features as they are, after the last epoch
        "eval.every_epochs": 0,
    }
    if given.small:
        changes |= {"task.queue_size": 1024, "optim.warmup_epochs": 2, "train.epochs": 15}
    return changes


def _finetune(given: Arguments) -> dict:
    changes = {
        "data.batch_size": 16,
        "data.num_instances": 4 if given.way == "corrected" else 1,
        "task.lone_images": given.way == "published",
        "data.strided_groups": False,
        "data.subset": "cmpe_finetune",
        "augment.recipe": VIEWS["finetune"][given.variant],
        "augment.statistics": "lup_finetune",
        "task.extra_bn": True,
        # 1,170 images were counted in batches of 64, and came in batches of 16.
        "train.steps_per_epoch": 18,
        "train.epochs": 600,
        "train.init_from": "",
        "eval.every_epochs": 600,
    }
    if given.small:
        changes |= {
            "task.embedding_dim": 64,
            "optim.lr": 3e-3,
            "optim.warmup_epochs": 2,
            "optim.flat_epochs": 10,
            "optim.freeze_epochs": 1,
            "train.epochs": 20,
            "eval.every_epochs": 20,
        }
    return changes
