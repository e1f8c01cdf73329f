"""MGN: the network and recipe of LUPerson's result table.

Paper: Guanshuo Wang et al., "Learning Discriminative Features with Multiple Granularities for
    Person Re-Identification", 2018, arXiv 1804.01438, changed as in LUPerson's fast-reid:
    Dengpan Fu et al., "Unsupervised Pre-training for Person Re-identification", CVPR 2021,
    arXiv 2012.03753.
Command: luperson train --config finetune_mgn:data=duke --workdir runs/mgn_duke \\
    data.root=/data/DukeMTMC-reID eval.root=/data/DukeMTMC-reID train.init_from=lup_r50.npz
Arguments: FILE.py:data=duke,depth=101,init=nl,split=id,ratio=0.1 (luperson_jax/finetuning.py).
    data is market1501 (the default), duke, msmt17 or cuhk03 (CUHK03-NP, labeled); init is lup, nl,
    imagenet, imagenet_moco or scratch and sets pixel statistics and the extra BatchNorm.
    LUPerson's file for init=imagenet with depth=101 has AutoAugment, which none of the others has:
    augment.recipe=finetune-auto-4gpu.
Hardware of the authors: 4 GPUs with 16 images each.
Expected, mAP and Rank-1; of init=lup (LUPerson's README) also with re-ranking; of init=nl,
    LUPerson-NL's README:
    data        steps an epoch, in all   init=lup                               init=nl
    market1501  202              12,120  R50   91.12 96.26, 96.16 97.12        R50   91.9 96.6
                                         R101  91.86 96.56, 96.21 97.03        R101  92.5 96.9
                                                                               R152  92.7 96.8
    duke        258              15,480  R50   82.27 90.35, 91.70 92.82        R50   84.3 92.0
                                         R101  84.15 91.88, 92.77 93.99        R101  85.5 92.8
                                                                               R152  85.6 92.4
    msmt17      509              30,540  R50   66.06 85.08, 79.93 87.63        R50   68.0 86.0
                                         R101  68.41 86.28, 81.12 88.27        R101  70.8 87.1
                                                                               R152  71.6 87.5
    cuhk03      115              6,900   R50   74.54 74.64, 85.84 82.86        R50   80.4 80.9
                                         R101  75.98 75.86, 86.73 84.07        R101  80.5 81.2
                                                                               R152  80.6 81.2
    Market-1501, R50, split=id (paper), mAP at ratio 0.1, 0.3, 0.5, 0.7, 1.0:
        init=lup 64.6 81.9 85.8 88.8 91.0; init=imagenet 53.1 75.2 81.5 84.8 87.5;
        init=imagenet_moco 58.4 76.6 82.0 85.4; init=nl 72.4 at 0.1, 85.2 at 0.3, 91.9 at 1.0
    Market-1501, R50, split=im, mAP at ratio 0.1, 0.3 (second-hand): init=imagenet 21.1 68.1,
        init=lup 26.4 78.3, init=nl 42.0 83.7
    Not measured by this program yet.
"""

from ml_collections import ConfigDict

from luperson_jax import finetuning


def get_config(argument: str = "") -> ConfigDict:
    """The run, group by group."""
    config = ConfigDict()

    config.model = ConfigDict()
    config.model.last_stride = 1  # feature map 24x8 instead of 12x4
    config.model.pooling = "gem_learned"  # an exponent for each of the 8 heads
    config.model.bn_group_size = 16  # the images of one GPU there
    config.model.compute_dtype = "auto"

    config.task = ConfigDict()
    config.task.name = "identify"
    config.task.network = "mgn"
    config.task.embedding_dim = 256  # of each head
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
    config.data.strided_groups = True  # every BatchNorm group has 4 identities
    config.data.num_workers = 8

    config.augment = ConfigDict()
    config.augment.recipe = "finetune"  # flip, pad 10 and crop, random erasing

    config.optim = ConfigDict()
    config.optim.optimizer = "adam"
    config.optim.lr = 3.5e-4
    config.optim.weight_decay = 5e-4  # L2, through Adam's moments
    config.optim.schedule = "flat_cosine"
    config.optim.warmup_epochs = 10  # linear from warmup_factor, by step
    config.optim.warmup_factor = 0.01
    config.optim.flat_epochs = 30
    config.optim.final_lr = 7.7e-7
    config.optim.freeze = ("^(backbone|b[123])/",)
    config.optim.freeze_epochs = 10

    config.train = ConfigDict()
    config.train.epochs = 60
    config.train.log_every_steps = 50
    config.train.checkpoint_every_epochs = 5
    config.train.keep_checkpoints = 1

    config.eval = ConfigDict()
    config.eval.root = ""
    config.eval.every_epochs = 60  # the last; fewer also tell the best
    config.eval.batch_size = 128
    return finetuning.apply(config, argument)
