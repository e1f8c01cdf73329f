"""`luperson convert IN OUT`: reads any weights, writes them for either world, says all it did.

Example:
    luperson convert lup_moco_r50.pth lup_r50.npz
"""

import argparse

from luperson_jax.commands.options import shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    families = ", ".join(shared.FAMILIES)
    parser.add_argument("source", metavar="IN", help="PyTorch file, model file or workdir")
    parser.add_argument(
        "target",
        metavar="OUT",
        help=".npz: a model file; .pth, .pt, .safetensors: for PyTorch; with --config: a workdir",
    )
    parser.add_argument(
        "--from", dest="family", default="auto", help=f"kind of IN: auto, {families}"
    )
    parser.add_argument(
        "--to", default="auto", help="names that a PyTorch file gets; the same list"
    )
    parser.add_argument("--only-backbone", action="store_true", help="leave out all but the trunk")
    parser.add_argument(
        "--skip-classifier", action="store_true", help="leave out the classifier over identities"
    )
    parser.add_argument(
        "--allow-partial", action="store_true", help="accept missing and unknown tensors"
    )
    parser.add_argument(
        "--statistics", help=f"pixels that the weights expect: {', '.join(shared.STATISTICS)}"
    )
    parser.add_argument(
        "--size",
        help="HEIGHTxWIDTH in pixels that the network was trained with (default: as IN says)",
    )
    parser.add_argument("--config", help="configuration of the workdir: FILE or FILE:ARGUMENT")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="GROUP.SETTING=VALUE",
        help="change a setting of --config; may be repeated",
    )
