"""LUPerson: MoCo pre-training of ResNet-50 on LUPerson, as published.

Paper: Dengpan Fu et al., "Unsupervised Pre-training for Person Re-identification", CVPR 2021,
    arXiv 2012.03753.
Command: python -m luperson_jax.main --config configs/pretrain_r50.py \\
    --workdir runs/pretrain_r50 --config.data.root=/data/LUPerson
Hardware of the authors: 8 GPUs with 320 images each; here `bn_group_size` gives the same BatchNorm
    on any number of devices.
Data: LUPerson, 4,180,243 unlabeled crops: 1632 steps an epoch, 326 k steps.
Expected: fine-tuned with MGN on Market-1501 91.12 mAP, 96.26 Rank-1 (authors' README).
    This program has not been trained on LUPerson yet; the figures are the authors'.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The run, group by group."""
    config = ConfigDict()

    config.model = ConfigDict()
    config.model.arch = "resnet50"
    config.model.last_stride = 2
    config.model.pooling = "avg"
    config.model.bn_group_size = 320  # images that share BatchNorm statistics
    config.model.compute_dtype = "auto"  # bfloat16 on GPU and TPU

    config.task = ConfigDict()
    config.task.name = "moco"
    config.task.queue_size = 65536  # K, keys
    config.task.momentum = 0.999  # of the key encoder
    config.task.temperature = 0.1
    config.task.feature_dim = 128
    config.task.shuffle_bn = True
    config.task.embedding = "projection"  # evaluated while training, as the authors do

    config.data = ConfigDict()
    config.data.dataset = "image_folder"
    config.data.root = ""  # folder of crops, any depth; several are separated by commas
    # The host resizes to this, and views are cut from it; (0, 0) = as large as 90 % of the pictures
    # are, at most 768x384.
    config.data.canvas = (0, 0)
    config.data.resize = "bilinear"
    config.data.size = (256, 128)  # height, width
    config.data.batch_size = 2560
    config.data.sampler = "shuffled"
    config.data.unreadable = "skip"  # millions of crawled files: replace and list the damaged
    config.data.num_workers = 16  # each holds one batch of the canvas, 0.6 GB at 384x192
    config.data.worker_kind = "processes"

    config.augment = ConfigDict()
    config.augment.recipe = "ori-cj+sre"  # no color jitter, strong random erasing
    config.augment.statistics = "lup"

    config.optim = ConfigDict()
    config.optim.optimizer = "sgd"
    config.optim.lr = 0.3
    config.optim.momentum = 0.9
    config.optim.weight_decay = 1e-4  # on everything, BatchNorm and biases too
    config.optim.schedule = "cosine_per_epoch"  # constant within an epoch
    config.optim.warmup_epochs = 0

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
    config.eval.batch_size = 640
    return config
