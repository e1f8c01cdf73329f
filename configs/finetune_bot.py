"""BoT: supervised fine-tuning of a ResNet with BNNeck.

Paper: Hao Luo et al., "Bag of Tricks and A Strong Baseline for Deep Person Re-identification",
    CVPR Workshops 2019, arXiv 1903.07071; the recipe is LUPerson's fast-reid's, or FastReID's.
Command: luperson train --config finetune_bot:data=duke --workdir runs/bot_duke \\
    data.root=/data/DukeMTMC-reID eval.root=/data/DukeMTMC-reID train.init_from=lup_r50.npz
Arguments: FILE.py:data=duke,depth=101,init=nl,split=id,ratio=0.1 (luperson_jax/finetuning.py).
    data is market1501 (the default), duke, msmt17 or cuhk03 (CUHK03-NP, labeled); init is lup, nl,
    imagenet, imagenet_moco or scratch and sets pixel statistics and the extra BatchNorm;
    recipe is fork for LUPerson's copy of FastReID (the default, from init=lup), or upstream for
    FastReID itself (from init=imagenet): see UPSTREAM below.
Hardware: one GPU.
Expected, from ResNet-50:
    data        steps an epoch, in all   recipe=upstream: Rank-1, mAP, mINP
    market1501  202              24,240  94.4  86.1  59.4
    duke        258              30,960  87.2  77.0  42.1
    msmt17      509              61,080  74.1  50.2  10.4
    cuhk03      115              13,800  nothing published
    Those of upstream are FastReID's model zoo's, from supervised ImageNet weights, measured in
    2020, before its files had the values of UPSTREAM. recipe=fork: nothing is published, the
    authors of LUPerson give MGN alone. Not measured by this program yet.
"""

from ml_collections import ConfigDict

from luperson_jax import finetuning

UPSTREAM = {
    "augment.recipe": "finetune-fastreid",  # boxes in ImageNet's mean color, of 2 to 33 %
    "optim.schedule": "multistep_after_warmup",  # epochs count from the end of the warm-up
    "optim.warmup_epochs": 0,
    "optim.warmup_steps": 2000,
    "optim.warmup_factor": 0.1,
    "optim.lr_factors": (),
}
"""Where FastReID's own file differs."""


def get_config(argument: str = "") -> ConfigDict:
    """The run, group by group."""
    config = ConfigDict()

    config.model = ConfigDict()
    config.model.last_stride = 1  # feature map 16x8 instead of 8x4
    config.model.pooling = "avg"
    config.model.bn_group_size = 64
    config.model.compute_dtype = "auto"

    config.task = ConfigDict()
    config.task.name = "identify"
    config.task.label_smoothing = 0.1
    config.task.classifier = "linear"
    config.task.mining = "hard"
    config.task.margin = 0.3
    config.task.triplet_feature = "before"  # the neck

    config.data = ConfigDict()
    config.data.root = ""  # the folder that holds bounding_box_train
    config.data.canvas = (256, 128)  # bicubic, on the host; pad and crop work on it
    config.data.size = (256, 128)
    config.data.batch_size = 64
    config.data.sampler = "pk"
    config.data.num_instances = 4  # K; P = 16 identities
    config.data.num_workers = 8

    config.augment = ConfigDict()
    config.augment.recipe = "finetune"  # flip, pad 10 and crop, random erasing

    config.optim = ConfigDict()
    config.optim.optimizer = "adam"
    config.optim.lr = 3.5e-4
    config.optim.weight_decay = 5e-4  # L2, through Adam's moments
    config.optim.schedule = "warmup_multistep"
    config.optim.warmup_epochs = 10  # linear from warmup_factor, by step
    config.optim.warmup_factor = 0.01
    config.optim.milestones = (40, 90)  # epochs
    config.optim.gamma = 0.1
    config.optim.lr_factors = (("bias$", 2.0),)

    config.train = ConfigDict()
    config.train.epochs = 120
    config.train.log_every_steps = 50
    config.train.checkpoint_every_epochs = 5
    config.train.keep_checkpoints = 1

    config.eval = ConfigDict()
    config.eval.root = ""
    config.eval.every_epochs = 30
    config.eval.batch_size = 128
    return finetuning.apply(config, argument, UPSTREAM)
