"""The table of CMPE597, as published and corrected, with the published figures beside it.

    python scripts/study_cmpe597.py --root runs/cmpe597 --market Market-1501-v15.09.15 \\
        --lup weights/lup_r50.npz
    python scripts/study_cmpe597.py --root runs/cmpe597_small --market runs/world --lup runs/moco \\
        --small

Writes the lists of the parts below ROOT/split, pre-trains and fine-tunes each row with every seed,
passes over what is done, and writes ROOT/table.md. See `configs/cmpe597.py`.
"""

import argparse
import pathlib
import sys

from data_pipeline.subsets import cmpe
from luperson_jax import cli

VARIANTS = {"Def": "default", "CJ": "color", "AF": "affine"}
FEATURES = {"Def": (2.59, 7.3), "CJ": (4.50, 14.4), "AF": (3.24, 9.0)}
PUBLISHED = {
    "Def_SSL + ft": (31.4, 55.0),
    "CJ_SSL + ft": (32.0, 56.1),
    "AF_SSL + ft": (31.1, 55.0),
    "PT + Def_ft": (48.6, 74.2),
    "PT + CJ_ft": (48.2, 73.5),
    "PT + AF_ft": (46.4, 72.4),
}
"""mAP and Rank-1 in percent; `FEATURES`: of the pre-trainings themselves."""


def rows(root: pathlib.Path, lup: str, small: bool) -> list[str]:
    """The pre-trainings, then the six rows both ways, as `luperson study` takes them."""
    base = f"cmpe597:small={small}"
    split = root / "split"
    found = []
    for short, variant in VARIANTS.items():
        listed = f"data.subset_list={split / cmpe.PRETRAIN_FILE}"
        figures = _published(FEATURES[short])
        found.append(f"{short}_SSL: {base},stage=pretrain,variant={variant} {listed} {figures}")
    for way in ("published", "corrected"):
        for name, figures in PUBLISHED.items():
            start, _, end = name.partition(" + ")
            variant = VARIANTS[end.removesuffix("_ft")] if start == "PT" else "default"
            own = f"{root}/{start}/seed{{seed}}" if way == "corrected" else ""
            found.append(
                f"{name} {way}: {base},stage=finetune,way={way},variant={variant} "
                f"data.subset_list={split / cmpe.FINETUNE_FILE} "
                f"train.init_from={lup if start == 'PT' else own} {_published(figures)}"
            )
    return found


def _published(figures: tuple[float, float]) -> str:
    return f"published.mAP={figures[0]} published.rank1={figures[1]}"


def main() -> int:
    """The exit status of `luperson study`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder of all runs")
    parser.add_argument("--market", required=True, help="folder of Market-1501, or in its layout")
    parser.add_argument("--lup", required=True, help="LUPerson's weights, or a workdir of MoCo")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row")
    parser.add_argument("--small", action="store_true", help="a network for two CPU cores")
    parser.add_argument("changes", nargs="*", help="GROUP.SETTING=VALUE, of all rows")
    given = parser.parse_args()
    split = given.root / "split"
    if not (split / cmpe.FINETUNE_FILE).exists():
        options = ["--dataset", "market1501", "--root", given.market]
        status = cli.main(["data", "split", *options, "--mode", "cmpe", "--out", str(split)])
        if status:
            return status
    listed = [word for row in rows(given.root, given.lup, given.small) for word in ("--row", row)]
    roots = [f"data.root={given.market}", f"eval.root={given.market}"]
    seeds = ["--seeds", str(given.seeds)]
    return cli.main(["study", "--root", str(given.root), *seeds, *listed, *roots, *given.changes])


if __name__ == "__main__":
    sys.exit(main())
