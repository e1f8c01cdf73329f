"""The demo: LUPerson's three steps on drawn people, small enough for two CPU cores.

Command: make demo. By hand, for one stage (pretrain, scratch or finetune):
    python -m luperson_jax.main --config configs/demo.py:pretrain --workdir runs/demo/pretrain \\
        --config.data.root=runs/demo/unlabelled --config.eval.root=runs/demo/labelled
"""

from ml_collections import ConfigDict


def get_config(stage: str = "pretrain") -> ConfigDict:
    """The stage `pretrain`, or `scratch` and `finetune`, which differ in what they start from."""
    if stage not in ("pretrain", "scratch", "finetune"):
        raise ValueError(f"stage {stage!r} is none of pretrain, scratch and finetune")
    config = ConfigDict()

    config.model = ConfigDict()
    config.model.arch = "resnet18"
    config.model.width = 16  # a quarter of the published width
    config.model.last_stride = 1
    config.model.pooling = "avg"
    config.model.compute_dtype = "float32"

    config.train = ConfigDict()
    config.train.seed = 0
    config.train.log_every_steps = 20
    config.train.keep_checkpoints = 1

    config.data = ConfigDict()
    config.data.root = ""
    config.data.canvas = (64, 32)
    config.data.size = (64, 32)

    config.augment = ConfigDict()
    config.augment.statistics = "imagenet"

    config.eval = ConfigDict()
    config.eval.dataset = "market1501"
    config.eval.root = ""
    config.eval.batch_size = 100

    if stage == "pretrain":
        _pretrain(config)
    else:
        _finetune(config)
    return config


def _pretrain(config: ConfigDict) -> None:
    config.model.bn_group_size = 32

    config.task = ConfigDict()
    config.task.name = "moco"
    config.task.queue_size = 1024  # a sixth of the pictures
    config.task.momentum = 0.99  # a short run: the key encoder must follow faster
    config.task.temperature = 0.1
    config.task.feature_dim = 128
    config.task.embedding = "projection"

    config.data.dataset = "image_folder"
    config.data.batch_size = 128

    # Whole bodies and some color jitter: small drawn pictures, and cameras that differ in color
    # more than real ones. The published recipe is that of configs/pretrain_r50.py.
    config.augment.recipe = "cmpe-color"

    config.optim = ConfigDict()
    config.optim.optimizer = "sgd"
    config.optim.lr = 0.06
    config.optim.weight_decay = 1e-4
    config.optim.schedule = "cosine_per_epoch"

    config.train.epochs = 30
    config.eval.every_epochs = 5  # a probe of what the features know already


def _finetune(config: ConfigDict) -> None:
    config.model.bn_group_size = 64

    config.task = ConfigDict()
    config.task.name = "identify"
    config.task.extra_bn = True

    config.data.dataset = "market1501"
    config.data.batch_size = 64
    config.data.sampler = "pk"
    config.data.num_instances = 4

    config.augment.recipe = "finetune"

    config.optim = ConfigDict()
    config.optim.optimizer = "adam"
    config.optim.lr = 3e-3
    config.optim.weight_decay = 5e-4
    config.optim.schedule = "warmup_multistep"
    config.optim.warmup_epochs = 2
    config.optim.milestones = (12,)

    config.train.epochs = 16
    config.train.init_from = ""
    config.eval.every_epochs = 4
