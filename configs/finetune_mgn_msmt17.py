"""MGN on MSMT17.

The recipe of configs/finetune_mgn_market1501.py, with its paper, arguments and hardware.
Command: python -m luperson_jax.main --config configs/finetune_mgn_msmt17.py \\
    --workdir runs/mgn_msmt17 --config.data.root=/data/MSMT17_V1 \\
    --config.eval.root=/data/MSMT17_V1 --config.train.init_from=lup_r50.npz
Length: 509 steps an epoch, 30,540 steps.
Expected: init=lup (LUPerson's README), mAP and Rank-1, then with re-ranking:
        R50 66.06 85.08, 79.93 87.63; R101 68.41 86.28, 81.12 88.27
    init=nl (LUPerson-NL's README): R50 68.0 86.0, R101 70.8 87.1, R152 71.6 87.5
    Not measured by this program yet.
"""

import pathlib
import runpy

from ml_collections import ConfigDict

MARKET1501 = runpy.run_path(str(pathlib.Path(__file__).with_name("finetune_mgn_market1501.py")))


def get_config(argument: str = "") -> ConfigDict:
    """Market-1501's run on MSMT17."""
    config = MARKET1501["get_config"](argument)
    config.data.dataset = config.eval.dataset = "msmt17"
    return config
