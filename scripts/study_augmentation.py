"""LUPerson's ablation of views and temperature, and four methods on noisy labels, on drawn people.

    python scripts/study_augmentation.py --root runs/augmentation

Draws the world below ROOT, pre-trains each row with every seed on passers-by whose labels are of
passes of one camera, a fifth of them wrong, fine-tunes on 30 of 300 labeled people and evaluates on
100 others. Passes over what is done; writes ROOT/table.md, ROOT/table.json and ROOT/rows.png.

The papers: D. Fu et al., "Unsupervised Pre-training for Person Re-identification", CVPR 2021, whose
table of views was measured on CUHK03 and stands beside ours; D. Fu et al., "Large-Scale
Pre-training for Person Re-identification with Noisy Labels", CVPR 2022.
"""

import argparse
import pathlib
import sys
from collections.abc import Mapping

from luperson_jax import cli

SWITCH_RATE = "0.4"  # share of passes that turn into somebody else halfway
SIZE = ["--cameras", "8", "--height", "64", "--width", "32"]
LABELLED = ["--identities", "400", "--train-identities", "300", "--images-per-camera", "1"]

VIEWS = {
    "default": ("ori", (73.4, 74.0)),
    "+RE": ("ori+re", (74.2, 74.8)),
    "-GS": ("ori-gs", (73.2, 73.9)),
    "-GB": ("ori-gb", (73.3, 74.1)),
    "-CJ": ("ori-cj", (74.0, 74.6)),
    "-CJ+RE": ("ori-cj+re", (74.7, 75.4)),
}
"""Recipe, and what the paper has on CUHK03 (mAP, Rank-1)."""

STRONG = "ori-cj+sre"
"""Erasing up to 0.6, as of the released weights: of the four methods, and of the temperatures."""
ERASING = {"0.2": "ori-cj+wre", "0.8": "ori-cj+ssre"}
"""By the largest erased area; 0.4 is the row -CJ+RE, 0.6 the row moco."""

TEMPERATURES = ("0.05", "0.07", "0.2")  # 0.1 is the row moco

SMALL = """
    model.arch=resnet18 model.width=16 model.last_stride=1 model.compute_dtype=float32
    data.canvas=64,32 data.size=64,32 data.batch_size=128 data.num_workers=0
    augment.statistics=imagenet task.temperature=0.1 task.feature_dim=128
    optim.optimizer=sgd optim.lr=0.06 optim.schedule=cosine_per_epoch optim.warmup_epochs=0
    train.epochs=4 train.keep_checkpoints=1 eval.dataset= eval.probes=
"""
"""A ResNet-18 of a quarter of the width, and one optimizer for all methods."""

QUEUE = "task.queue_size=1024 task.momentum=0.99 model.bn_group_size=32"
METHODS = {
    "moco": QUEUE,
    "simclr": "optim.peak_multiplier=1",
    "supcont": "optim.peak_multiplier=1",
    "pnl": f"{QUEUE} task.prototype_momentum=0.9 task.start_clean_epoch=1 "
    "task.start_supcont_epoch=2",
}
"""Short runs: keys and prototypes follow faster, and PNL mends labels from its second epoch."""

FINETUNE = """demo:finetune data.subset=ids data.ratio=0.1 data.repeat=4 eval.every_epochs=0
    train.epochs=10 optim.milestones=8"""


def rows(root: pathlib.Path) -> list[str]:
    """Every pre-training and the fine-tuning from it, as `luperson study` takes them."""
    finetune = " ".join(FINETUNE.split())
    labelled = f"data.root={root}/labelled eval.root={root}/labelled"
    found = [f"random weights: {finetune} {labelled}"]
    for name, (pretraining, published) in _pretrainings().items():
        found.append(f"pre-training {name}: {pretraining} data.root={root}/passers_by")
        start = f"train.init_from={root}/pre-training-{_folder(name)}/seed{{seed}}"
        beside = published and f"published.mAP={published[0]} published.rank1={published[1]}"
        found.append(f"{name}: {finetune} {labelled} {start} {beside or ''}")
    return found


def _pretrainings() -> Mapping[str, tuple[str, tuple[float, float] | None]]:
    """By the name of the row: configuration and changes, and the published figures."""
    found: dict[str, tuple[str, tuple[float, float] | None]] = {
        f"views {name}": (_row("moco", views), both) for name, (views, both) in VIEWS.items()
    }
    found["moco"] = (_row("moco", STRONG), None)
    for name in ("simclr", "supcont", "pnl"):
        found[name] = (_row(name, STRONG), None)
    found |= {f"erasing {area}": (_row("moco", views), None) for area, views in ERASING.items()}
    for value in TEMPERATURES:
        row = f"{_row('moco', STRONG)} task.temperature={value}"
        found[f"temperature {value}"] = (row, None)
    return found


def _row(method: str, views: str) -> str:
    small = " ".join(SMALL.split())
    return f"pretrain_nl:method={method} {small} {METHODS[method]} augment.recipe={views}"


def _folder(name: str) -> str:
    return name.replace(" ", "-")


def draw_world(root: pathlib.Path) -> None:
    """Writes the folders that are not there yet."""
    passes = ["--identities", "350", "--tracklets", "2", "--frames", "8"]
    folders = {
        "labelled": ["market1501", *LABELLED],
        "passers_by": ["luperson_nl", *passes, "--switch-rate", SWITCH_RATE],
    }
    for folder, extent in folders.items():
        if not (root / folder).exists():
            cli.main(["data", "make", "--root", str(root / folder), *SIZE, "--layout", *extent])


def main() -> int:
    """The exit status of `luperson study`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder of all runs")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row")
    parser.add_argument("changes", nargs="*", help="GROUP.SETTING=VALUE, of all rows")
    given = parser.parse_args()
    draw_world(given.root)
    listed = [word for row in rows(given.root) for word in ("--row", row)]
    seeds = ["--seeds", str(given.seeds)]
    return cli.main(["study", "--root", str(given.root), *seeds, *listed, *given.changes])


if __name__ == "__main__":
    sys.exit(main())
