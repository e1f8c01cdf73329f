"""LUPerson-NL: pre-training on noisily labeled crops by PNL, and by what it is compared to.

Paper: Dengpan Fu et al., "Large-Scale Pre-training for Person Re-identification with Noisy Labels",
    CVPR 2022, arXiv 2203.16533 (PNL); Kaiming He et al., "Momentum Contrast for Unsupervised Visual
    Representation Learning", CVPR 2020, arXiv 1911.05722; Ting Chen et al., "A Simple Framework for
    Contrastive Learning of Visual Representations", ICML 2020, arXiv 2002.05709 (SimCLR); Prannay
    Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv 2004.11362 (SupCont).
Command: python -m luperson_jax.main --config configs/pretrain_nl.py:method=pnl,depth=50 \\
    --workdir runs/pnl_r50 --config.data.root=/data/LUPerson-NL
Arguments: FILE.py:method=simclr,depth=101. method is pnl (the default), moco, simclr or supcont;
    depth 50, 101 or 152.
Hardware of the authors: 8 GPUs (V100 by second-hand report). With method=pnl and moco
    `bn_group_size` gives their BatchNorm of one GPU each; simclr and supcont normalize over the
    whole batch.
Data: LUPerson-NL, 10,683,716 crops of 433,997 tracklets.
    method   batch  epochs  steps an epoch, in all
    moco     2560   200     4173            834,600
    simclr   2048   200     5216          1,043,200
    supcont  2048   200     5216          1,043,200
    pnl      1536    90     6955            625,950
Expected, fine-tuned with MGN (configs/finetune_mgn.py:init=nl), mAP and Rank-1 of LUPerson-NL's
    README:
    pnl      msmt17      duke        market1501  cuhk03
    R50      68.0 86.0   84.3 92.0   91.9 96.6   80.4 80.9
    R101     70.8 87.1   85.5 92.8   92.5 96.9   80.5 81.2
    R152     71.6 87.5   85.6 92.4   92.7 96.8   80.6 81.2
    supcont  R50 on msmt17 66.5 mAP (second-hand). Of moco and simclr on this data no figure is
    known here. This program has not been trained on LUPerson-NL yet; the figures are the authors'.
"""

import dataclasses
from typing import Literal

from ml_collections import ConfigDict

from luperson_jax import arguments


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What may stand behind the colon."""

    method: Literal["moco", "simclr", "supcont", "pnl"] = "pnl"
    depth: Literal[50, 101, 152] = 50


def get_config(argument: str = "") -> ConfigDict:
    """The run, group by group; what the methods have apart follows below."""
    given = arguments.parse(argument, Arguments)
    config = ConfigDict()

    config.model = ConfigDict()
    config.model.arch = f"resnet{given.depth}"
    config.model.last_stride = 2
    config.model.pooling = "avg"
    config.model.compute_dtype = "auto"  # bfloat16 on GPU and TPU

    config.task = ConfigDict()
    config.task.name = given.method

    config.data = ConfigDict()
    config.data.dataset = "luperson_nl"
    config.data.root = ""  # folders or LMDB, as the authors' programs leave them
    config.data.canvas = (0, 0)  # as large as 90 % of the pictures are, at most 768x384
    config.data.resize = "bilinear"
    config.data.size = (256, 128)  # height, width
    config.data.sampler = "shuffled"
    config.data.unreadable = "skip"  # millions of crawled files: replace and list the damaged
    config.data.num_workers = 16
    config.data.worker_kind = "processes"

    config.augment = ConfigDict()
    config.augment.recipe = "ori-cj+sre"  # no color jitter, strong random erasing
    config.augment.statistics = "lmdb_200_20"

    config.optim = ConfigDict()
    config.optim.momentum = 0.9
    config.optim.weight_decay = 1e-4

    config.train = ConfigDict()
    config.train.epochs = 200
    config.train.seed = 0
    config.train.log_every_steps = 50
    config.train.checkpoint_every_epochs = 1
    config.train.checkpoint_every_steps = 0  # > 0 where machines are taken away
    config.train.keep_checkpoints = 2

    config.eval = ConfigDict()
    config.eval.dataset = ""  # "market1501" with eval.root watches mAP while training
    config.eval.root = ""
    config.eval.every_epochs = 20
    config.eval.probes = ("knn", "collapse", "trapezoid")  # the authors print the last
    config.eval.batch_size = 640

    {"moco": _moco, "simclr": _simclr, "supcont": _supcont, "pnl": _pnl}[given.method](config)
    return config


def _moco(config: ConfigDict) -> None:
    config.data.batch_size = 2560
    config.model.bn_group_size = 320  # images that share BatchNorm statistics
    _queue(config)
    config.optim.optimizer = "sgd"
    config.optim.lr = 0.3
    config.optim.schedule = "cosine_per_epoch"  # constant within an epoch


def _pnl(config: ConfigDict) -> None:
    config.data.batch_size = 1536
    config.model.bn_group_size = 192
    _queue(config)
    config.task.cls_dim = 256  # layer before the classifier
    config.task.class_multiple = 64  # 434,048 classes, which 64 devices can share
    config.task.prototype_momentum = 0.999
    config.task.alpha = 0.5  # classifier and prototypes count alike
    config.task.pseudo_threshold = 0.8
    config.task.start_clean_epoch = 11  # labels are replaced from here on
    config.task.start_supcont_epoch = 15  # keys of a label are positives from here on
    config.task.query_recipe = "weak"  # pad, crop, mirror; augment.recipe is that of the keys
    config.task.reference_quirks = False  # True: prototypes as the authors' code has them
    config.optim.optimizer = "sgd"
    config.optim.lr = 0.4
    config.optim.schedule = "step_per_epoch"
    config.optim.milestones = (40, 80)
    config.optim.gamma = 0.1
    config.train.epochs = 90


def _queue(config: ConfigDict) -> None:
    config.task.queue_size = 65536  # K, keys
    config.task.momentum = 0.999  # of the key encoder
    config.task.temperature = 0.07
    config.task.feature_dim = 128
    config.task.shuffle_bn = True


def _simclr(config: ConfigDict) -> None:
    _lars(config)
    config.task.feature_dim = 128
    config.optim.lr = 0.3  # at the start of the warm-up; 2.4 after it


def _supcont(config: ConfigDict) -> None:
    _lars(config)
    config.task.feature_dim = 2048
    config.augment.recipe = "ori"  # with color jitter, without erasing
    config.optim.lr = 0.1  # 0.8 after the warm-up


def _lars(config: ConfigDict) -> None:
    config.data.batch_size = 2048
    config.model.bn_group_size = 0  # the whole batch: synchronized BatchNorm
    config.task.temperature = 0.1
    config.task.head = "mlp_bn"
    config.task.reference_quirks = False  # True: gradients an eighth of the true ones
    config.optim.optimizer = "lars"
    config.optim.lars_excluded = "^backbone/.*scale$|bias$"  # the head's scale is adapted
    config.optim.lars_decay_twice = True  # so that 1e-4 acts as 2e-4
    config.optim.schedule = "cosine_per_epoch"
    config.optim.warmup_epochs = 10
    config.optim.peak_multiplier = 8.0  # batch / 256
