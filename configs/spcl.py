"""SpCL: unsupervised re-identification from self-paced clusters and a memory of all images.

Paper: Yixiao Ge et al., "Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive
    Object Re-ID", NeurIPS 2020, arXiv 2006.02713; values of the authors' commands and code for
    training without a source domain.
Command: luperson train --config spcl.py:data=market1501 --workdir runs/spcl \\
    data.root=/data/Market-1501 eval.root=/data/Market-1501 train.init_from=imagenet_r50.npz
Arguments: as of configs/cluster_contrast.py; pooling is avg unless given.
Hardware of the authors: 4 GPUs, whose BatchNorm sees 16 images each.
    data        steps an epoch, in all
    market1501, dukemtmc, personx    400, 20,000
    msmt17, veri776                  800, 40,000
Expected, ResNet-50 from ImageNet, mAP and Rank-1 of the authors' table: market1501 73.1 88.1,
    msmt17 19.1 42.3, veri776 36.9 79.9; with ibn=True 73.8 88.4, 24.0 48.9, 36.6 79.1. Not measured
    by this program yet.
"""

from ml_collections import ConfigDict

from luperson_jax import arguments, finetuning

MORE_STEPS = {"train.steps_per_epoch": 800}
BY_DATA = {"msmt17": MORE_STEPS, "veri776": MORE_STEPS}


def get_config(argument: str = "") -> ConfigDict:
    """The run, group by group."""
    config = ConfigDict()

    config.model = ConfigDict()
    config.model.last_stride = 1
    config.model.pooling = "avg"
    config.model.bn_group_size = 16  # other sizes cost up to 20 mAP
    config.model.compute_dtype = "auto"

    config.task = ConfigDict()
    config.task.name = "spcl"
    config.task.k1 = 30
    config.task.k2 = 6
    config.task.eps = 0.6
    config.task.eps_gap = 0.02
    config.task.min_samples = 4
    config.task.temperature = 0.05
    config.task.momentum = 0.2

    config.data = ConfigDict()
    config.data.root = ""
    config.data.canvas = (256, 128)
    config.data.size = (256, 128)
    config.data.batch_size = 64
    config.data.sampler = "pk_across"
    config.data.num_instances = 4  # K; a class of one image gives it once
    config.data.num_workers = 8

    config.augment = ConfigDict()
    config.augment.recipe = "cluster"  # flip, pad 10 and crop, random erasing

    config.optim = ConfigDict()
    config.optim.optimizer = "adam"
    config.optim.lr = 3.5e-4
    config.optim.weight_decay = 5e-4  # L2, through Adam's moments
    config.optim.schedule = "step_per_epoch"
    config.optim.milestones = (20, 40)
    config.optim.gamma = 0.1

    config.train = ConfigDict()
    config.train.epochs = 50
    config.train.steps_per_epoch = 400
    config.train.log_every_steps = 50
    config.train.keep_checkpoints = 1
    config.train.best = "clusters/silhouette"  # no identity has a say; DATASET/mAP would

    config.eval = ConfigDict()
    config.eval.root = ""
    config.eval.every_epochs = 0  # the last epoch alone
    config.eval.batch_size = 256
    given = arguments.parse(argument, finetuning.ClusteringArguments)
    return finetuning.apply_clustering(config, given, BY_DATA)
