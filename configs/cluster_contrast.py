"""Cluster Contrast: unsupervised re-identification from clusters and a memory of their means.

Paper: Zuozhuo Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", ACCV 2022,
    arXiv 2103.11568; values of the authors' commands and code.
Command: luperson train --config cluster_contrast.py:data=market1501 --workdir runs/cc \\
    data.root=/data/Market-1501 eval.root=/data/Market-1501 train.init_from=imagenet_r50.npz
Arguments: FILE.py:data=msmt17,depth=50,ibn=True,pooling=avg,init=lup (luperson_jax/finetuning.py).
    data is market1501 (the default), msmt17, dukemtmc, personx, veri776, or a video set, whose
    tracklets are grouped: prid2011, ilids_vid, dukemtmc_videoreid, mars; pooling gem (the
    default, its exponent learned) or avg; init imagenet (the default), lup, nl, imagenet_moco or
    scratch. Identities of the training set are never trained on; where they are known, figures of
    the clusters are logged.
Hardware of the authors: 4 GPUs, whose BatchNorm sees 64 images each.
    data        steps an epoch, in all
    market1501, dukemtmc             200, 10,000
    msmt17, personx, veri776         400, 20,000
Expected, ResNet-50 from ImageNet, DBSCAN, mAP and Rank-1 of the authors' table: market1501 82.1
    92.3, dukemtmc 72.6 84.9, msmt17 27.6 56.0, personx 84.7 94.4, veri776 40.3 84.6. ResNet-50-IBN
    with GeM, task.update=hard, task.eps=0.4 and 400 steps an epoch: market1501 87.0 94.6 (their
    log). Others report that msmt17 is hard to repeat: 20 to 28 mAP, and task.eps=0.7. Not measured
    by this program yet.
"""

from ml_collections import ConfigDict

from luperson_jax import arguments, finetuning

MORE_STEPS = {"train.steps_per_epoch": 400}
BY_DATA = {"msmt17": MORE_STEPS, "personx": MORE_STEPS, "veri776": MORE_STEPS}


def get_config(argument: str = "") -> ConfigDict:
    """The run, group by group."""
    config = ConfigDict()

    config.model = ConfigDict()
    config.model.last_stride = 1
    config.model.pooling = "gem_learned"
    config.model.bn_group_size = 64  # 4 clusters of 16 images; other sizes cost up to 20 mAP
    config.model.compute_dtype = "auto"

    config.task = ConfigDict()
    config.task.name = "cluster_contrast"
    config.task.k1 = 30
    config.task.k2 = 6
    config.task.eps = 0.6
    config.task.min_samples = 4
    config.task.temperature = 0.05
    config.task.momentum = 0.1  # a row of the memory is nearly the last image of its cluster
    config.task.update = "all"
    config.task.capacity = 0  # a quarter of the training images
    config.task.units = "images"

    config.data = ConfigDict()
    config.data.root = ""
    config.data.canvas = (256, 128)
    config.data.size = (256, 128)
    config.data.batch_size = 256
    config.data.sampler = "pk_across"
    config.data.num_instances = 16  # K; P = 16 clusters
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
    config.train.steps_per_epoch = 200
    config.train.log_every_steps = 50
    config.train.keep_checkpoints = 1
    config.train.best = "clusters/silhouette"  # no identity has a say; DATASET/mAP would

    config.eval = ConfigDict()
    config.eval.root = ""
    config.eval.every_epochs = 0  # the last epoch alone
    config.eval.batch_size = 256
    given = arguments.parse(argument, finetuning.ClusteringArguments)
    return finetuning.apply_clustering(config, given, BY_DATA)
