"""uPMnet and DAL, their parts and heads, and tracklets that are clustered, on video without labels.

    python scripts/study_video.py --root runs/video
    python scripts/study_video.py --root runs/video_six --cameras 6
    python scripts/study_video.py --root runs/video_real --crops pku_reid

Draws walking people in the layout of PRID2011 (2 cameras) or of MARS (more), or writes crops in the
layout of Market-1501 as tracklets of two cameras in that of PRID2011; pre-trains with MoCo on the
training frames, trains every row with every seed, and evaluates tracklets of other people. Passes
over what is done; writes ROOT/table.md, ROOT/table.json and ROOT/rows.png.
"""

import argparse
import json
import pathlib
import sys

from PIL import Image

from data_pipeline import datasets
from data_pipeline.read import atomic
from luperson_jax import cli
from luperson_jax.run import studies

WORLD = ["--height", "128", "--width", "64", "--frames", "8", "--distractors", "0", "--junk", "0"]
PEOPLE = {
    "prid2011": ["--identities", "200", "--train-identities", "100", "--cameras", "2"],
    "mars": ["--identities", "120", "--train-identities", "60", "--tracklets", "2"],
}
MEASURES = {"rank1": "Rank-1", "rank5": "Rank-5", "rank20": "Rank-20", "mAP": "mAP"}

NETWORK = """
    model.arch=resnet18 model.width=8 model.last_stride=1 model.compute_dtype=float32
    model.bn_momentum=0.1 augment.statistics=imagenet data.canvas=128,64 data.size=128,64
    data.num_workers=0 train.keep_checkpoints=1 train.log_every_steps=25 train.epochs=8
    train.steps_per_epoch=25
"""
UPMNET = f"{NETWORK} task.relation_dim=32 task.warm_up_epochs=2 train.init_from="
MOCO = """
    small:pretrain model.bn_group_size=32 model.width=8 data.canvas=128,64 data.size=128,64
    data.num_workers=0 data.batch_size=64 task.queue_size=256 train.epochs=8
    train.steps_per_epoch=50 eval.dataset= augment.recipe=ori
"""
CLUSTERED = f"""{NETWORK} model.bn_group_size=64 data.batch_size=64 data.num_instances=8
    optim.lr=2e-3 optim.milestones=6 task.clustering=communities task.eps=0.8 task.min_samples=2
    task.k1=6 task.k2=2 eval.pool=max"""
HEADS = {
    "DAL: whole person, local": "parts=1,head=local",
    "local": "parts=8,head=local",
    "global": "parts=8,head=global",
    "fused": "parts=8,head=fused",
    "global, frozen": "parts=8,head=global,relation=frozen",
    "fused, frozen": "parts=8,head=fused,relation=frozen",
    "fused, 1 part": "parts=1,head=fused",
    "fused, 2 parts": "parts=2,head=fused",
    "fused, 4 parts": "parts=4,head=fused",
}


def rows(data: str, dataset: str, home: str) -> list[str]:
    """Every row as `luperson study` takes it."""
    where = f"data.dataset={dataset} eval.dataset={dataset} data.root={home} eval.root={home}"
    start = "train.init_from={root}/MoCo/seed{seed}"
    still = "optim.lr=0 train.epochs=1 train.steps_per_epoch=1"
    found = [f"MoCo: {MOCO} data.dataset={dataset} data.root={home}"]
    for name, init in (("random weights", ""), ("MoCo alone", start)):
        found.append(
            f"{name}: upmnet:data={data},parts=8,head=local {UPMNET} {where} {still} {init}"
        )
    for name, given in HEADS.items():
        found.append(f"{_plain(name)}: upmnet:data={data},{given} {UPMNET} {where}")
    found.append(f"fused from MoCo: upmnet:data={data},head=fused {UPMNET} {where} {start}")
    for name, init in (("random", "train.init_from="), ("MoCo", start)):
        for method in ("cluster_contrast", "calr"):
            row = f"{method}:data={data},init=scratch,pooling=avg {CLUSTERED} {where} {init}"
            found.append(f"{method} of tracklets from {name}: {row}")
    return [" ".join(row.split()) for row in found]


def _plain(name: str) -> str:
    return name.replace(":", "").replace(",", "")


def draw_world(home: pathlib.Path, data: str, cameras: int) -> None:
    """Writes the drawn video, where it is not there yet."""
    if not home.exists():
        more = ["--cameras", str(cameras)] if data == "mars" else []
        options = ["--root", str(home), "--layout", data, *WORLD, *PEOPLE[data], *more]
        cli.main(["data", "make", *options])


def write_crops(home: pathlib.Path, crops: str) -> None:
    """Writes labeled crops of two cameras as PRID2011: the pictures of a person by a camera are a
    tracklet, and half of the people, every second one, are for training."""
    if home.exists():
        return
    splits = datasets.load("market1501", crops, "--crops", 0)
    names = set()
    for table in (splits.train, splits.query, splits.gallery):
        for path, pid, camera in zip(table.media, table.pid, table.camera, strict=True):
            name = f"person_{pid:04d}"
            folder = home / "multi_shot" / f"cam_{'ab'[camera - splits.train.camera.min()]}" / name
            folder.mkdir(parents=True, exist_ok=True)
            number = len(list(folder.iterdir())) + 1
            with Image.open(path) as picture:
                picture.save(folder / f"{number:04d}.png")
            names.add(name)
    listed = sorted(names)
    split = {"train": listed[::2], "test": listed[1::2]}
    atomic.write_text(home / "splits_prid2011.json", json.dumps([split] * 10))


def main() -> int:
    """The exit status of `luperson study`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder of all runs")
    parser.add_argument("--cameras", type=int, default=2, help="of the drawn world")
    parser.add_argument("--crops", default="", help="labeled crops of two cameras in its place")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row")
    parser.add_argument("changes", nargs="*", help="GROUP.SETTING=VALUE, of all rows")
    given = parser.parse_args()
    data = "prid2011" if given.crops or given.cameras == 2 else "mars"
    home = given.root / "data"
    if given.crops:
        write_crops(home, given.crops)
    else:
        draw_world(home, data, given.cameras)
    dataset = "prid2011_json" if given.crops else data
    listed = [word for row in rows(data, dataset, str(home)) for word in ("--row", row)]
    seeds = ["--seeds", str(given.seeds)]
    status = cli.main(["study", "--root", str(given.root), *seeds, *listed, *given.changes])
    if not status:
        lines = json.loads((given.root / studies.TABLE_FILE).read_text())
        atomic.write_text(given.root / studies.PAGE_FILE, studies.as_markdown(lines, MEASURES))
    return status


if __name__ == "__main__":
    sys.exit(main())
