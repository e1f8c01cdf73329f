"""The work of `luperson calibrate`: finds the threshold for a wanted share of false accepts."""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import UNLABELLED
from data_pipeline.terminal import visible_name
from luperson_jax.commands import output, path_patterns
from luperson_jax.measure import embeddings, judged_pairs, tracklet_labels
from luperson_jax.retrieval import calibration, familiarity, looks
from luperson_jax.retrieval.calibration import Calibration, Goal, Rate
from luperson_jax.retrieval.looks import Looks
from luperson_jax.serving import user_pictures
from luperson_jax.serving.decision import Camera, camera_name
from luperson_jax.structs import EmbeddingSet

BY_FEATURES = "whether new pictures are unlike these will be told by features, which hardly see it"
TOGETHER = 0.95
"""Share of pairs of one person, of which groups of pictures are made."""
OfCameras = Mapping[tuple[Camera, Camera], Calibration]


def run(options: argparse.Namespace) -> None:
    """Calibrates, prints and writes.

    Raises:
        InputError: wrong files, arrays or settings, or no pair of either kind.
    """
    output.check_file(options.json, "--json")
    _check(options)
    goal = Goal(options.far, options.misses, options.promise, options.confidence, options.people)
    paths = [options.embeddings or options.query, *(options.gallery or [])]
    first, *rest = (_read(path, options) for path in paths)
    of_cameras: OfCameras = {}
    if options.judged:
        pairs = judged_pairs.read(options.judged, first)
        distance = judged_pairs.distances(first, pairs, options.metric)
        found = calibration.calibrate_pairs(
            distance, pairs.same, pairs.first, pairs.second, goal=goal
        )
    else:
        rule = options.pairs or ("tracklets" if options.tracklets else "market")
        found = calibration.calibrate(
            first, rest or None, goal=goal, metric=options.metric, rule=rule
        )
        if options.by_cameras:
            of_cameras = _calibrate_cameras(embeddings.join([first, *rest]), goal, options)
    output.say(*_lines(found, options), *_camera_lines(of_cameras))
    if options.json:
        known = None if options.judged else familiarity.describe(embeddings.join([first, *rest]))
        values = _values(found, options) | {"pictures": known.values() if known else None}
        looked = None if options.judged else _looks([first, *rest], found)
        values["looks"] = looked.values() if looked else None
        values["cameras"] = [
            {"cameras": pair, **_distances(one, options.metric)} for pair, one in of_cameras.items()
        ]
        output.write_json(options.json, values)


def _looks(sets: list[EmbeddingSet], found: Calibration) -> Looks | None:
    """The pictures themselves, where they are at hand; None where they are not, or too few."""
    everyone = embeddings.join(sets)
    rows = np.arange(0, len(everyone.pid), -(-len(everyone.pid) // looks.MOST_PICTURES))
    keys = [everyone.key[row] for row in rows]
    missing = next((key for key in keys if not listing.is_file(key)), None)
    if missing is not None:
        output.say(f"There is no picture {visible_name(missing) or 'of a row'}; {BY_FEATURES}")
        return None
    numbers = np.array([looks.of_picture(user_pictures.pixels(key)) for key in keys])
    place = min(int(np.searchsorted(found.roc.tpr, TOGETHER)), len(found.roc.distance) - 1)
    together = float(found.roc.distance[place])
    described = looks.describe(numbers, everyone.pid[rows], everyone.camera[rows], together)
    if described is None:
        output.say(f"A camera has fewer than {looks.FEWEST_PEOPLE} people; {BY_FEATURES}")
    return described


def _check(options: argparse.Namespace) -> None:
    if bool(options.embeddings) == bool(options.query or options.gallery) or (
        bool(options.query) != bool(options.gallery)
    ):
        raise InputError("give either --embeddings, or --query and --gallery")
    if options.judged and (options.query or options.tracklets or options.by_cameras):
        raise InputError(
            "--judged goes with --embeddings, and without --tracklets and --by-cameras"
        )
    if options.tracklet and not options.tracklets:
        raise InputError("--tracklet goes with --tracklets")
    if options.camera and not (options.tracklets or options.by_cameras):
        raise InputError("--camera goes with --tracklets or --by-cameras")
    if options.tracklets and options.query:
        raise InputError("--tracklets goes with --embeddings")
    if options.tracklets and options.by_cameras:
        raise InputError(
            "--by-cameras needs identities: tracklets do not say who is seen by two cameras"
        )


def _read(path: str, options: argparse.Namespace) -> EmbeddingSet:
    labelled = not (options.tracklets or options.judged)
    one = embeddings.read(path, labelled=labelled)
    if options.tracklets:
        one = tracklet_labels.of_tracklets(one, options.tracklet, options.camera)
    if options.judged:
        return one
    left_out = sorted({UNLABELLED, *options.leave_out})
    rows = np.flatnonzero(~np.isin(one.pid, left_out))
    if not len(rows):
        raise InputError(
            f"every identity of {path} is among those to leave out: {left_out}; give others with "
            "--leave-out"
        )
    if len(rows) == len(one.pid):
        return one
    num = len(one.pid) - len(rows)
    output.say(f"left aside: {num} rows of {path} with identity {' or '.join(map(str, left_out))}")
    return one.take(rows)


def _calibrate_cameras(
    embedded: EmbeddingSet, goal: Goal, options: argparse.Namespace
) -> OfCameras:
    """By the numbers of the embeddings, or with --camera by names as the keys have them."""
    how = {"goal": goal, "metric": options.metric}
    if not options.camera:
        return {**calibration.calibrate_cameras(embedded, **how)}
    found = path_patterns.found(embedded.key, options.camera, "--camera")
    lacking = next((key for key, one in zip(embedded.key, found, strict=True) if one is None), None)
    if lacking is not None:
        raise InputError(
            f"--camera {options.camera!r} finds nothing in {visible_name(lacking)}; expected an "
            "expression that finds the camera in every path"
        )
    names, code = np.unique([camera_name(one) for one in found if one], return_inverse=True)
    named = dataclasses.replace(embedded, camera=code.astype(np.int64))
    of_codes = calibration.calibrate_cameras(named, **how)
    return {(str(names[a]), str(names[b])): one for (a, b), one in of_codes.items()}


def _lines(found: Calibration, options: argparse.Namespace) -> list[str]:
    roc, goal = found.roc, found.goal
    threshold = f"{options.metric} distance <= {found.distance:.6f}"
    if options.metric == "cosine":
        threshold += f" (similarity >= {1 - found.distance:.6f})"
    people = "tracklets" if options.tracklets else "identities"
    if found.distance == -np.inf:
        threshold = f"none: {found.num_identities} {people} are too few to promise this"
    low, high = (f"{end:.6f}" for end in found.interval)
    lines = [
        f"pairs          {roc.num_same} of the same person, {roc.num_different} of different "
        f"people, {found.num_identities} {people}",
        f"AUC            {roc.auc:.6f}",
        f"same person    {threshold}",
        *_unsure(found),
        f"false accepts  {_rate(found.false_accepts, goal)}",
        f"true accepts   {_rate(found.true_accepts, goal)}",
        f"measured       {found.measured:.6f} keeps {goal.false_accepts:g} among these pairs; "
        f"{100 * goal.confidence:g} % interval {low} to {high}",
    ]
    if options.tracklets:
        lines.append(
            "True accepts are within tracklets: pairs of two cameras are farther apart. Tracklets "
            "of one person count as two people, so that false accepts are too many rather than few."
        )
    if goal.promise == "conformal" and found.distance == -np.inf:
        lines.append(
            f"A conformal threshold for {goal.false_accepts:g} needs {found.people_needed} people "
            "or more."
        )
    if goal.false_accepts * roc.num_different < 10:
        lines.append(
            f"A share of {goal.false_accepts:g} is fewer than 10 of these pairs of different "
            "people: this threshold is hardly measured. Give more people, or a larger --far."
        )
    return lines


def _unsure(found: Calibration) -> list[str]:
    if found.reject is None or found.missed is None or found.unsure is None:
        return []
    same, different = (f"{100 * share:.2f} %" for share in found.unsure)
    return [
        f"two people     beyond {found.reject:.6f}; {same} of pairs of the same person and "
        f"{different} of different people lie between and are unsure",
        f"misses         {_rate(found.missed, found.goal)}",
    ]


def _camera_lines(of_cameras: OfCameras) -> list[str]:
    lines = []
    for (one, other), found in of_cameras.items():
        words = "none, too few people" if found.distance == -np.inf else f"{found.distance:.6f}"
        lines.append(f"cameras {one}, {other}   {words}; {found.num_identities} identities")
    return lines


def _rate(rate: Rate, goal: Goal) -> str:
    low, high = rate.interval
    return (
        f"{100 * rate.value:.4f} %, {rate.accepted} of {rate.pairs}; {100 * goal.confidence:g} % "
        f"interval {100 * low:.4f} to {100 * high:.4f} %"
    )


def _distances(found: Calibration, metric: str) -> dict[str, Any]:
    distance = _number(found.distance)
    values: dict[str, Any] = {"distance": distance}
    if metric == "cosine":
        values["similarity"] = None if distance is None else 1 - distance
    if found.reject is not None:
        values["reject_distance"] = found.reject
    values["distance_interval"] = [_number(end) for end in found.interval]
    return values


def _number(distance: float | None) -> float | None:
    return distance if distance is not None and np.isfinite(distance) else None


def _values(found: Calibration, options: argparse.Namespace) -> dict[str, Any]:
    values: dict[str, Any] = {"wanted_false_accepts": found.goal.false_accepts}
    values |= _distances(found, options.metric)
    values |= {
        name: _number(getattr(found, name)) for name in ("measured", "confident", "conformal")
    }
    for name in ("false_accepts", "true_accepts", "missed"):
        rate = getattr(found, name)
        if rate is not None:
            values[name] = {
                "value": rate.value,
                "accepted": rate.accepted,
                "pairs": rate.pairs,
                "interval_by_identities": rate.interval,
                "interval_by_pairs": rate.by_pairs,
            }
    if found.unsure is not None:
        values["unsure"] = dict(zip(("same", "different"), found.unsure, strict=True))
    values |= {"auc": found.roc.auc, "auc_error": found.roc.auc_error}
    goal = found.goal
    values |= {"num_identities": found.num_identities, "confidence": goal.confidence}
    values |= {"promise": goal.promise, "misses": goal.misses, "people": goal.people}
    names = ("metric", "pairs", "leave_out", "embeddings", "query", "gallery", "judged")
    values["settings"] = {name: getattr(options, name) for name in names}
    values["settings"]["tracklets"] = options.tracklets
    return values
