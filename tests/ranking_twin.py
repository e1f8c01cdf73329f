"""The ranking as it is told: sort, remove, look at the hits."""

import numpy as np

from luperson_jax.retrieval.labels import Columns, Labels, RemovalRule, make_labels
from luperson_jax.structs import RankingReport


def labels_of(
    query_pid: np.ndarray,
    query_camera: np.ndarray,
    gallery_pid: np.ndarray,
    gallery_camera: np.ndarray,
    junk: np.ndarray | None = None,
) -> Labels:
    """The labels of four columns."""
    sides = Columns(query_pid, query_camera), Columns(gallery_pid, gallery_camera)
    return make_labels(*sides, RemovalRule(junk=junk))


def written_out(
    distance: np.ndarray,
    query_pid: np.ndarray,
    query_camera: np.ndarray,
    gallery_pid: np.ndarray,
    gallery_camera: np.ndarray,
    max_rank: int = 50,
    removal: str = "same_identity_and_camera",
    junk: np.ndarray | None = None,
) -> RankingReport:
    """One query after the other, from the whole matrix; a wrong image that is as near as a match
    stands before it. Without `junk` the identity -1 is
    nobody's: not to be seen in the gallery, and no match of a query."""
    nobody = -1 if junk is None else None
    junk = gallery_pid == -1 if junk is None else junk
    ap, trapezoid, inp, first = [], [], [], []
    for row, pid, camera in zip(distance, query_pid, query_camera, strict=True):
        removed = {
            "same_identity_and_camera": (gallery_pid == pid) & (gallery_camera == camera),
            "same_camera": gallery_camera == camera,
            "nothing": np.zeros(len(row), bool),
        }[removal]
        removed = removed | junk
        order = np.lexsort((gallery_pid == pid, row))
        kept = order[~removed[order]]
        hits = (gallery_pid[kept] == pid) & (pid != nobody)
        ranks = np.flatnonzero(hits) + 1
        for values in (ap, trapezoid, inp):
            values.append(np.nan)
        first.append(0)
        if len(ranks):
            precision = [1.0, *(np.cumsum(hits) / np.arange(1, len(hits) + 1))]
            ap[-1] = np.mean([precision[rank] for rank in ranks])
            trapezoid[-1] = np.mean([(precision[r - 1] + precision[r]) / 2 for r in ranks])
            inp[-1] = len(ranks) / ranks[-1]
            first[-1] = ranks[0]
    found = [rank for rank in first if rank]
    return RankingReport(
        float(np.nanmean(ap)),
        float(np.nanmean(inp)),
        np.array([np.mean(np.array(found) <= place) for place in range(1, max_rank + 1)]),
        np.array(ap),
        len(found),
        len(ap),
        np.array(inp),
        np.array(first),
        np.array(trapezoid),
    )


def exactly_scored(query: np.ndarray, gallery: np.ndarray, metric: str) -> np.ndarray:
    """[Q, N] what orders the gallery for a query, in Python's integers, which are never rounded:
    the cosine turned around, or the squared distance without the length of the query."""
    left, right = (_on_grid(np.asarray(one, np.float32), metric) for one in (query, gallery))
    products = left @ right.T
    if metric == "cosine":
        return -products.astype(float)  # below 2^53 each
    return ((right * right).sum(1)[None] - 2 * products).astype(float)


def _on_grid(rows: np.ndarray, metric: str) -> np.ndarray:
    """Each row rounded to 26 bits of its length, or of the power of two above it, and to float32;
    all of them in steps of 2^-126."""
    found = np.zeros(rows.shape, object)
    for place, row in zip(found, rows.astype(np.float64), strict=True):
        length = np.sqrt(np.einsum("d,d->", row, row))
        exponent = int(np.frexp(length)[1])
        steps = 2.0**26 / (length or 1) if metric == "cosine" else 2.0 ** (26 - exponent)
        larger = 1 if metric == "cosine" else 2 ** (exponent + 100)
        place[:] = [int(np.float32(round(x))) * larger for x in row * steps]
    return found


def assert_same_report(
    report: RankingReport, expected: RankingReport, tolerance: float = 1e-12
) -> None:
    """Equal but for the order of summation."""
    assert report.num_valid_queries == expected.num_valid_queries
    assert report.num_queries == expected.num_queries
    np.testing.assert_array_equal(report.first_rank, expected.first_rank)
    for name in ("ap", "inp", "ap_trapezoid", "cmc", "mAP", "mINP", "mAP_trapezoid"):
        np.testing.assert_allclose(
            getattr(report, name), getattr(expected, name), rtol=0, atol=tolerance, err_msg=name
        )
