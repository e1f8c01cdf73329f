"""Are pictures told that are unlike those of a calibration, and only these?

    python scripts/benchmark_unlike.py DIR --source runs/bot --others market1501 mot17/tracklets

DIR is in the layout of Market-1501. Again and again half of its people are the known ones, with
whom pictures are described as `luperson calibrate` does, before all cameras or before one; pictures
of the others are new: as they are, of another camera, or changed. Tells in how many divisions new
pictures were called unlike: of those that are not changed these are false alarms. --others are
folders of other pictures. --source embeds, which only says how many people there are at least;
without it that is as if a network told everybody from everybody, of other folders each picture.
"""

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np
import rich.table
from PIL import Image, ImageFilter

import luperson_jax as lp
from data_pipeline import datasets, terminal
from data_pipeline.datasets import image_folder
from luperson_jax.retrieval import looks
from luperson_jax.retrieval.looks import Looks
from luperson_jax.structs import EmbeddingSet

BATCHES = {"1": (1, 1), "8 of one": (8, 8), "20, 8 of each": (20, 8), "20, 1 of each": (20, 1)}
"""Pictures, and how many of a person at most."""
TOGETHER = 0.95


def _wider(image: Image.Image) -> Image.Image:
    """With what the borders show mirrored outwards, by 15 % on each side."""
    height, width = image.height * 3 // 20, image.width * 3 // 20
    pixels = np.pad(np.asarray(image), ((height,) * 2, (width,) * 2, (0, 0)), mode="reflect")
    return Image.fromarray(pixels)


def _tighter(image: Image.Image) -> Image.Image:
    """Without 10 % on each side."""
    width, height = image.size
    return image.crop((width // 10, height // 10, width - width // 10, height - height // 10))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as they are": lambda image: image,
    "gray": lambda image: image.convert("L").convert("RGB"),
    "blurred, 1 pixel": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "blurred, 2 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "darker, 0.6": lambda image: image.point(lambda level: 0.6 * level),
    "red and blue exchanged": lambda image: Image.fromarray(np.asarray(image)[..., ::-1]),
    "cropped closer": _tighter,
    "cropped wider": _wider,
}


def seen(
    images: list[Image.Image], pid: np.ndarray, model: lp.ReidModel | None
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers [N, L] and features [N, D]."""
    arrays = [np.asarray(one) for one in images]
    if model is None:
        features = np.eye(len(np.unique(pid)), dtype=np.float32)[
            np.unique(pid, return_inverse=True)[1]
        ]
    else:
        features = model.embed(arrays)
    return np.array([looks.of_picture(one) for one in arrays]), features


def known_looks(numbers: np.ndarray, known: EmbeddingSet) -> Looks:
    """Described, with the distance that holds most pairs of one person."""
    near = 1 - known.features @ known.features.T
    same = np.triu(known.pid[:, None] == known.pid, 1)
    found = looks.describe(
        numbers, known.pid, known.camera, float(np.quantile(near[same], TOGETHER))
    )
    assert found is not None, "too few people"
    return found


def drawn(draw: np.random.Generator, pid: np.ndarray, batch: str) -> np.ndarray:
    """Rows of new pictures."""
    num, each = BATCHES[batch]
    rows: list[int] = []
    for person in draw.permutation(np.unique(pid)):
        rows += draw.permutation(np.flatnonzero(pid == person))[:each].tolist()
        if len(rows) >= num:
            break
    return np.array(rows[:num])


def told(
    everyone: EmbeddingSet,
    numbers: np.ndarray,
    new: dict[str, tuple[np.ndarray, np.ndarray]],
    others: dict[str, tuple[np.ndarray, np.ndarray]],
    division: int,
) -> dict[tuple[str, str], bool]:
    """By what is new and batch, whether it is called unlike, in one division of the people."""
    draw = np.random.default_rng(division)
    people = draw.permutation(np.unique(everyone.pid))
    is_known = np.isin(everyone.pid, people[: len(people) // 2])
    found = {}

    def known_of(rows: np.ndarray) -> Looks:
        return known_looks(numbers[rows], everyone.take(np.flatnonzero(rows)))

    whole = known_of(is_known)
    for batch in BATCHES:
        rows = np.flatnonzero(~is_known)
        chosen = rows[drawn(draw, everyone.pid[rows], batch)]
        for name, (of_new, features) in new.items():
            found[name, batch] = bool(whole.strange(of_new[chosen], features[chosen]))
        for name, (of_new, features) in others.items():
            some = draw.permutation(len(of_new))[: BATCHES[batch][0]]
            found[name, batch] = bool(whole.strange(of_new[some], features[some]))
        for one in np.unique(everyone.camera):
            alone = known_of(is_known & (everyone.camera == one))
            for camera in np.unique(everyone.camera):
                rows = np.flatnonzero(~is_known & (everyone.camera == camera))
                some = rows[drawn(draw, everyone.pid[rows], batch)]
                words = "the same" if camera == one else "another"
                strange = alone.strange(numbers[some], everyone.features[some])
                found[f"of {words} camera, {one} known", batch] = bool(strange)
    return found


def main() -> int:
    """Prints a line for each kind of new pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("market", help="a folder in the layout of Market-1501")
    parser.add_argument("--source", help="a run or weights")
    parser.add_argument("--others", nargs="*", default=[], help="folders of other pictures")
    parser.add_argument("--divisions", type=int, default=200)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    began = time.perf_counter()
    model = lp.load(options.source) if options.source else None
    splits = datasets.load("market1501", options.market)
    parts = [splits.train, splits.query, splits.gallery]
    images = [Image.open(path).convert("RGB") for part in parts for path in part.media]
    pid, camera = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("pid", "camera")
    )
    new = {
        name: seen([change(one) for one in images], pid, model) for name, change in CHANGES.items()
    }
    numbers, features = new["as they are"]
    everyone = EmbeddingSet(features, pid, camera, ("",) * len(pid))
    others = {}
    for folder in options.others:
        some = [Image.open(one).convert("RGB") for one in image_folder.paths(folder)]
        others[pathlib.Path(folder).name] = seen(some, np.arange(len(some)), model)
    divisions = [told(everyone, numbers, new, others, one) for one in range(options.divisions)]
    shares = {key: float(np.mean([one[key] for one in divisions])) for key in divisions[0]}
    table = rich.table.Table(title=f"called unlike, % of {options.divisions} divisions")
    for title in ("new pictures", *BATCHES):
        table.add_column(title, justify="right")
    for name in dict.fromkeys(name for name, _ in shares):
        table.add_row(name, *(f"{100 * shares[name, batch]:.1f}" for batch in BATCHES))
    terminal.console(soft_wrap=False).print(table)
    terminal.say(f"{time.perf_counter() - began:.0f} s")
    if options.json:
        rows = [{"new": new, "batch": batch, "told": one} for (new, batch), one in shares.items()]
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("benchmark_unlike", main))
