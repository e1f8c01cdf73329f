"""Are two pictures of the same person? ROC, area under it, and the threshold for an answer.

A pair is accepted as one person where its distance is at most a threshold. The true positive rate
(TPR, true accepts) is the share of pairs of the *same* person that are accepted, the false positive
rate (FPR, false accepts) the share of pairs of *different* people. FastReID and torchreid's forks
label different people 1 and score by distance, so that their "TPR at FPR" is the share of
different people turned away at a given share of the same person turned away; the area is the same.

Distances come in tiles and leave as counts, so that memory does not grow with the pairs.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from luperson_jax.retrieval import inputs, tiles
from luperson_jax.retrieval.execution import Execution, TileShape
from luperson_jax.retrieval.labels import Columns
from luperson_jax.retrieval.rows import HostRows, cut
from luperson_jax.structs import EmbeddingSet

RULES = {
    "market": "same person under different cameras, different people under any",
    "across": "pictures of different cameras only",
    "all": "any two pictures",
    "tracklets": "of one camera only, where identities number tracklets: pictures of one tracklet, "
    "and of two",
}
EXACT_PAIRS = 2**22
"""Up to so many pairs every distance is kept; beyond, they are counted in bins."""
NUM_BINS = 2**20
"""Over all distances that there can be: 2e-6 wide for "cosine", where float32 products of 2048
numbers are uncertain by some 1e-7."""
TILE = TileShape(256, 4096)
CHECKED_ROWS = 4096

Gallery = EmbeddingSet | Sequence[EmbeddingSet]


@dataclasses.dataclass(frozen=True)
class PairCounts:
    """How many pairs lie at which distance.

    Attributes:
        distance: [K] float32 ascending. A pair counts at the smallest entry that is not below its
            own distance, so shares of pairs "at most that far" are exact at every entry.
        same: [K] int64 pairs of the same person.
        different: [K] int64 pairs of different people.
        binned: False where the entries are the distances themselves.
    """

    distance: Float[np.ndarray, "k"]
    same: Int[np.ndarray, "k"]
    different: Int[np.ndarray, "k"]
    binned: bool


@dataclasses.dataclass(frozen=True)
class Curve:
    """A ROC curve.

    Attributes:
        distance: [K] float32 ascending thresholds; the first is -inf, which accepts nothing.
        fpr: [K] share of pairs of different people at most that far, 0..1.
        tpr: [K] share of pairs of the same person at most that far, 0..1.
        auc: probability that a pair of the same person is nearer than one of different people,
            ties counting half.
        auc_error: how far `auc` can be off because of bins; 0 without.
        num_same, num_different: pairs.
    """

    distance: Float[np.ndarray, "k"]
    fpr: Float[np.ndarray, "k"]
    tpr: Float[np.ndarray, "k"]
    auc: float
    auc_error: float
    num_same: int
    num_different: int


@dataclasses.dataclass(frozen=True)
class PairKinds:
    """Identities and cameras of both sides, and which of their pairs count.

    Attributes:
        query_pid, query_camera: [Q].
        gallery_pid, gallery_camera: [N].
        rule: a key of `RULES`.
        within: both sides are one set, of which every pair counts once.
    """

    query_pid: Int[np.ndarray, "q"]
    query_camera: Int[np.ndarray, "q"]
    gallery_pid: Int[np.ndarray, "n"]
    gallery_camera: Int[np.ndarray, "n"]
    rule: str
    within: bool

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise InputError(f"pairs are {self.rule!r}; expected one of {', '.join(RULES)}")

    def kinds(
        self, rows: Int[np.ndarray, "t"], first: int, num: int
    ) -> tuple[Bool[np.ndarray, "t n"], Bool[np.ndarray, "t n"]]:
        """Which pairs of a tile show the same person, and which of them different people."""
        columns = slice(first, first + num)
        query, gallery = self.query_pid[rows][:, None], self.gallery_pid[columns][None]
        same = query == gallery
        counted = np.ones(same.shape, bool)
        if self.within:
            counted = rows[:, None] < np.arange(first, first + num)[None]
        if self.rule == "all":
            return same & counted, ~same & counted
        apart = self.query_camera[rows][:, None] != self.gallery_camera[columns][None]
        if self.rule == "tracklets":
            return same & ~apart & counted, ~same & ~apart & counted
        if self.rule == "across":
            counted &= apart
        return same & apart & counted, ~same & counted


def count_pairs(
    query: EmbeddingSet,
    gallery: Gallery | None = None,
    *,
    metric: str = "cosine",
    rule: str = "market",
) -> PairCounts:
    """Distances of all pairs of two sets, or within one, counted.

    As for the ranking, rows of nobody known (identity -1) make no pair.

    Args:
        query: the Q queries, or the one set.
        gallery: the gallery, or several that count as one; None pairs `query` with itself, every
            two pictures once.
        metric: "cosine" or "euclidean".
        rule: which pairs count, a key of `RULES`.

    Returns:
        The counts: every distance by itself up to `EXACT_PAIRS`, else `NUM_BINS` bins.

    Raises:
        InputError: wrong features or labels, an unknown rule, or no pair of either kind.
    """
    query, gallery = known_sets(query, gallery, metric)
    features, labels = prepare(query, gallery, metric, rule)
    found = distances(query, features, metric, labels.within)
    if len(labels.query_pid) * len(labels.gallery_pid) <= EXACT_PAIRS:
        return _exactly(found, labels)
    return _in_bins(found, labels, _bin_width(query.features, features, metric))


def count_distances(
    distance: Float[np.ndarray, "q n"],
    query_pid: np.ndarray,
    query_camera: np.ndarray,
    gallery_pid: np.ndarray,
    gallery_camera: np.ndarray,
    *,
    rule: str = "market",
) -> PairCounts:
    """`count_pairs` of distances that are known already; none is binned.

    Args:
        distance: [Q, N], compared as float32.
        query_pid, query_camera: [Q].
        gallery_pid, gallery_camera: [N].
        rule: a key of `RULES`.

    Raises:
        InputError: as `count_pairs`.
    """
    inputs.check_features("distances, as", distance)
    if distance.shape != (len(query_pid), len(gallery_pid)):
        raise InputError(
            f"distances have shape {distance.shape}; expected a row for each of the "
            f"{len(query_pid)} queries and a column for each of {len(gallery_pid)} gallery images"
        )
    rows, columns = (np.flatnonzero(pid != UNLABELLED) for pid in (query_pid, gallery_pid))
    distance = distance[np.ix_(rows, columns)]
    labels = PairKinds(
        query_pid[rows],
        query_camera[rows],
        gallery_pid[columns],
        gallery_camera[columns],
        rule,
        False,
    )
    whole = (np.arange(len(distance)), 0, distance.astype(np.float32))
    return _exactly(iter([whole]), labels)


def curve(counts: PairCounts) -> Curve:
    """The ROC curve of counted pairs.

    Args:
        counts: of at least one pair of either kind.
    """
    num_same, num_different = int(counts.same.sum()), int(counts.different.sum())
    nearer = np.cumsum(counts.same) - counts.same
    tied = counts.different * (counts.same / num_same)
    auc = np.sum(counts.different * (nearer / num_same) + tied / 2) / num_different
    return Curve(
        distance=np.append(np.full(1, -np.inf, np.float32), counts.distance),
        fpr=np.concatenate([[0.0], np.cumsum(counts.different) / num_different]),
        tpr=np.concatenate([[0.0], np.cumsum(counts.same) / num_same]),
        auc=float(auc),
        auc_error=float(tied.sum() / 2 / num_different) if counts.binned else 0.0,
        num_same=num_same,
        num_different=num_different,
    )


def place_of_fpr(roc: Curve, fpr: float) -> int:
    """Where a curve accepts most without more than a share `fpr` of false accepts; 0, where it
    accepts nothing, if the nearest pair is one of different people."""
    return int(np.searchsorted(roc.fpr, fpr, side="right")) - 1


def tpr_at_fpr(roc: Curve, fpr: float) -> float:
    """The highest true positive rate at a false positive rate of at most `fpr`; nothing is
    interpolated."""
    return float(roc.tpr[place_of_fpr(roc, fpr)])


def known_sets(
    query: EmbeddingSet, gallery: Gallery | None, metric: str
) -> tuple[EmbeddingSet, list[EmbeddingSet] | None]:
    """The rows of both sides whose identity is known; features are checked before, so that a
    message names the row that the caller knows.

    Raises:
        InputError: as `count_pairs`, or nobody is known on a side.
    """
    parts = [gallery] if isinstance(gallery, EmbeddingSet) else list(gallery or [])
    inputs.check_pair(query.features, [one.features for one in parts or [query]], metric)
    kept = [one for part in parts if len((one := part.known()).pid)]
    known = query.known()
    if not len(known.pid) or (parts and not kept):
        raise InputError(f"every identity of a side is {UNLABELLED}, which is nobody's")
    return known, kept or None


def prepare(
    query: EmbeddingSet, gallery: Gallery | None, metric: str, rule: str
) -> tuple[list[np.ndarray], PairKinds]:
    """Features of the other side and all labels, checked.

    Raises:
        InputError: as `count_pairs`.
    """
    if gallery is None:
        parts = [query]
    else:
        parts = [gallery] if isinstance(gallery, EmbeddingSet) else list(gallery)
    inputs.check_embeddings(query, parts, metric)
    others = Columns.of(parts)
    kinds = PairKinds(query.pid, query.camera, *others, rule, gallery is None)
    return [part.features for part in parts], kinds


def distances(
    query: EmbeddingSet, gallery: list[np.ndarray], metric: str, within: bool
) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
    """The distances of all pairs, tile by tile, the same ones to the last bit at every call.

    Yields:
        Query rows [t], first gallery row, distances [t, n] float32. Where both sides are one set,
        tiles without a pair that counts are left out.
    """
    rows, others = HostRows(query.features), HostRows(gallery)
    blocks = cut(np.arange(len(rows)), TILE.queries)
    grid = tiles.grid_of(Execution(TILE))
    walk = tiles.walk(rows, others, blocks, metric, grid, triangle=within)
    for tile in tiles.one_ahead(walk):
        yield tile.rows, tile.first, tile.on_host()


def _exactly(found: Iterator[tuple[np.ndarray, int, np.ndarray]], labels: PairKinds) -> PairCounts:
    kept: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for rows, first, tile in found:
        for part, kind in zip(kept, labels.kinds(rows, first, tile.shape[1]), strict=True):
            part.append(tile[kind])
    same, different = (np.concatenate(part) for part in kept)
    _check_kinds(len(same), len(different), labels)
    return counted(same, different)


def counted(same: Float[np.ndarray, "s"], different: Float[np.ndarray, "m"]) -> PairCounts:
    """Pairs that are known by their distances alone, none of them binned."""
    distance, places = np.unique(np.concatenate([same, different]), return_inverse=True)
    num_same = np.bincount(places[: len(same)], minlength=len(distance))
    num_different = np.bincount(places[len(same) :], minlength=len(distance))
    return PairCounts(distance, num_same, num_different, binned=False)


def _in_bins(
    found: Iterator[tuple[np.ndarray, int, np.ndarray]], labels: PairKinds, width: float
) -> PairCounts:
    """Bins (i - 1) * width < distance <= i * width. The width is a power of two, so that neither
    the bin of a distance nor the edge of a bin is rounded."""
    last = NUM_BINS + 1  # a distance may be rounded to just above the highest possible one
    counts = np.zeros((2, last + 1), np.int64)
    for rows, first, tile in found:
        places = np.clip(np.ceil(tile * np.float32(1 / width)), 0, last).astype(np.int32)
        for total, kind in zip(counts, labels.kinds(rows, first, tile.shape[1]), strict=True):
            total += np.bincount(places[kind], minlength=last + 1)
    same, different = counts
    _check_kinds(int(same.sum()), int(different.sum()), labels)
    filled = np.flatnonzero(same + different)
    edges = (filled * width).astype(np.float32)
    return PairCounts(edges, same[filled], different[filled], binned=True)


def _bin_width(query: np.ndarray, gallery: Sequence[np.ndarray], metric: str) -> float:
    largest = 2.0
    if metric == "euclidean":
        largest = _largest_norm([query]) + _largest_norm(gallery)
    return 2.0 ** math.ceil(math.log2(max(largest, 1e-6))) / NUM_BINS


def _largest_norm(parts: Sequence[np.ndarray]) -> float:
    return max(
        float(np.linalg.norm(part[start : start + CHECKED_ROWS].astype(np.float64), axis=1).max())
        for part in parts
        for start in range(0, len(part), CHECKED_ROWS)
    )


def _check_kinds(num_same: int, num_different: int, labels: PairKinds) -> None:
    for num, kind in ((num_same, "the same person"), (num_different, "different people")):
        if not num:
            raise InputError(
                f"there is no pair of {kind} among {len(labels.query_pid)} and "
                f"{len(labels.gallery_pid)} images ({RULES[labels.rule]}); check identities and "
                "cameras, or let other pairs count"
            )
