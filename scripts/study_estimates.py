"""`luperson estimate` on drawn worlds: what it learns from, and how often its interval is right.

    python scripts/study_estimates.py --root runs/estimates                  # measure
    python scripts/study_estimates.py --root runs/estimates --write          # learn, write, measure
    python scripts/study_estimates.py --root runs/estimates --worlds 0 --market DIR   # a real set

Each time from tracklets and, with --pseudo-labels, from pictures alone. There are two kinds of
worlds. Drawn pictures: 12 to 40 people before 2 to 4 cameras in tracklets of 2 or 3 frames; not
everybody is seen everywhere, and some come twice. Features are colors, directions learned from
people of other worlds, these with noise, or these with a person's pictures pulled together, as
training does, so that mAP lies anywhere. Drawn points: see `drawn_points.py`. --write learns from
the first worlds of both kinds and writes the table that comes with the program. Then the intervals
of others are compared with the truth, and those of fits that learned from one kind of worlds alone,
on the other kind. Worlds are kept in ROOT. --market takes a folder in the layout of Market-1501: by
colors, by directions of drawn people, and by those of one half of its own people on the other half.
--embeddings takes features of a real set with identities, as `luperson embed` writes them.
"""

import argparse
import pathlib
import sys
import time
from typing import NamedTuple

import benchmark_thresholds
import drawn_features
import drawn_points
import numpy as np
import rich.table

from data_pipeline import terminal
from data_pipeline.errors import InputError
from luperson_jax.commands import output
from luperson_jax.lengths import unit_rows
from luperson_jax.measure import embeddings, estimation, picture_traces
from luperson_jax.retrieval import label_free
from luperson_jax.structs import EmbeddingSet

LEARNING, MEASURED, KINDS_OF_A_WORLD = 100, 200, 3
POINTS_LEARNING = 500
FIRST_WORLD, FIRST_KNOWN, FIRST_POINTS = 1000, 500, 100_000
SIZE = (32, 16)
LEARNED_FROM = (8, 12, 16, 24, 32, 48, 64, 96)
"""People of other worlds whose pictures directions are learned from, besides all of them."""
KNOWN_WORLDS, KNOWN_PEOPLE, KNOWN_CAMERAS = 6, 40, 3
PICTURES, POINTS = "drawn pictures", "drawn points"
TABLE = pathlib.Path(estimation.__file__).with_name(estimation.TABLE)


class Case(NamedTuple):
    """One kind of features of one world.

    Attributes:
        world: number.
        kind: of world.
        traces: [S], see `estimation.NAMES`.
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
) -> np.ndarray:
    """Features of some kind."""
    found = _plain(colors.astype(np.float32), directions, draw)
    if draw.random() >= 0.65:
        return found
    people, number = np.unique(pid, return_inverse=True)
    centers = np.zeros((len(people), found.shape[1]), np.float32)
    np.add.at(centers, number, found)
    centers /= np.bincount(number)[:, None]
    pull = draw.uniform(0.05, 0.7)
    return (1 - pull) * found + pull * centers[number]


def _plain(
    colors: np.ndarray, directions: list[np.ndarray], draw: np.random.Generator
) -> np.ndarray:
    kind = draw.choice(["colors", "learned", "learned", "learned", "noisy"])
    if kind == "colors":
        return colors - colors.mean(axis=0) if draw.random() < 0.5 else colors
    learned = directions[-1] if kind == "noisy" else directions[draw.integers(len(directions))]
    found = drawn_features.apply(learned, colors)
    if kind == "noisy":
        noise = draw.standard_normal(found.shape).astype(np.float32)
        found = found + np.float32(draw.uniform(0.2, 1.5) * found.std()) * noise
    return found


def looked_at(
    source: str, features: np.ndarray, labels: EmbeddingSet, tracklet: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Traces [S] from tracklets or pictures (`estimation.NAMES`), and the truth [2] by
    `estimation.MEASURES`.

    Raises:
        InputError: there is too little of what is looked at.
    """
    pid, camera = labels.pid, labels.camera
    if source == "tracklets":
        rows = label_free.thin(tracklet)
        features, pid, camera, tracklet = (one[rows] for one in (features, pid, camera, tracklet))
        found = label_free.statistics(label_free.gather(features, tracklet, camera))
    else:
        found = picture_traces.statistics(features, camera)
    unit = unit_rows(features)
    right = np.array(picture_traces.figures(unit @ unit.T, pid, camera))
    if not np.all(np.isfinite(right)):
        raise InputError("nobody is seen by two cameras")
    return estimation.vector(found), right


def of_pictures(
    source: str, numbers: range, num: int, directions: list[np.ndarray], root: pathlib.Path
) -> list[Case]:
    """Drawn pictures with some kinds of features each."""
    found = []
    for number in numbers:
        drawn = world(number, root)
        tracklet = np.array([int(key.split("/")[0]) for key in drawn.key])
        for one in range(num):
            draw = np.random.default_rng([number, one])
            each = features(drawn.features, drawn.pid, directions, draw)
            try:
                found.append(Case(number, PICTURES, *looked_at(source, each, drawn, tracklet)))
            except InputError:  # too few tracklets before a camera
                continue
    return found


def of_points(source: str, numbers: range) -> list[Case]:
    """Drawn points."""
    found = []
    for number in numbers:
        drawn = drawn_points.world(number)
        labels = EmbeddingSet(drawn.features, drawn.pid, drawn.camera, ())
        try:
            seen = looked_at(source, drawn.features, labels, drawn.tracklet)
        except InputError:
            continue
        found.append(Case(FIRST_POINTS + number, POINTS, *seen))
    return found


def learn(source: str, cases: list[Case]) -> estimation.Fit:
    """A fit to worlds."""
    columns = (np.array([getattr(one, name) for one in cases]) for name in Case._fields)
    numbers, _, traces, right = columns
    return estimation.fit(estimation.NAMES[source], traces, right, numbers)


def real_sets(
    market: str | None, saved: list[str], directions: list[np.ndarray]
) -> dict[str, tuple[EmbeddingSet, np.ndarray]]:
    """Real people with some features of their pictures, by what these are."""
    found = {}
    if market:
        real = benchmark_thresholds.people_of(market)
        odd = np.isin(real.pid, np.unique(real.pid)[::2])
        half, rest = real.take(np.flatnonzero(odd)), real.take(np.flatnonzero(~odd))
        learned = drawn_features.learn(half, 16)
        drawn = drawn_features.apply(directions[-1], real.features)
        found["colors"] = real, real.features
        found["directions of drawn people"] = real, drawn
        found["directions of the other half"] = rest, drawn_features.apply(learned, rest.features)
    for path in saved:
        parts = [embeddings.read(one, labelled=True) for one in path.split(",")]
        joined = embeddings.join(parts)
        found[path] = joined, np.asarray(joined.features, np.float32)
    return found


def beside(
    source: str, fit: estimation.Fit, sets: dict[str, tuple[EmbeddingSet, np.ndarray]]
) -> rich.table.Table:
    """Estimates of real sets beside the truth."""
    table = rich.table.Table(title=f"from {source}")
    for title in ("features", "people", "figure", "truth", "estimate", "interval", "outside"):
        table.add_column(title, justify="right")
    for name, (everyone, values) in sets.items():
        pairs = np.stack([everyone.pid, everyone.camera])
        tracklet = np.unique(pairs, axis=1, return_inverse=True)[1].ravel()
        traces, right = looked_at(source, values, everyone, tracklet)
        found = fit.estimate(traces)
        for place, figure in enumerate(estimation.MEASURES):
            value, ends = found[figure]
            cells = [name, str(len(np.unique(everyone.pid))), figure]
            cells += [f"{100 * share:.1f}" for share in (right[place], value)]
            cells += [" to ".join(f"{100 * end:.1f}" for end in ends)]
            table.add_row(*cells, ", ".join(fit.strange(traces)))
    return table


def report(title: str, fit: estimation.Fit, measured: list[Case]) -> rich.table.Table:
    """A line for each measure and confidence: how often intervals hold, how wide, how far off."""
    table = rich.table.Table(title=title)
    for column in ("figure", "interval", "worlds", "held", "half width", "mean error"):
        table.add_column(column, justify="right")
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


def by_groups(kind: str, measured: list[Case]) -> str:
    """What groups of pictures say when they are simply taken for people."""
    names = estimation.NAMES["pictures"]
    columns = [names.index(name) for name in ("pseudo_map", "pseudo_first")]
    found = np.sin(np.array([case.traces[columns] for case in measured])) ** 2
    over = 100 * (found - [case.truth for case in measured])
    lines = [
        f"{name} {one.mean():+.1f} points, {np.abs(one).mean():.1f} off, too high in "
        f"{100 * np.mean(one > 0):.0f} %"
        for name, one in zip(estimation.MEASURES, over.T, strict=True)
    ]
    return f"{kind}, groups taken for people: {'; '.join(lines)}"


def main() -> int:
    """Learns if asked to, and prints how often intervals hold the truth."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, required=True, help="folder of the worlds")
    parser.add_argument("--pseudo-labels", action="store_true", help="from pictures alone")
    parser.add_argument("--write", action="store_true", help="learn, and write the table")
    parser.add_argument("--learning", type=int, default=LEARNING, help="number of worlds")
    parser.add_argument("--worlds", type=int, default=MEASURED, help="number of worlds measured")
    parser.add_argument("--market", help="a folder in the layout of Market-1501")
    parser.add_argument(
        "--embeddings", action="append", default=[], help="real ones; several, with commas, are one"
    )
    options = parser.parse_args()
    options.root.mkdir(parents=True, exist_ok=True)
    began, root = time.perf_counter(), options.root
    directions = all_directions(known_people(root))
    source = "pictures" if options.pseudo_labels else "tracklets"
    learned: dict[str, list[Case]] = {}
    if options.write:
        numbers = range(options.learning)
        learned[PICTURES] = of_pictures(source, numbers, KINDS_OF_A_WORLD, directions, root)
        learned[POINTS] = of_points(source, range(POINTS_LEARNING))
        tables = estimation.tables()
        tables[source] = learn(source, [*learned[PICTURES], *learned[POINTS]]).values()
        output.write_json(TABLE, tables)
        terminal.say(f"{TABLE}: from {sum(map(len, learned.values()))} cases")
    first, points = options.learning, POINTS_LEARNING
    measured = {
        PICTURES: of_pictures(source, range(first, first + options.worlds), 1, directions, root),
        POINTS: of_points(source, range(points, points + options.worlds)),
    }
    fit, console = estimation.shipped(source), terminal.console(soft_wrap=False)
    for kind, cases in measured.items():
        if cases:
            console.print(report(f"{kind}, from {source}", fit, cases))
        if cases and source == "pictures":
            terminal.say(by_groups(kind, cases))
    for kind, cases in learned.items():
        other = POINTS if kind == PICTURES else PICTURES
        words = f"{other}, by what was learned from {kind} alone"
        console.print(report(words, learn(source, cases), measured[other]))
    sets = real_sets(options.market, options.embeddings, directions)
    if sets:
        console.print(beside(source, fit, sets))
    terminal.say(f"{time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("study_estimates", main))
