"""MGN on DukeMTMC-reID.

The recipe of configs/finetune_mgn_market1501.py, with its paper, arguments and hardware.
Command: python -m luperson_jax.main --config configs/finetune_mgn_duke.py \\
    --workdir runs/mgn_duke --config.data.root=/data/DukeMTMC-reID \\
    --config.eval.root=/data/DukeMTMC-reID --config.train.init_from=lup_r50.npz
Length: 258 steps an epoch, 15,480 steps.
Expected: init=lup (LUPerson's README), mAP and Rank-1, then with re-ranking:
        R50 82.27 90.35, 91.70 92.82; R101 84.15 91.88, 92.77 93.99
    init=nl (LUPerson-NL's README): R50 84.3 92.0, R101 85.5 92.8, R152 85.6 92.4
    Not measured by this program yet.
"""

import pathlib
import runpy

from ml_collections import ConfigDict

MARKET1501 = runpy.run_path(str(pathlib.Path(__file__).with_name("finetune_mgn_market1501.py")))


def get_config(argument: str = "") -> ConfigDict:
    """Market-1501's run on DukeMTMC-reID."""
    config = MARKET1501["get_config"](argument)
    config.data.dataset = config.eval.dataset = "dukemtmc"
    return config
