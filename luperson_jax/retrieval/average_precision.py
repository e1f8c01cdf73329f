"""From the ranks of the matches to mAP, CMC and mINP.

Zheng et al., "Scalable Person Re-identification: A Benchmark", 2015 (mAP, CMC); Ye et al., "Deep
Learning for Person Re-identification: A Survey and Outlook", 2021 (mINP). The trapezoid rule is
that of the Oxford buildings benchmark: Philbin et al., "Object retrieval with large vocabularies
and fast spatial matching", 2007.
"""

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.structs import RankingReport


def check_max_rank(max_rank: int) -> None:
    """Raises InputError for a CMC without a place."""
    if max_rank < 1:
        raise InputError(f"max_rank is {max_rank}; expected at least 1")


def check_any_match(num_matches: np.ndarray) -> None:
    """Raises InputError where no query has a match."""
    if not num_matches.any():
        raise InputError(
            f"none of the {len(num_matches)} queries has a match: no gallery image shows the "
            "identity of a query under another camera. Check that query and gallery belong to the "
            "same data set and that the cameras are not all equal"
        )


def make_report(
    offsets: np.ndarray,
    ranks: np.ndarray,
    *,
    max_rank: int,
    every_match: bool = False,
) -> RankingReport:
    """The measures of a ranking.

    Args:
        offsets: [Q + 1]; query i has the ranks from `offsets[i]` to `offsets[i + 1]`.
        ranks: [M] ranks of all matches, from 1, in any order within a query.
        max_rank: length of the CMC.
        every_match: whether the CMC is that of all shots: of each query it counts the share of its
            matches with fewer than k wrong images before them, instead of the first match alone.
    """
    num_matches = np.diff(offsets)
    num_queries = len(num_matches)
    query_of = np.repeat(np.arange(num_queries), num_matches)
    ranks = ranks[np.lexsort((ranks, query_of))].astype(np.int64)
    hits = np.arange(len(ranks)) - offsets[query_of] + 1
    precision = hits / ranks
    # Of the list that ends just before the match; 1 for a list without entries.
    before = np.where(ranks == 1, 1.0, (hits - 1) / np.maximum(ranks - 1, 1))

    valid = np.flatnonzero(num_matches)
    ap, ap_trapezoid, inp = (np.full(num_queries, np.nan) for _ in range(3))
    first_rank = np.zeros(num_queries, np.int64)
    first, last = offsets[valid], offsets[valid + 1] - 1
    ap[valid] = np.add.reduceat(precision, first) / num_matches[valid]
    ap_trapezoid[valid] = np.add.reduceat((before + precision) / 2, first) / num_matches[valid]
    inp[valid] = precision[last]
    first_rank[valid] = ranks[first]

    if every_match:
        places, weights = ranks - hits + 1, 1 / num_matches[query_of]
    else:
        places, weights = ranks[first], np.ones(len(valid))
    found = np.bincount(np.minimum(places, max_rank + 1), weights, minlength=max_rank + 2)
    return RankingReport(
        mAP=float(ap.sum(where=~np.isnan(ap)) / len(valid)),
        mINP=float(inp.sum(where=~np.isnan(inp)) / len(valid)),
        cmc=np.cumsum(found[1 : max_rank + 1]) / len(valid),
        ap=ap,
        num_valid_queries=len(valid),
        num_queries=num_queries,
        inp=inp,
        first_rank=first_rank,
        ap_trapezoid=ap_trapezoid,
    )
