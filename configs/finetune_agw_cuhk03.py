"""AGW on CUHK03-NP (labeled).

The recipe of configs/finetune_agw_market1501.py, with its paper, arguments and hardware.
Command: python -m luperson_jax.main --config configs/finetune_agw_cuhk03.py \\
    --workdir runs/agw_cuhk03 --config.data.root=/data/cuhk03-np \\
    --config.eval.root=/data/cuhk03-np --config.train.init_from=lup_r50.npz
Length: 115 steps an epoch, 13,800 steps.
Expected: nothing is published for this recipe on this set; not measured by this program yet.
"""

import pathlib
import runpy

from ml_collections import ConfigDict

MARKET1501 = runpy.run_path(str(pathlib.Path(__file__).with_name("finetune_agw_market1501.py")))


def get_config(argument: str = "") -> ConfigDict:
    """Market-1501's run on CUHK03-NP (labeled)."""
    config = MARKET1501["get_config"](argument)
    config.data.dataset = config.eval.dataset = "cuhk03_np_labeled"
    return config
