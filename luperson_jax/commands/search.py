"""The work of `luperson search`: lists the nearest gallery pictures of query pictures."""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from data_pipeline.terminal import visible_name
from luperson_jax.commands import network, output, ranked
from luperson_jax.measure import embeddings, html_report, plots, tracklet_pooling
from luperson_jax.measure.plots import Shown
from luperson_jax.retrieval import ranking
from luperson_jax.retrieval.labels import MARKET_RULE, RemovalRule
from luperson_jax.serving import decision
from luperson_jax.serving.decision import DecisionRule
from luperson_jax.structs import EmbeddingSet

MAX_DRAWN = 40
"""Queries on a sheet: a picture file of more of them is too tall to be opened."""

MARKS = {True: "  same person", False: "", None: "  unsure"}


def run(options: argparse.Namespace) -> None:
    """Searches, prints and draws.

    Raises:
        InputError: missing or unreadable pictures, embeddings or workdir.
    """
    for path, option in ((options.json, "--json"), (options.out, "--out")):
        output.check_folder(path, option)
    output.check_suffix(options.out, "--out", ".png", ".html")
    query, gallery = _sets(options)
    known = all(np.any(one.pid != UNLABELLED) for one in (query, gallery))
    top = _top(query, gallery, options, passing_over=known and not options.keep_same_camera)
    rule = _rule(options)
    answers = [_answers(query, gallery, top, number, rule) for number in range(len(query.pid))]
    marks = MARKS if rule else dict.fromkeys(MARKS, "")
    output.say(*_lines(query, gallery, top, [[marks[one] for one in each] for each in answers]))
    if rule is not None and rule.familiarity is not None:
        lengths = np.linalg.norm(query.features, axis=1, keepdims=True)
        strange = rule.familiarity.warning(query.features / np.maximum(lengths, 1e-12))
        output.say(*[] if strange is None else [strange])
    if options.json:
        values = _values(query, gallery, top, known)
        if rule is not None:
            for one, same in zip(values, answers, strict=True):
                for match, answer in zip(one["matches"], same, strict=True):
                    match["same_person"] = answer
        output.write_json(options.json, {"queries": values})
    if options.out:
        lists = _shown(query, gallery, top, known)
        if len(lists) > MAX_DRAWN:
            output.say(f"{options.out} shows the first {MAX_DRAWN} of {len(lists)} queries")
        _draw(lists[:MAX_DRAWN], pathlib.Path(options.out), options.metric)


def _top(
    query: EmbeddingSet, gallery: EmbeddingSet, options: argparse.Namespace, *, passing_over: bool
) -> ranking.TopMatches:
    """The lists; rows are those of the whole gallery, also where some of it is passed over."""
    kept = np.arange(len(gallery.pid))
    if passing_over:
        kept = np.flatnonzero(gallery.pid != UNLABELLED)
        if len(kept) < len(gallery.pid):
            num = len(gallery.pid) - len(kept)
            output.say(
                f"left aside: {num} rows of the gallery with identity {UNLABELLED}, which is "
                "nobody's; --keep-same-camera shows all"
            )
            gallery = gallery.take(kept)
    top = ranking.top_matches(
        query,
        gallery,
        k=options.top,
        metric=options.metric,
        distances=ranked.reranked(query, [gallery], options).rows if options.rerank else None,
        rule=MARKET_RULE if passing_over else RemovalRule("nothing", np.zeros(len(kept), bool)),
    )
    return top._replace(rows=np.where(top.rows >= 0, kept[top.rows], -1))


def _sets(options: argparse.Namespace) -> tuple[EmbeddingSet, EmbeddingSet]:
    """Query and gallery, each joined from saved embeddings or embedded from pictures."""
    opened = None
    sets = []
    for name, places in (("QUERY", options.query), ("--gallery", options.gallery)):
        saved = [embeddings.is_saved(place) for place in places]
        if all(saved):
            sets.append(
                embeddings.join([embeddings.read(place, labelled=False) for place in places])
            )
            continue
        if any(saved):
            raise InputError(
                f"{name} mixes pictures and saved embeddings ({', '.join(places)}); give one kind"
            )
        table = network.table_of_pictures(places, bool(options.tracklets))
        if not (options.workdir or options.weights):
            raise InputError(
                f"{name} is {', '.join(places)}: pictures need a network that embeds them, "
                f"--workdir DIR of a run or --weights FILE; saved embeddings end in "
                f"{embeddings.SUFFIX} or are a folder with {embeddings.FEATURES_FILE}"
            )
        opened = opened or network.open_chosen(options)
        sets.append(opened.embed(table, options.tracklets or tracklet_pooling.FRAMES))
    return sets[0], sets[1]


def _rule(options: argparse.Namespace) -> DecisionRule | None:
    """When a found picture shows the person of its query: as asked, or as a packed model says."""
    if options.metric == "cosine" and not options.rerank:
        return network.decision_rule(options)
    if options.threshold is not None:
        raise InputError("--threshold is of cosine distance; leave --metric and --rerank out")
    return None


def _answers(
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    top: ranking.TopMatches,
    number: int,
    rule: DecisionRule | None,
) -> list[bool | None]:
    """Of each found picture of a query."""
    found = _found(top, number)
    camera = int(query.camera[number])
    return decision.answers(
        rule,
        np.array([distance for _, distance, _ in found], np.float32),
        None if camera == UNLABELLED else camera,
        gallery.camera[np.array([row for row, _, _ in found], int)],
    )


def _name(one: EmbeddingSet, row: int) -> str:
    return one.key[row] or f"row {row}"


def _is_known(one: EmbeddingSet, row: int) -> bool:
    return bool(one.pid[row] != UNLABELLED)


def _found(top: ranking.TopMatches, number: int) -> list[tuple[int, float, bool]]:
    """Gallery row, distance and correctness of a query's list, without empty places."""
    columns = (column[number].tolist() for column in top)
    rows, correct, distance = columns
    return [one for one in zip(rows, distance, correct, strict=True) if one[0] >= 0]


def _lines(
    query: EmbeddingSet,
    gallery: EmbeddingSet,
    top: ranking.TopMatches,
    marks: Sequence[Sequence[str]],
) -> list[str]:
    lines = []
    for number in range(len(query.pid)):
        lines.append(visible_name(_name(query, number)))
        found = zip(_found(top, number), marks[number], strict=True)
        for rank, ((row, distance, _), mark) in enumerate(found, 1):
            lines.append(f"{rank:4}  {distance:.4f}  {visible_name(_name(gallery, row))}{mark}")
    return lines


def _values(
    query: EmbeddingSet, gallery: EmbeddingSet, top: ranking.TopMatches, known: bool
) -> list[dict[str, Any]]:
    values = []
    for number in range(len(query.pid)):
        matches = [
            {"rank": rank, "distance": distance, "key": gallery.key[row], "row": row}
            | ({"same_identity": correct} if known and _is_known(query, number) else {})
            for rank, (row, distance, correct) in enumerate(_found(top, number), 1)
        ]
        values.append({"key": query.key[number], "row": number, "matches": matches})
    return values


def _shown(
    query: EmbeddingSet, gallery: EmbeddingSet, top: ranking.TopMatches, known: bool
) -> list[list[Shown]]:
    lists = []
    for number in range(len(query.pid)):
        about = plots.known(query, number)
        shown = [Shown(query.shown(number), _caption("query", query, number), None, about)]
        for rank, (row, distance, correct) in enumerate(_found(top, number), 1):
            caption = _caption(f"{rank}: {distance:.3f}", gallery, row)
            right = correct if known and _is_known(query, number) else None
            about = plots.known(gallery, row)
            shown.append(Shown(gallery.shown(row), caption, right, about))
        lists.append(shown)
    return lists


def _caption(words: str, one: EmbeddingSet, row: int) -> str:
    if one.camera[row] != UNLABELLED:
        return f"{words}\ncamera {one.camera[row]}"
    name = pathlib.PurePath(_name(one, row)).stem
    return f"{words}\n{name if len(name) <= 12 else name[:4] + '…' + name[-7:]}"


def _draw(lists: Sequence[Sequence[Shown]], path: pathlib.Path, metric: str) -> None:
    title = f"Nearest by {metric} distance"
    if path.suffix == ".png":
        plots.save(plots.sheet(lists, title), path)
    else:
        output.write_text(path, html_report.make_of_lists(title, lists))
    output.say(f"drawn: {path}")
