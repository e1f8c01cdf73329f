"""`luperson estimate` on drawn worlds: what it learns from, and how often its interval is right.

    python scripts/study_estimates.py --root runs/estimates                  # measure
    python scripts/study_estimates.py --root runs/estimates --write          # learn, write, measure
    python scripts/study_estimates.py --root runs/estimates --worlds 0 --market DIR   # a real set

Draws worlds of 12 to 40 people before 2 to 4 cameras in tracklets of 2 or 3 frames; not everybody
is seen everywhere, and some come twice. Features are colors, directions learned from people of
other worlds, these with noise, or these with a person's pictures pulled together, as training does,
so that mAP lies anywhere. --write learns from the first worlds and writes the table that comes with
the program. Then the intervals of the other worlds, one kind of features each, are compared with
the truth. Worlds are kept in ROOT. --market takes a folder in the layout of Market-1501: by colors,
by directions of drawn people, and by those of one half of its own people on the other half.
"""

import argparse
import pathlib
import sys
import time
from typing import NamedTuple

import benchmark_thresholds
import drawn_features
import numpy as np
import rich.table

from data_pipeline import terminal
from data_pipeline.errors import InputError
from luperson_jax.commands import output
from luperson_jax.measure import estimation
from luperson_jax.retrieval import label_free
from luperson_jax.structs import EmbeddingSet

LEARNING, MEASURED, KINDS_OF_A_WORLD = 100, 200, 3
FIRST_WORLD, FIRST_KNOWN = 1000, 500
SIZE = (32, 16)
LEARNED_FROM = (8, 12, 16, 24, 32, 48, 64, 96)
"""People of other worlds whose pictures directions are learned from, besides all of them."""
KNOWN_WORLDS, KNOWN_PEOPLE, KNOWN_CAMERAS = 6, 40, 3
TABLE = pathlib.Path(estimation.__file__).with_name(estimation.TABLE)


class Case(NamedTuple):
    """One kind of features of one world.

    Attributes:
        world: number.
        kind: of features.
        traces: [S], see `label_free.NAMES`.
        truth: [2] by `estimation.MEASURES`.
    """

    world: int
    kind: str
    traces: np.ndarray
    truth: np.ndarray


def world(number: int, root: pathlib.Path) -> EmbeddingSet:
    """Colors of the pictures of a world, whose keys begin with their tracklets."""
    path = root / f"{number}.npz"
    if path.exists():
        stored = np.load(path)
        features, pid, camera = (stored[name] for name in ("features", "pid", "camera"))
        return EmbeddingSet(features, pid, camera, tuple(stored["key"].tolist()))
    draw = np.random.default_rng([number, 77])
    people, cameras = int(draw.integers(12, 41)), int(draw.integers(2, 5))
    present, again = draw.uniform(0.5, 1), draw.uniform(0, 0.3)
    frames = int(draw.integers(2, 4))
    passes = []
    for person in range(people):
        for camera in range(cameras):
            if draw.random() < present:
                passes.append((person, camera, 0))
                if draw.random() < again:
                    passes.append((person, camera, 1))
    found = drawn_features.draw(FIRST_WORLD + number, passes, frames, SIZE)
    features = found.features.astype(np.float16)
    np.savez(path, features=features, pid=found.pid, camera=found.camera, key=np.array(found.key))
    return EmbeddingSet(features, found.pid, found.camera, found.key)


def known_people(root: pathlib.Path) -> EmbeddingSet:
    """People of other worlds, from whom directions are learned."""
    path = root / "known.npz"
    if not path.exists():
        passes = [(p, c, 0) for p in range(KNOWN_PEOPLE) for c in range(KNOWN_CAMERAS)]
        parts = [drawn_features.draw(FIRST_KNOWN + one, passes) for one in range(KNOWN_WORLDS)]
        np.savez(
            path,
            features=np.concatenate([one.features for one in parts]),
            pid=np.concatenate([1000 * one + part.pid for one, part in enumerate(parts)]),
        )
    stored = np.load(path)
    pid = stored["pid"]
    return EmbeddingSet(stored["features"], pid, pid, ("",) * len(pid))


def all_directions(known: EmbeddingSet) -> list[np.ndarray]:
    """Directions learned from few people, from more, from all."""
    everyone = np.unique(known.pid)
    found = []
    for num in (*LEARNED_FROM, len(everyone)):
        chosen = np.random.default_rng(num).permutation(everyone)[:num]
        taken = known.take(np.flatnonzero(np.isin(known.pid, chosen)))
        found.append(drawn_features.learn(taken, min(num - 1, 64)))
    return found


def features(
    colors: np.ndarray, pid: np.ndarray, directions: list[np.ndarray], draw: np.random.Generator
) -> tuple[str, np.ndarray]:
    """Features of some kind, and its name."""
    kind, found = _plain(colors.astype(np.float32), directions, draw)
    if draw.random() >= 0.65:
        return kind, found
    people, number = np.unique(pid, return_inverse=True)
    centers = np.zeros((len(people), found.shape[1]), np.float32)
    np.add.at(centers, number, found)
    centers /= np.bincount(number)[:, None]
    pull = draw.uniform(0.05, 0.7)
    return "pulled", (1 - pull) * found + pull * centers[number]


def _plain(
    colors: np.ndarray, directions: list[np.ndarray], draw: np.random.Generator
) -> tuple[str, np.ndarray]:
    kind = draw.choice(["colors", "learned", "learned", "learned", "noisy"])
    if kind == "colors":
        return kind, colors - colors.mean(axis=0) if draw.random() < 0.5 else colors
    learned = directions[-1] if kind == "noisy" else directions[draw.integers(len(directions))]
    found = drawn_features.apply(learned, colors)
    if kind == "noisy":
        noise = draw.standard_normal(found.shape).astype(np.float32)
        found = found + np.float32(draw.uniform(0.2, 1.5) * found.std()) * noise
    return kind, found


def truth(features: np.ndarray, pid: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """mAP and Rank-1 of all pictures by the rule of Market-1501, as `ranking.rank` has them; that
    compiles a program for each size, which takes longer than many small worlds."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    same, near = pid[:, None] == pid, camera[:, None] == camera
    similarity = np.where(same & near, -np.inf, unit @ unit.T)  # not seen: behind all others
    order = np.argsort(-similarity, axis=1, kind="stable")
    hits = np.take_along_axis(same & ~near, order, axis=1)
    hits = hits[hits.any(axis=1)]
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    average = np.sum(precision * hits, axis=1) / hits.sum(axis=1)
    return np.array([average.mean(), hits[:, 0].mean()])


def cases(number: int, num: int, directions: list[np.ndarray], root: pathlib.Path) -> list[Case]:
    """A world with some kinds of features."""
    drawn = world(number, root)
    tracklet = np.array([int(key.split("/")[0]) for key in drawn.key])
    found = []
    for one in range(num):
        kind, each = features(
            drawn.features, drawn.pid, directions, np.random.default_rng([number, one])
        )
        try:
            traces = label_free.statistics(label_free.gather(each, tracklet, drawn.camera))
        except InputError:  # too few tracklets before a camera
            continue
        right = truth(each, drawn.pid, drawn.camera)
        found.append(Case(number, kind, label_free.vector(traces), right))
    return found


def beside(
    fit: estimation.Fit, real: EmbeddingSet, directions: list[np.ndarray]
) -> rich.table.Table:
    """Estimates of a real set beside the truth, for three kinds of features."""
    people = np.unique(real.pid)
    half = real.take(np.flatnonzero(np.isin(real.pid, people[::2])))
    rest = real.take(np.flatnonzero(~np.isin(real.pid, people[::2])))
    kinds = {
        "colors": (real, real.features),
        "directions of drawn people": (
            real,
            drawn_features.apply(directions[-1], real.features),
        ),
        "directions of the other half": (
            rest,
            drawn_features.apply(drawn_features.learn(half, 16), rest.features),
        ),
    }
    table = rich.table.Table()
    for title in ("features", "people", "figure", "truth", "estimate", "interval", "outside"):
        table.add_column(title, justify="right")
    for name, (everyone, features_of_all) in kinds.items():
        pairs = np.stack([everyone.pid, everyone.camera])
        tracklet = np.unique(pairs, axis=1, return_inverse=True)[1].ravel()
        rows = label_free.thin(tracklet)
        one, values, tracklet = everyone.take(rows), features_of_all[rows], tracklet[rows]
        gathered = label_free.gather(values, tracklet, one.camera)
        traces = label_free.vector(label_free.statistics(gathered))
        right = truth(values, one.pid, one.camera)
        found = fit.estimate(traces)
        for place, figure in enumerate(estimation.MEASURES):
            value, ends = found[figure]
            cells = [name, str(len(np.unique(one.pid))), figure]
            cells += [f"{100 * share:.1f}" for share in (right[place], value)]
            cells += [" to ".join(f"{100 * end:.1f}" for end in ends)]
            table.add_row(*cells, ", ".join(fit.strange(traces)))
    return table


def main() -> int:
    """Learns if asked to, and prints how often intervals hold the truth."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder of the worlds")
    parser.add_argument("--write", action="store_true", help="learn, and write the table")
    parser.add_argument("--learning", type=int, default=LEARNING, help="number of worlds")
    parser.add_argument("--worlds", type=int, default=MEASURED, help="number of worlds measured")
    parser.add_argument("--market", help="a folder in the layout of Market-1501")
    options = parser.parse_args()
    options.root.mkdir(parents=True, exist_ok=True)
    began, known = time.perf_counter(), known_people(options.root)
    directions = all_directions(known)
    if options.write:
        learned = [
            case
            for number in range(options.learning)
            for case in cases(number, KINDS_OF_A_WORLD, directions, options.root)
        ]
        columns = (np.array([getattr(one, name) for one in learned]) for name in Case._fields)
        numbers, _, traces, right = columns
        output.write_json(TABLE, estimation.fit(traces, right, numbers).values())
        terminal.say(f"{TABLE}: from {len(learned)} cases, {time.perf_counter() - began:.0f} s")
    measured = [
        case
        for number in range(options.learning, options.learning + options.worlds)
        for case in cases(number, 1, directions, options.root)
    ]
    fit, console = estimation.shipped(), terminal.console(soft_wrap=False)
    if measured:
        console.print(report(fit, measured))
    if options.market:
        console.print(beside(fit, benchmark_thresholds.people_of(options.market), directions))
    terminal.say(f"{time.perf_counter() - began:.0f} s")
    return 0


def report(fit: estimation.Fit, measured: list[Case]) -> rich.table.Table:
    """A line for each measure and confidence: how often intervals hold, how wide, how far off."""
    table = rich.table.Table()
    for title in ("figure", "interval", "worlds", "held", "half width", "mean error"):
        table.add_column(title, justify="right")
    for place, name in enumerate(estimation.MEASURES):
        for confidence in estimation.CONFIDENCES:
            held, widths, errors = [], [], []
            for case in measured:
                value, (low, high) = fit.estimate(case.traces, confidence)[name]
                held.append(low <= case.truth[place] <= high)
                widths.append((high - low) / 2)
                errors.append(abs(value - case.truth[place]))
            cells = [f"{100 * confidence:g} %", str(len(held)), f"{100 * np.mean(held):.1f} %"]
            cells += [f"{100 * np.mean(each):.1f}" for each in (widths, errors)]
            table.add_row(name, *cells)
    return table


if __name__ == "__main__":
    sys.exit(terminal.run("study_estimates", main))
