"""Do thresholds hold for new people? Random divisions of people into known and new ones.

    python scripts/benchmark_thresholds.py --splits 1000
    python scripts/benchmark_thresholds.py --splits 1000 --market DIR

Draws a world of people before three cameras, learns features from some (`drawn_features.py`), and
divides the others again and again into those that a threshold is made with and those that it is
measured on; or takes all people of a folder in the layout of Market-1501, by colors alone. Tells
for each promise and wanted rate in how many divisions the false accepts among the new people stayed
within it, in how many there was a threshold at all, and the mean true accepts. "for so many" is the
confident threshold for as many new people as there were.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import time
from typing import Any

import drawn_features
import numpy as np
import rich.table

from data_pipeline import datasets, terminal
from luperson_jax.retrieval import calibration, pair_lists, verification
from luperson_jax.retrieval.calibration import Goal
from luperson_jax.retrieval.identity_rates import PairsOfKind
from luperson_jax.retrieval.pair_lists import PairList
from luperson_jax.structs import EmbeddingSet

CAMERAS, LEARNED_FROM = 3, 150
PROMISES = ("measured", "confident", "for so many", "conformal")


def drawn_people(num: int) -> EmbeddingSet:
    """People that nothing was learned from."""
    everyone = drawn_features.draw(
        5, [(p, c, 0) for p in range(LEARNED_FROM + num) for c in range(CAMERAS)]
    )
    first = everyone.pid < LEARNED_FROM
    directions = drawn_features.learn(everyone.take(np.flatnonzero(first)))
    rest = everyone.take(np.flatnonzero(~first))
    return dataclasses.replace(rest, features=drawn_features.apply(directions, rest.features))


def people_of(folder: str) -> EmbeddingSet:
    """All people of a data set."""
    splits = datasets.load("market1501", folder)
    parts = [splits.train, splits.query, splits.gallery]
    media = [path for part in parts for path in part.media]
    pid, camera = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("pid", "camera")
    )
    return EmbeddingSet(drawn_features.read(media), pid, camera, ("",) * len(pid))


def among(pairs: PairList, chosen: np.ndarray) -> PairList:
    """The pairs of some people, given by a mask over all, who have as many pictures each."""
    number, num = np.cumsum(chosen) - 1, int(chosen.sum())
    kinds = []
    for one in (pairs.same, pairs.different):
        both = chosen[one.first] & chosen[one.second]
        per_person = one.involved[0] if one is pairs.same else one.involved[0] / (len(chosen) - 1)
        involved = per_person * (1 if one is pairs.same else num - 1)
        total = involved * num / (1 if one is pairs.same else 2)
        kinds.append(
            PairsOfKind(
                one.order[both],
                number[one.first[both]],
                number[one.second[both]],
                np.full(num, involved),
                round(total),
            )
        )
    both = chosen[pairs.different.first] & chosen[pairs.different.second]
    assert pairs.of_two is not None
    return PairList(kinds[0], kinds[1], pairs.of_two[both], num)


def measure(everyone: EmbeddingSet, known: int, wanted: float, splits: int) -> list[dict[str, Any]]:
    """Figures of each promise."""
    curve = verification.curve(verification.count_pairs(everyone, rule="all"))
    reach = curve.distance[verification.place_of_fpr(curve, min(20 * wanted, 0.5))]
    pairs = pair_lists.near_pairs(everyone, None, "cosine", "all", float(reach))
    assert len(np.unique(pairs.different.involved)) == 1, "people have unequal numbers of pictures"
    draw, found = np.random.default_rng(0), {name: [] for name in PROMISES}
    num = pairs.num_identities
    for _ in range(splits):
        chosen = np.zeros(num, bool)
        chosen[draw.permutation(num)[:known]] = True
        mine, others = among(pairs, chosen), among(pairs, ~chosen)
        one = calibration.thresholds(mine, Goal(wanted))
        other = calibration.thresholds(mine, Goal(wanted, people=num - known))
        distances = (one.measured, one.confident, other.confident, one.conformal)
        for name, distance in zip(PROMISES, distances, strict=True):
            assert distance is not None
            kinds = (others.different, others.same)
            found[name].append((distance, *(each.rank(distance) / each.total for each in kinds)))
    rows = []
    for name, lines in found.items():
        distance, false, true = np.array(lines).T
        rows.append(
            {
                "known": known,
                "new": num - known,
                "wanted": wanted,
                "promise": name,
                "within": float(np.mean(false <= wanted)),
                "found": float(np.mean(np.isfinite(distance))),
                "false_accepts": float(np.mean(false)),
                "true_accepts": float(np.mean(true)),
            }
        )
    return rows


def main() -> int:
    """Prints a line for each number of people, wanted rate and promise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--market", help="a folder in the layout of Market-1501")
    parser.add_argument("--people", type=int, default=1000, help="drawn, besides those learned of")
    parser.add_argument("--known", type=int, nargs="+", default=[50, 150, 500])
    parser.add_argument("--wanted", type=float, nargs="+", default=[1e-2, 1e-3])
    parser.add_argument("--splits", type=int, default=1000)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    began = time.perf_counter()
    everyone = people_of(options.market) if options.market else drawn_people(options.people)
    table = rich.table.Table()
    for title in ("known", "new", "wanted", "promise", "within", "found", "false", "true"):
        table.add_column(title, justify="right")
    rows = []
    for known in options.known:
        for wanted in options.wanted:
            for row in measure(everyone, known, wanted, options.splits):
                rows.append(row)
                cells = [f"{row[name]:.3g}" for name in ("known", "new", "wanted")]
                cells += [
                    row["promise"],
                    *(f"{100 * row[name]:.1f}" for name in ("within", "found")),
                ]
                cells += [f"{row['false_accepts']:.2e}", f"{100 * row['true_accepts']:.1f}"]
                table.add_row(*cells)
    terminal.console(soft_wrap=False).print(table)
    terminal.say(f"{options.splits} divisions each, {time.perf_counter() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("benchmark_thresholds", main))
