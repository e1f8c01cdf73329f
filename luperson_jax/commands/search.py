"""The work of `luperson search`: lists the nearest gallery pictures of query pictures."""

import argparse
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import UNLABELLED
from data_pipeline.terminal import visible_name
from luperson_jax.commands import network, output, ranked
from luperson_jax.measure import embeddings, figures, html_report, plots, tracklet_pooling
from luperson_jax.measure.plots import Shown
from luperson_jax.retrieval import ranking
from luperson_jax.retrieval.labels import MARKET_RULE, RemovalRule
from luperson_jax.serving import decision
from luperson_jax.serving.decision import DecisionRule
from luperson_jax.serving.gallery_index import Index
from luperson_jax.serving.index_columns import IndexColumns
from luperson_jax.serving.open_networks import EmbeddingNetwork
from luperson_jax.serving.reid_model import ReidModel
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
        output.check_file(path, option)
    output.check_suffix(options.out, "--out", ".png", ".html")
    _check(options)
    columns = None
    if options.index:
        query, gallery, top, columns = _of_index(options)
    else:
        query, gallery, top = _of_gallery(options)
    known = all(np.any(one.pid != UNLABELLED) for one in (query, gallery))
    rule = _rule(options)
    answers = [_answers(query, gallery, top, number, rule) for number in range(len(query.pid))]
    marks = MARKS if rule else dict.fromkeys(MARKS, "")
    output.say(*_lines(query, gallery, top, [[marks[one] for one in each] for each in answers]))
    if rule is not None:
        lengths = np.linalg.norm(query.features, axis=1, keepdims=True)
        paths = query.key if all(map(listing.is_file, query.key)) else ()
        output.say(*rule.warnings(query.features / np.maximum(lengths, 1e-12), paths))
    if options.json:
        values = _values(query, gallery, top, known)
        if columns is not None:
            _name_rows(values, columns)
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


def _check(options: argparse.Namespace) -> None:
    if bool(options.gallery) == bool(options.index):
        raise InputError("give either --gallery, or --index")
    of_index = {name: getattr(options, name) for name in ("camera", "since", "until")}
    foreign = next((name for name, value in of_index.items() if value is not None), None)
    if foreign and not options.index:
        raise InputError(f"--{foreign} goes with --index")
    if options.index and (options.rerank or options.tracklets or options.metric != "cosine"):
        raise InputError(
            "an index is searched picture by picture and by cosine distance; leave --rerank, "
            "--tracklets and --metric out"
        )


def _of_gallery(
    options: argparse.Namespace,
) -> tuple[EmbeddingSet, EmbeddingSet, ranking.TopMatches]:
    opened = functools.cache(lambda: network.open_chosen(options))
    query = _read("QUERY", options.query, options, opened)
    gallery = _read("--gallery", options.gallery, options, opened)
    known = all(np.any(one.pid != UNLABELLED) for one in (query, gallery))
    passing_over = known and not options.keep_same_camera
    return query, gallery, _top(query, gallery, options, passing_over=passing_over)


def _of_index(
    options: argparse.Namespace,
) -> tuple[EmbeddingSet, EmbeddingSet, ranking.TopMatches, IndexColumns]:
    """Queries, what they find as a gallery, the lists, and what is known of the gallery."""
    index = Index.open(options.index)
    places = index.chosen(options.camera, options.since, options.until)
    if not len(places):
        raise InputError(
            f"none of the {len(index)} pictures of {options.index} is left to be searched; give "
            "other --camera, --since and --until"
        )
    opened = functools.cache(lambda: network.open_chosen(options))
    query = _read("QUERY", options.query, options, opened)
    if not all(map(embeddings.is_saved, options.query)):
        index = index.with_model(ReidModel(opened()), options.index)
    near = index.nearest(index.checked(query.features), places, options.top)
    found, rows = np.unique(near.rows, return_inverse=True)
    columns, unknown = index.columns.take(found), np.full(len(found), UNLABELLED)
    gallery = EmbeddingSet(
        index.features(found), unknown, columns.camera, tuple(columns.key.tolist())
    )
    rows = rows.reshape(near.rows.shape)
    wrong = np.zeros(rows.shape, bool)
    if index.cameras.named is not None:  # a saved query has a number of a data set, and no name
        query = dataclasses.replace(query, camera=np.full(len(query.pid), UNLABELLED))
    return query, gallery, ranking.TopMatches(rows, wrong, near.distance), columns


def _name_rows(values: Sequence[dict[str, Any]], columns: IndexColumns) -> None:
    """Puts what an index knows of the pictures in the place of their rows."""
    times = columns.time.astype("datetime64[us]").tolist()
    for match in (match for one in values for match in one["matches"]):
        row = match.pop("row")
        match["id"], match["camera"] = int(columns.id[row]), int(columns.camera[row])
        match["time"] = times[row] and times[row].isoformat(" ")


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


def _read(
    name: str,
    places: Sequence[str],
    options: argparse.Namespace,
    opened: Callable[[], EmbeddingNetwork],
) -> EmbeddingSet:
    """One side, joined from saved embeddings or embedded from pictures."""
    saved = [embeddings.is_saved(place) for place in places]
    if all(saved):
        return embeddings.join([embeddings.read(place, labelled=False) for place in places])
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
    return opened().embed(table, options.tracklets or tracklet_pooling.FRAMES)


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
        found = _found(top, number)
        decimals = figures.distance_decimals([distance for _, distance, _ in found], 4)
        for rank, ((row, distance, _), mark) in enumerate(
            zip(found, marks[number], strict=True), 1
        ):
            words = figures.distance_words(distance, decimals)
            lines.append(f"{rank:4}  {words}  {visible_name(_name(gallery, row))}{mark}")
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
            caption = _caption(f"{rank}: {figures.distance_words(distance)}", gallery, row)
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
