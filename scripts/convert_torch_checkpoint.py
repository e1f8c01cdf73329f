"""PyTorch checkpoints to our parameters and back: the same as `luperson convert`.

python scripts/convert_torch_checkpoint.py lup_moco_r50.pth lup_r50.npz --statistics lup
"""

import sys

from luperson_jax import cli

if __name__ == "__main__":
    sys.exit(cli.main(["convert", *sys.argv[1:]]))
