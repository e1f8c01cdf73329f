"""Pairs of pictures that somebody has judged: a table with the columns first, second and same."""

import csv
import io
import pathlib
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from luperson_jax.structs import EmbeddingSet

COLUMNS = ("first", "second", "same")
ANSWERS = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}


class JudgedPairs(NamedTuple):
    """M pairs.

    Attributes:
        first, second: [M] rows of the embedded pictures.
        same: [M] whether they show the same person.
    """

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray


def read(path: str | pathlib.Path, embedded: EmbeddingSet) -> JudgedPairs:
    """The pairs of a file of comma-separated values.

    Args:
        path: its first line names the columns first, second and same; the first two hold the keys
            of pictures, the third 1, yes or true, or 0, no or false.
        embedded: all pictures.

    Raises:
        InputError: the file, a column, a picture or an answer is missing or wrong.
    """
    place = pathlib.Path(path)
    if not listing.is_file(place):
        raise InputError(f"{place} does not exist; expected a table of pairs")
    listing.check_opens(place)
    try:
        table = csv.DictReader(io.StringIO(place.read_text(encoding="utf-8-sig")), strict=True)
        if missing := [name for name in COLUMNS if name not in (table.fieldnames or ())]:
            raise InputError(
                f"{place} has no column {missing[0]}; expected {', '.join(COLUMNS)} in its first "
                "line"
            )
        lines = list(table)
    except (csv.Error, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{place} cannot be read ({error}); expected a table of pairs") from error
    rows = {key: row for row, key in enumerate(embedded.key)}
    found: list[tuple[int, int, bool]] = []
    for number, line in enumerate(lines, 2):
        one, other, answer = (str(line[name]).strip() for name in COLUMNS)
        for key in (one, other):
            if key not in rows:
                raise InputError(
                    f"line {number} of {place} names {key!r}, which is no key of the embeddings; "
                    f"theirs are like {embedded.key[0]!r}"
                )
        if answer.lower() not in ANSWERS:
            raise InputError(
                f"line {number} of {place} answers {answer!r}; expected one of {', '.join(ANSWERS)}"
            )
        found.append((rows[one], rows[other], ANSWERS[answer.lower()]))
    if not found:
        raise InputError(f"{place} holds no pair")
    first, second, same = zip(*found, strict=True)
    return JudgedPairs(np.array(first), np.array(second), np.array(same, bool))


def distances(embedded: EmbeddingSet, pairs: JudgedPairs, metric: str) -> np.ndarray:
    """[M] float32 distances of the pairs, "cosine" or "euclidean"."""
    one, other = (
        np.asarray(embedded.features[rows], np.float32) for rows in (pairs.first, pairs.second)
    )
    if metric == "euclidean":
        return np.linalg.norm(one - other, axis=1)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return 1 - np.sum(one * other, axis=1) / np.maximum(lengths, 1e-12)
