"""LUPerson's comparison, small: MoCo, BoT and MGN with a ResNet-18 of a quarter of the width.

Asks on drawn people, or on a few hundred real ones, what LUPerson's tables say of large sets: does
pre-training help, most where labels are few; is MGN above BoT? `luperson study` runs it.
Command: python -m luperson_jax.main --config configs/small.py:mgn --workdir runs/small \\
    --config.data.root=runs/world --config.eval.root=runs/world
Hardware: two CPU cores.
Expected: mAP on 100 other drawn people, from random weights and from the pre-training: trained on
    300, BoT 62.4 and 75.3, MGN 51.4 and 71.6; on 30, BoT 32.8 and 45.8, MGN 41.4 and 50.5
    (docs/benchmarks.md).
"""

from ml_collections import ConfigDict

SIZE = (96, 48)  # a feature map of 6x3: halves and thirds of its height are whole rows


def get_config(stage: str = "bot") -> ConfigDict:
    """The stage `pretrain`, or fine-tuning as `bot` or `mgn`."""
    if stage not in ("pretrain", "bot", "mgn"):
        raise ValueError(f"stage {stage!r} is none of pretrain, bot and mgn")
    config = ConfigDict()

    config.model = ConfigDict()
    config.model.arch = "resnet18"
    config.model.width = 16
    config.model.last_stride = 1
    config.model.pooling = "gem_learned" if stage == "mgn" else "avg"
    config.model.bn_group_size = 32 if stage == "pretrain" else 64
    config.model.compute_dtype = "float32"

    config.train = ConfigDict()
    config.train.seed = 0
    config.train.log_every_steps = 20
    config.train.keep_checkpoints = 1

    config.data = ConfigDict()
    config.data.root = ""
    config.data.canvas = SIZE
    config.data.size = SIZE

    config.augment = ConfigDict()
    config.augment.statistics = "imagenet"

    config.eval = ConfigDict()
    config.eval.root = ""
    config.eval.batch_size = 100

    config.optim = ConfigDict()
    config.task = ConfigDict()
    if stage == "pretrain":
        _pretrain(config)
    else:
        _finetune(config, stage)
    return config


def _pretrain(config: ConfigDict) -> None:
    config.task.name = "moco"
    config.task.queue_size = 1024
    config.task.momentum = 0.99  # a short run: the key encoder must follow faster
    config.task.temperature = 0.1
    config.task.feature_dim = 128

    config.data.dataset = "image_folder"
    config.data.batch_size = 128
    config.augment.recipe = "cmpe-color"  # as in configs/demo.py

    config.optim.optimizer = "sgd"
    config.optim.lr = 0.06
    config.optim.weight_decay = 1e-4
    config.optim.schedule = "cosine_per_epoch"
    config.train.epochs = 10


def _finetune(config: ConfigDict, stage: str) -> None:
    config.task.name = "identify"
    config.task.extra_bn = True
    if stage == "mgn":
        config.task.network = "mgn"
        config.task.embedding_dim = 64  # of each head; 8 of them make the 512 of a quarter of MGN
        config.task.classifier = "circle"
        config.task.margin = 0.0
        config.task.triplet_feature = "after"

    config.data.dataset = "market1501"
    config.data.batch_size = 64
    config.data.sampler = "pk"
    config.data.num_instances = 4
    config.augment.recipe = "finetune"

    config.optim.optimizer = "adam"
    config.optim.lr = 3e-3
    config.optim.weight_decay = 5e-4
    config.optim.schedule = "warmup_multistep"
    config.optim.warmup_epochs = 2
    config.optim.milestones = (9,)
    config.train.epochs = 12
    config.train.init_from = ""

    config.eval.dataset = "market1501"
