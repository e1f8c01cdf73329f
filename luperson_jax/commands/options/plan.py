"""`luperson plan`: does a run fit on a machine, and how fast can it be there at most?

The step is compiled for the machine, which need not be here: memory, bytes moved and collectives
are those of the real program. Times are limits by the chips' public numbers, not measurements. No
pictures are needed: --images, --people, --cameras and --tracklets stand for them, and where a
recipe takes its canvas from them it is data.size. The status is 1 where it does not fit.

MACHINE is `here`, `here:8` (a CPU as so many devices), `h100:8`, `h200:1`, `v5e:4x4`, `v5p:2x2x4`,
`v4:...` or `v6e:...`. GPUs need the extra `plan-gpu`, TPUs `plan-tpu`; neither needs the machine.

Example:
    luperson plan --config pretrain_r50 --on h100:8
    luperson plan --config finetune_mgn:init=scratch --on v5e:2x2 data.batch_size=128
"""

import argparse
import pathlib


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "changes", nargs="*", metavar="GROUP.SETTING=VALUE", help="change a setting"
    )
    parser.add_argument("--config", required=True, help="FILE or FILE:ARGUMENT")
    parser.add_argument("--on", default="here", metavar="MACHINE", help="where it shall run")
    parser.add_argument("--images", type=int, default=100_000, help="pictures of an epoch")
    parser.add_argument("--people", type=int, default=1000, help="identities among them")
    parser.add_argument("--cameras", type=int, default=6, help="cameras that see them")
    parser.add_argument(
        "--tracklets", type=int, default=0, help="of videos (default: of 8 pictures or fewer)"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="OUT", help="write all figures")
