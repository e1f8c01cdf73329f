"""MGN on CUHK03-NP (labeled).

The recipe of configs/finetune_mgn_market1501.py, with its paper, arguments and hardware.
Command: python -m luperson_jax.main --config configs/finetune_mgn_cuhk03.py \\
    --workdir runs/mgn_cuhk03 --config.data.root=/data/cuhk03-np \\
    --config.eval.root=/data/cuhk03-np --config.train.init_from=lup_r50.npz
Length: 115 steps an epoch, 6,900 steps.
Expected: init=lup (LUPerson's README), mAP and Rank-1, then with re-ranking:
        R50 74.54 74.64, 85.84 82.86; R101 75.98 75.86, 86.73 84.07
    init=nl (LUPerson-NL's README): R50 80.4 80.9, R101 80.5 81.2, R152 80.6 81.2
    Not measured by this program yet.
"""

import pathlib
import runpy

from ml_collections import ConfigDict

MARKET1501 = runpy.run_path(str(pathlib.Path(__file__).with_name("finetune_mgn_market1501.py")))


def get_config(argument: str = "") -> ConfigDict:
    """Market-1501's run on CUHK03-NP (labeled)."""
    config = MARKET1501["get_config"](argument)
    config.data.dataset = config.eval.dataset = "cuhk03_np_labeled"
    return config
