"""`luperson export SOURCE --to PROGRAM --out PATH`: a network for other programs.

SOURCE is a run, a file of weights, or a folder of `luperson pack-model`. What is written takes any
number of pictures at once, in RGB and of the size that is said, normalizes them itself, and gives
features of unit length. It is compared with the network on pictures, and stays only where both
agree.

    stablehlo    FILE.stablehlo, for JAX: jax.export.deserialize(...).call(pictures)
    onnx         FILE.onnx, for ONNX Runtime, TensorRT, OpenVINO
    torch        FILE.torchscript or FILE.pt, for torch.jit.load
    boxmot       FILE.onnx, re-ID weights of BoxMOT, which normalizes by ImageNet's numbers: undone
    ultralytics  FILE.onnx, `model:` of its BoT-SORT with `with_reid: True`
    reid         FOLDER of Roboflow's `reid`

Example:
    luperson export runs/bot --to onnx --out bot.onnx
    luperson export people-r50 --to boxmot --out people.onnx --pictures crops/
    luperson export runs/bot --to torch --out bot.torchscript --input float32 --layout nchw
"""

import argparse

from luperson_jax.commands.options import shared

TARGETS = ("stablehlo", "onnx", "torch", "boxmot", "ultralytics", "reid")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("source", metavar="SOURCE", help="workdir, file of weights, or packed one")
    parser.add_argument("--to", required=True, choices=TARGETS, help="which program, see above")
    parser.add_argument("--out", required=True, metavar="PATH", help="file or folder to be made")
    parser.add_argument(
        "--input",
        choices=("uint8", "float32"),
        help="of stablehlo, onnx, torch: pixels of 0 to 255 as they are, or of 0 to 1 (default: "
        "uint8)",
    )
    parser.add_argument(
        "--layout",
        choices=("nhwc", "nchw"),
        help="of the same: channels last or second (default: nhwc, of torch nchw)",
    )
    parser.add_argument(
        "--pictures",
        metavar="FOLDER",
        help="compare on these pictures, the first 32 (default: on 8 drawn people)",
    )
    parser.add_argument("--json", metavar="OUT", help="write how well both agree")
    parser.add_argument(
        "--checkpoint", choices=("last", "best"), help="of a run (default: the recipe's)"
    )
    parser.add_argument(
        "--statistics", help=f"pixels that a file's weights expect: {', '.join(shared.STATISTICS)}"
    )
