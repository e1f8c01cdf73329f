"""SBS on DukeMTMC-reID.

The recipe of configs/finetune_sbs_market1501.py, with its paper, arguments and hardware.
Command: python -m luperson_jax.main --config configs/finetune_sbs_duke.py \\
    --workdir runs/sbs_duke --config.data.root=/data/DukeMTMC-reID \\
    --config.eval.root=/data/DukeMTMC-reID --config.train.init_from=lup_r50.npz
Length: 258 steps an epoch, 15,480 steps.
Expected: recipe=upstream: 90.3 Rank-1, 80.3 mAP, 46.5 mINP (FastReID's model zoo, ResNet-50 from
    supervised ImageNet weights; measured in 2020, before its files had the values of UPSTREAM).
    recipe=fork: nothing is published, the authors of LUPerson give MGN alone.
    Not measured by this program yet.
"""

import pathlib
import runpy

from ml_collections import ConfigDict

MARKET1501 = runpy.run_path(str(pathlib.Path(__file__).with_name("finetune_sbs_market1501.py")))


def get_config(argument: str = "") -> ConfigDict:
    """Market-1501's run on DukeMTMC-reID."""
    config = MARKET1501["get_config"](argument)
    config.data.dataset = config.eval.dataset = "dukemtmc"
    return config
