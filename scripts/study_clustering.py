"""Cluster Contrast, SpCL and CALR with and without each of its parts, from random weights and from
MoCo, without labels.

    python scripts/study_clustering.py --root runs/clustering
    python scripts/study_clustering.py --root runs/clustering_real --labelled Market-1501 \
        --unlabelled crops changes...

Without --labelled draws a world of 8 cameras. Pre-trains with MoCo on the unlabeled pictures, makes
CALR's local labels from both starts, trains every row with every seed and evaluates on people that
were not trained on. Passes over what is done; writes ROOT/table.md, ROOT/table.json, ROOT/rows.png
and ROOT/epochs.png: mAP and pairwise F of the clusters by epoch.
"""

import argparse
import collections
import json
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from luperson_jax import cli
from luperson_jax.measure import plots
from luperson_jax.workdir import metrics_file

WORLD = ["--cameras", "8", "--height", "64", "--width", "32"]
LABELLED = ["--identities", "100", "--train-identities", "60", "--images-per-camera", "5"]
UNLABELLED = ["--identities", "1500", "--tracklets", "2", "--frames", "2"]

NETWORK = """
    model.arch=resnet18 model.width=16 model.last_stride=1 model.pooling=avg
    model.compute_dtype=float32 augment.statistics=imagenet
    data.canvas=64,32 data.size=64,32 data.num_workers=0 train.keep_checkpoints=1
"""
MOCO = f"""small:pretrain {NETWORK} train.epochs=20
    eval.dataset=market1501 eval.every_epochs=0"""
CLUSTERED = f"""{NETWORK} data.dataset=market1501 eval.dataset=market1501 eval.every_epochs=1
    model.bn_group_size=64 data.batch_size=64 data.num_instances=8 task.k1=15 task.k2=4
    optim.lr=2e-3 optim.milestones=8 train.epochs=12 train.steps_per_epoch=25 train.best=
    train.log_every_steps=25"""
LOCAL = f"""{NETWORK} data.dataset=market1501 eval.dataset= optim.lr=2e-3 optim.milestones=3
    model.bn_group_size=32 data.batch_size=32 data.num_instances=4 task.images_per_cluster=4
    train.epochs=4 train.steps_per_epoch=15"""

COMMUNITIES = "task.clustering=communities task.eps=0.8 task.min_samples=4"
LABELS = "task.local_labels={root}/local-START/local_labels.npz"
ROWS = {
    "Cluster Contrast by DBSCAN": "cluster_contrast:init=scratch,pooling=avg",
    "Cluster Contrast": f"cluster_contrast:init=scratch,pooling=avg {COMMUNITIES}",
    "SpCL": "spcl:init=scratch",
    "CALR": f"calr:init=scratch {COMMUNITIES} {LABELS}",
    "CALR without refinement": f"calr:init=scratch {COMMUNITIES}",
    "CALR without weights": f"calr:init=scratch {COMMUNITIES} {LABELS} task.weights_from_epoch=-1",
    "CALR without the camera loss": f"calr:init=scratch {COMMUNITIES} {LABELS} "
    "task.camera_epochs=0",
}
STARTS = {"random": "", "moco": "{root}/MoCo/seed{seed}"}


def rows(labelled: str, unlabelled: str) -> list[str]:
    """The pre-training, then every method from both starts, as `luperson study` takes them."""
    where = f"data.root={labelled} eval.root={labelled}"
    found = [f"MoCo: {MOCO} data.root={unlabelled} eval.root={labelled}"]
    for start, place in STARTS.items():
        for name, row in ROWS.items():
            method, _, changes = row.replace("START", start).partition(" ")
            more = "" if name == "SpCL" else "task.weights_from_epoch=3 " * name.startswith("CALR")
            found.append(
                f"{name} from {start}: {method} {CLUSTERED} {more}{changes} {where} "
                f"train.init_from={place}"
            )
    return [" ".join(row.split()) for row in found]


def make_local_labels(root: pathlib.Path, labelled: str, changes: Sequence[str]) -> int:
    """CALR's first stage from both starts, by the first seed; the exit status."""
    for start, place in STARTS.items():
        out = root / f"local-{start}"
        init = place.format(root=root, seed=0)
        given = [*LOCAL.split(), f"data.root={labelled}", f"train.init_from={init}", *changes]
        if not (out / "local_labels.npz").exists():
            options = ["--config", "calr:stage=local,init=scratch", "--root", str(out)]
            if status := cli.main(["local-labels", *options, *given]):
                return status
    return 0


def draw_world(root: pathlib.Path) -> None:
    """Writes the folders that are not there yet."""
    for folder, layout, extent in (
        ("labelled", "market1501", LABELLED),
        ("unlabelled", "folder", UNLABELLED),
    ):
        if not (root / folder).exists():
            options = ["--root", str(root / folder), *WORLD, "--layout", layout, *extent]
            cli.main(["data", "make", *options])


def draw_epochs(root: pathlib.Path) -> None:
    """mAP and pairwise F of the clusters by epoch: means over the seeds, a line for each method."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, len(STARTS), sharex=True, sharey="row")
    for column, start in enumerate(STARTS):
        for name in ROWS:
            folder = root / f"{name} from {start}".replace(" ", "-")
            for row, figure_name in enumerate(("market1501/mAP", "clusters/pairwise_f")):
                steps, values = _means(folder, figure_name)
                panels[row, column].plot(steps, values, label=name)
        panels[0, column].set(title=f"from {start}")
        panels[1, column].set(xlabel="step")
    panels[0, 0].set(ylabel="mAP, %")
    panels[1, 0].set(ylabel="pairwise F of the clusters, %")
    lines, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=4, fontsize=8)
    plots.save(figure, root / "epochs.png")


def _means(folder: pathlib.Path, name: str) -> tuple[list[int], list[float]]:
    """Percent by step, over the seeds of a row."""
    found: Mapping[int, list[float]] = collections.defaultdict(list)
    for path in sorted(folder.glob(f"seed*/{metrics_file.METRICS_FILE}")):
        for line in map(json.loads, path.read_text().splitlines()):
            if name in line:
                found[line["step"]].append(100 * line[name])
    steps = sorted(found)
    return steps, [statistics.fmean(found[step]) for step in steps]


def main() -> int:
    """The exit status of `luperson study`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder of all runs")
    parser.add_argument("--labelled", default="", help="folder in the layout of Market-1501")
    parser.add_argument("--unlabelled", default="", help="folders of crops, by commas")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row")
    parser.add_argument("changes", nargs="*", help="GROUP.SETTING=VALUE, of all rows")
    given = parser.parse_args()
    if bool(given.labelled) != bool(given.unlabelled):
        parser.error("--labelled and --unlabelled go together")
    root, changes = given.root, given.changes
    if not given.labelled:
        draw_world(root)
    labelled = given.labelled or f"{root}/labelled"
    listed = rows(labelled, given.unlabelled or f"{root}/unlabelled")

    def study(some: Sequence[str]) -> int:
        words = [word for row in some for word in ("--row", row)]
        return cli.main(
            ["study", "--root", str(root), "--seeds", str(given.seeds), *words, *changes]
        )

    status = study(listed[:1]) or make_local_labels(root, labelled, changes) or study(listed)
    if not status:
        draw_epochs(root)
    return status


if __name__ == "__main__":
    sys.exit(main())
