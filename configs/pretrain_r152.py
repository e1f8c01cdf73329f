"""LUPerson: MoCo pre-training of ResNet-152 on LUPerson, as published.

The recipe of configs/pretrain_r50.py, with its paper, hardware and data; only the depth differs.
Command: python -m luperson_jax.main --config configs/pretrain_r152.py \\
    --workdir runs/pretrain_r152 --config.data.root=/data/LUPerson
Expected: the authors release these weights and publish no fine-tuned row for them.
    This program has not been trained on LUPerson yet; the figures are the authors'.
"""

import pathlib
import runpy

from ml_collections import ConfigDict

PRETRAIN_R50 = runpy.run_path(str(pathlib.Path(__file__).with_name("pretrain_r50.py")))


def get_config() -> ConfigDict:
    """ResNet-50's run with 152 layers."""
    config = PRETRAIN_R50["get_config"]()
    config.model.arch = "resnet152"
    return config
