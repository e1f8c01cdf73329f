"""AGW on MSMT17.

The recipe of configs/finetune_agw_market1501.py, with its paper, arguments and hardware.
Command: python -m luperson_jax.main --config configs/finetune_agw_msmt17.py \\
    --workdir runs/agw_msmt17 --config.data.root=/data/MSMT17_V1 \\
    --config.eval.root=/data/MSMT17_V1 --config.train.init_from=lup_r50.npz
Length: 509 steps an epoch, 61,080 steps.
Expected: recipe=upstream: 78.3 Rank-1, 55.6 mAP, 12.9 mINP (FastReID's model zoo, ResNet-50 from
    supervised ImageNet weights; measured in 2020, before its files had the values of UPSTREAM).
    recipe=fork: nothing is published, the authors of LUPerson give MGN alone.
    Not measured by this program yet.
"""

import pathlib
import runpy

from ml_collections import ConfigDict

MARKET1501 = runpy.run_path(str(pathlib.Path(__file__).with_name("finetune_agw_market1501.py")))


def get_config(argument: str = "") -> ConfigDict:
    """Market-1501's run on MSMT17."""
    config = MARKET1501["get_config"](argument)
    config.data.dataset = config.eval.dataset = "msmt17"
    return config
