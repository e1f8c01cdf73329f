"""LUPerson: MoCo pre-training of ResNet-101 on LUPerson, as published.

The recipe of configs/pretrain_r50.py, with its paper, hardware and data; only the depth differs.
Command: python -m luperson_jax.main --config configs/pretrain_r101.py \\
    --workdir runs/pretrain_r101 --config.data.root=/data/LUPerson
Expected: fine-tuned with MGN on Market-1501 91.86 mAP, 96.56 Rank-1 (authors' README).
    This program has not been trained on LUPerson yet; the figures are the authors'.
"""

import pathlib
import runpy

from ml_collections import ConfigDict

PRETRAIN_R50 = runpy.run_path(str(pathlib.Path(__file__).with_name("pretrain_r50.py")))


def get_config() -> ConfigDict:
    """ResNet-50's run with 101 layers."""
    config = PRETRAIN_R50["get_config"]()
    config.model.arch = "resnet101"
    return config
