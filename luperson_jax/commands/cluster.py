"""The work of `luperson cluster`: groups pictures by who they show."""

import argparse
import dataclasses

import numpy as np
import rich.table

from data_pipeline import datasets, terminal
from data_pipeline.errors import InputError
from luperson_jax.clustering import grouping, infomap_modules, quality
from luperson_jax.clustering.dbscan import NOISE
from luperson_jax.commands import network, output
from luperson_jax.measure import cluster_page, embeddings
from luperson_jax.structs import EmbeddingSet

OF_METHOD = {
    "communities": {"k1": 15, "k2": 4, "eps": 0.8},
    "infomap": {"k1": 15, "k2": 4, "min_samples": 5},
    "hdbscan": {"eps": 0.8},
}
"""Settings of a method where they are not those of `Grouping`."""
MAX_PRINTED = 20
"""Clusters in the terminal."""


def run(options: argparse.Namespace) -> None:
    """Groups, prints and writes.

    Raises:
        InputError: options that do not go together, missing or unreadable pictures, embeddings or
            workdir.
    """
    for path, option in ((options.json, "--json"), (options.out, "--out")):
        output.check_file(path, option)
    output.check_suffix(options.out, "--out", ".html")
    how = _grouping(options)
    embedded, origin = _embedded(options)
    found = grouping.group(embedded.features, how)
    unknown = np.full(len(found.labels), NOISE)
    figures = quality.figures(found.pairs, found.labels, unknown, embedded.camera, embedded.pid)
    listed = cluster_page.rows(embedded, found.labels)
    _print(listed, figures)
    facts = {"features": origin, **dataclasses.asdict(how)}
    if options.json:
        clusters = [
            {**one, "keys": _keys(embedded, found.labels == one["cluster"])} for one in listed
        ]
        outliers = _keys(embedded, found.labels == NOISE)
        values = {"figures": figures, "how": facts, "clusters": clusters, "outliers": outliers}
        output.write_json(options.json, values)
    if options.out:
        page = cluster_page.make("Clusters", embedded, found.labels, figures, facts)
        output.write_text(options.out, page)
        output.say(f"page: {options.out}")


def _grouping(options: argparse.Namespace) -> grouping.Grouping:
    names = [field.name for field in dataclasses.fields(grouping.Grouping)]
    given = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    how = grouping.Grouping(**{**OF_METHOD.get(options.method, {}), **given})
    if how.method == "infomap":
        infomap_modules.package()
    return how


def _embedded(options: argparse.Namespace) -> tuple[EmbeddingSet, str]:
    """The features to group, and where they come from."""
    if bool(options.root) == bool(options.embeddings):
        raise InputError(
            "give --root DIR with pictures and a network (--workdir or --weights), or "
            "--embeddings FILE, one of the two"
        )
    if options.embeddings:
        for name in ("workdir", "weights"):
            if getattr(options, name):
                raise InputError(
                    f"--{name} embeds pictures, and --embeddings {options.embeddings} holds "
                    "features; leave one of them out"
                )
        return embeddings.read(options.embeddings, labelled=False), options.embeddings
    network.check_options(options)
    table = datasets.load(options.dataset, options.root, "--root").train
    opened = network.open_chosen(options)
    return opened.embed(table), f"{options.root}, by {opened.origin}"


def _keys(embedded: EmbeddingSet, inside: np.ndarray) -> list[str]:
    rows = np.flatnonzero(inside)
    return [embedded.key[row] or f"row {row}" for row in rows]


def _print(listed: list[dict[str, int | float | None]], figures: dict[str, float]) -> None:
    output.say(*(f"{name:20} {value:.5g}" for name, value in figures.items()))
    table = rich.table.Table(title=terminal.visible_name("the largest clusters"))
    for column in cluster_page.COLUMNS:
        table.add_column(column, justify="right")
    for one in listed[:MAX_PRINTED]:
        table.add_row(*(cluster_page.cell(one[name]) for name in cluster_page.COLUMNS))
    output.say(table)
