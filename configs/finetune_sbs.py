"""SBS: FastReID's stronger baseline, for supervised fine-tuning.

Paper: Lingxiao He et al., "FastReID: A Pytorch Toolbox for General Instance Re-identification",
    2020, arXiv 2006.02631; the recipe is LUPerson's fast-reid's, or FastReID's.
Command: luperson train --config finetune_sbs:data=duke --workdir runs/sbs_duke \\
    data.root=/data/DukeMTMC-reID eval.root=/data/DukeMTMC-reID train.init_from=lup_r50.npz
Arguments: FILE.py:data=duke,depth=101,init=nl,split=id,ratio=0.1 (luperson_jax/finetuning.py).
    data is market1501 (the default), duke, msmt17 or cuhk03 (CUHK03-NP, labeled); init is lup, nl,
    imagenet, imagenet_moco or scratch and sets pixel statistics and the extra BatchNorm;
    recipe is fork for LUPerson's copy of FastReID (the default, from init=lup), or upstream for
    FastReID itself (from init=imagenet): see UPSTREAM below.
Hardware: one GPU.
Expected, from ResNet-50:
    data        steps an epoch, in all   recipe=upstream: Rank-1, mAP, mINP
    market1501  202              12,120  95.4  88.2  64.8
    duke        258              15,480  90.3  80.3  46.5
    msmt17      509              30,540  81.8  58.4  13.9
    cuhk03      115              6,900   nothing published
    Those of upstream are FastReID's model zoo's, from supervised ImageNet weights, measured in
    2020, before its files had the values of UPSTREAM. recipe=fork: nothing is published, the
    authors of LUPerson give MGN alone. Not measured by this program yet.
"""

from ml_collections import ConfigDict

from luperson_jax import finetuning

UPSTREAM = {
    "augment.recipe": "finetune-fastreid-auto",  # AutoAugment for a tenth of the pictures; boxes in
    # ImageNet's mean color, of 2 to 33 %
    "optim.schedule": "flat_cosine_per_epoch",
    "optim.warmup_epochs": 0,
    "optim.warmup_steps": 2000,
    "optim.warmup_factor": 0.1,
    "optim.final_lr": 7e-7,
    "optim.freeze_epochs": 0,
    "optim.freeze_steps": 1000,
    "optim.freeze_statistics": False,  # BatchNorm goes on with those of the batch
    "eval.every_epochs": 10,
}
"""Where FastReID's own file differs."""


def get_config(argument: str = "") -> ConfigDict:
    """The run, group by group."""
    config = ConfigDict()

    config.model = ConfigDict()
    config.model.last_stride = 1  # feature map 24x8 instead of 12x4
    config.model.pooling = "gem_learned"
    config.model.non_local = True
    config.model.bn_group_size = 64
    config.model.compute_dtype = "auto"

    config.task = ConfigDict()
    config.task.name = "identify"
    config.task.label_smoothing = 0.1
    config.task.classifier = "circle"
    config.task.classifier_scale = 64.0
    config.task.classifier_margin = 0.35
    config.task.mining = "hard"
    config.task.margin = 0.0  # soft margin
    config.task.triplet_feature = "after"  # the neck

    config.data = ConfigDict()
    config.data.root = ""  # the folder that holds bounding_box_train
    config.data.canvas = (384, 128)  # bicubic, on the host; pad and crop work on it
    config.data.size = (384, 128)
    config.data.batch_size = 64
    config.data.sampler = "pk"
    config.data.num_instances = 16  # K; P = 4 identities
    config.data.num_workers = 8

    config.augment = ConfigDict()
    # AutoAugment for a falling share, flip, pad 10 and crop, random erasing. Unsupervised weights
    # go without AutoAugment.
    config.augment.recipe = "finetune-auto-1gpu"

    config.optim = ConfigDict()
    config.optim.optimizer = "adam"
    config.optim.lr = 3.5e-4
    config.optim.weight_decay = 5e-4  # L2, through Adam's moments
    config.optim.schedule = "flat_cosine"
    config.optim.warmup_epochs = 10  # linear from warmup_factor, by step
    config.optim.warmup_factor = 0.01
    config.optim.flat_epochs = 30
    config.optim.final_lr = 7.7e-7
    config.optim.freeze = ("^backbone/",)
    config.optim.freeze_epochs = 10

    config.train = ConfigDict()
    config.train.epochs = 60
    config.train.log_every_steps = 50
    config.train.checkpoint_every_epochs = 5
    config.train.keep_checkpoints = 1

    config.eval = ConfigDict()
    config.eval.root = ""
    config.eval.every_epochs = 30
    config.eval.batch_size = 128
    return finetuning.apply(config, argument, UPSTREAM)
