"""Checks of features and labels where they enter the retrieval code."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.structs import EmbeddingSet

METRICS = ("cosine", "euclidean")
MAX_MAGNITUDE = 1e15
"""Squares of larger features overflow float32."""
CHECKED_ROWS = 4096
"""Rows looked at together: what is memory-mapped stays on disk but for these."""


def check_features(name: str, features: np.ndarray) -> None:
    """Refuses what is not a matrix of finite numbers.

    Args:
        name: what the features are of, such as "query" or "gallery".
        features: [N, D], of a type that float32 can stand for; may be memory-mapped. Rows of zeros
            are welcome.

    Raises:
        InputError: empty or misshapen, not numbers, or a row with nan, infinity or a magnitude
            whose square overflows; the message names the first such row.
    """
    if features.ndim != 2 or 0 in features.shape:
        raise InputError(
            f"{name} features have shape {features.shape}; expected [images, dimensions], both at "
            "least 1"
        )
    if not np.can_cast(features.dtype, np.float32, "same_kind"):
        raise InputError(
            f"{name} features are of type {features.dtype}; expected float16, float32 or float64"
        )
    check_finite(f"{name} features", features)


def check_finite(name: str, matrix: np.ndarray, row_names: np.ndarray | None = None) -> None:
    """Refuses nan, infinity and what is too large, block by block.

    Args:
        name: what the matrix is, for the message.
        matrix: [N, D].
        row_names: [N] numbers by which the message calls the rows; their positions by default.

    Raises:
        InputError: names the first row that is not finite.
    """
    for start in range(0, len(matrix), CHECKED_ROWS):
        block = matrix[start : start + CHECKED_ROWS]
        # Through extrema, and not element by element, to spare a mask as large as the block.
        if max(float(block.max()), -float(block.min())) <= MAX_MAGNITUDE:
            continue
        block = np.asarray(block, np.float64)
        bad = start + int(np.argmin(np.all(np.abs(block) <= MAX_MAGNITUDE, axis=1)))
        row = bad if row_names is None else int(row_names[bad])
        raise InputError(
            f"{name} contain nan, infinity or a number beyond {MAX_MAGNITUDE:g} in row {row} "
            "(rows count from 0); embed that image again (a diverged model gives nan for all)"
        )


def check_metric(metric: str, known: Sequence[str] = METRICS) -> None:
    """Raises InputError for a metric that is not among the known ones."""
    if metric not in known:
        raise InputError(f"unknown metric {metric!r}; expected one of {', '.join(known)}")


def check_sets(sets: Mapping[str, np.ndarray]) -> None:
    """Checks sets of features and that they can be compared with each other.

    Args:
        sets: features [., D] by what they are of, such as "query" and "gallery".

    Raises:
        InputError: as `check_features`; sets of different length D.
    """
    first = next(iter(sets))
    for name, features in sets.items():
        check_features(name, features)
        if features.shape[1] != sets[first].shape[1]:
            raise InputError(
                f"{first} features have {sets[first].shape[1]} dimensions and {name} features "
                f"{features.shape[1]}; embed both with the same model"
            )


def check_pair(query: np.ndarray, gallery: np.ndarray | Sequence[np.ndarray], metric: str) -> None:
    """Checks the features of both sides and that they can be compared.

    Args:
        query: [Q, D].
        gallery: [N, D], or several of them that are ranked as one.
        metric: one of `METRICS`.

    Raises:
        InputError: as `check_sets`; an unknown metric; no gallery.
    """
    check_metric(metric)
    parts = [gallery] if isinstance(gallery, np.ndarray) else list(gallery)
    if not parts:
        raise InputError("the gallery is an empty list; give at least one set of features")
    names = ["gallery"] if len(parts) == 1 else [f"gallery {i}" for i in range(len(parts))]
    check_sets({"query": query, **dict(zip(names, parts, strict=True))})


def check_embeddings(query: EmbeddingSet, galleries: Sequence[EmbeddingSet], metric: str) -> None:
    """Checks embedded sets of both sides and that they can be compared.

    Args:
        query: the queries.
        galleries: one or several that count as one.
        metric: one of `METRICS`.

    Raises:
        InputError: as `check_pair`, or columns that do not fit the features.
    """
    check_pair(query.features, [one.features for one in galleries], metric)
    for name, one in [("query", query), *(("gallery", part) for part in galleries)]:
        check_column(f"{name} pid", one.pid, len(one.features))
        check_column(f"{name} camera", one.camera, len(one.features))


def check_column(name: str, column: np.ndarray, num_rows: int) -> None:
    """Raises InputError for a column of identities or cameras that is not one integer a row."""
    if column.shape != (num_rows,) or not np.issubdtype(column.dtype, np.integer):
        raise InputError(
            f"{name} has shape {column.shape} and type {column.dtype}; expected {num_rows} "
            "integers, one for each row"
        )
