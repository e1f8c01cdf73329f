"""Pairs of pictures with the people on them: all of the same person, the nearest of different
ones."""

import dataclasses

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Bool, Float, Int

from data_pipeline.errors import InputError
from luperson_jax.retrieval import verification
from luperson_jax.retrieval.identity_rates import PairsOfKind
from luperson_jax.retrieval.verification import Gallery, PairCounts, PairKinds
from luperson_jax.structs import EmbeddingSet


@dataclasses.dataclass(frozen=True)
class PairList:
    """Pairs of both kinds.

    Attributes:
        same: all pairs of the same person, the nearest first.
        different: the nearest pairs of different people.
        of_two: [M] how many pairs there are of the two people of each listed pair of different
            ones; None where the pairs were chosen by somebody and not all that there are.
        num_identities: I.
    """

    same: PairsOfKind
    different: PairsOfKind
    of_two: Float[np.ndarray, "m"] | None
    num_identities: int


def near_pairs(
    query: EmbeddingSet, gallery: Gallery | None, metric: str, rule: str, reach: float
) -> PairList:
    """The pairs of two sets, or within one; those of different people up to a distance.

    Args:
        query, gallery, metric, rule: as `verification.count_pairs`; without rows of nobody known.
        reach: distance.

    Raises:
        InputError: as `verification.count_pairs`.
    """
    features, labels = verification.prepare(query, gallery, metric, rule)
    identities, pid = np.unique(
        np.concatenate([labels.query_pid, labels.gallery_pid]), return_inverse=True
    )
    query_pid, gallery_pid = np.split(pid, [len(labels.query_pid)])
    found: tuple[list, list] = ([], [])
    for rows, first, tile in verification.distances(query, features, metric, labels.within):
        of_same, of_different = labels.kinds(rows, first, tile.shape[1])
        for part, kind in zip(found, (of_same, of_different & (tile <= reach)), strict=True):
            one, other = np.nonzero(kind)
            part.append((tile[one, other], query_pid[rows[one]], gallery_pid[first + other]))
    counts = _People.of(labels, query_pid, gallery_pid, len(identities))
    same, different = (_joined(part) for part in found)
    involved = counts.different()
    return PairList(
        PairsOfKind(*same, counts.same, round(counts.same.sum())),
        PairsOfKind(*different, involved, round(involved.sum() / 2)),
        counts.of_two(different[1], different[2]),
        len(identities),
    )


def labelled_pairs(
    distance: Float[np.ndarray, "m"],
    same: Bool[np.ndarray, "m"],
    first: np.ndarray,
    second: np.ndarray,
) -> PairList:
    """Pairs that somebody has judged.

    Pictures that are linked by pairs of the same person are one person; every other picture is a
    person of its own, so that a person who is in several pictures unknown to us counts as several.

    Args:
        distance: [M].
        same: [M] whether a pair shows the same person.
        first, second: [M] names or numbers of the two pictures.

    Raises:
        InputError: no pair of either kind, or a pair of different people whom others link.
    """
    names, number = np.unique(np.concatenate([first, second]), return_inverse=True)
    one, other = np.split(number, 2)
    links = scipy.sparse.coo_array(
        (np.ones(same.sum(), np.int8), (one[same], other[same])), shape=(len(names),) * 2
    )
    num, person = scipy.sparse.csgraph.connected_components(links, directed=False)
    one, other = person[one], person[other]
    wrong = np.flatnonzero(~same & (one == other))
    if len(wrong):
        row = wrong[0]
        raise InputError(
            f"{first[row]} and {second[row]} are said to show different people, and other pairs "
            "link them as the same person; mend the labels"
        )
    kinds = []
    for kind in (same, ~same):
        if not kind.any():
            words = "the same person" if kind is same else "different people"
            raise InputError(f"no labelled pair shows {words}; both kinds are needed")
        part = _joined([(distance[kind].astype(np.float32), one[kind], other[kind])])
        everyone = PairsOfKind(*part, np.zeros(num), len(part[0]))
        kinds.append(everyone._replace(involved=everyone.of_people(0, len(part[0])).astype(float)))
    return PairList(kinds[0], kinds[1], None, num)


def counts(pairs: PairList) -> PairCounts:
    """How many pairs lie at which distance, of a whole list."""
    assert pairs.different.all_listed
    return verification.counted(pairs.same.order, pairs.different.order)


def _joined(parts: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest first."""
    distance, first, second = (
        np.concatenate([part[column] for part in parts]) for column in range(3)
    )
    order = np.argsort(distance, kind="stable")
    return distance[order], first[order], second[order]


@dataclasses.dataclass(frozen=True)
class _People:
    """How many pairs people make, without listing them.

    Attributes:
        same: [I] pairs of the same person.
        query, gallery: [I] pictures.
        query_of_camera, gallery_of_camera: [I, C] sparse.
        rule: a key of `verification.RULES`.
        share: 1, or 1/2 within one set, where every pair stands twice in the products.
    """

    same: np.ndarray
    query: np.ndarray
    gallery: np.ndarray
    query_of_camera: scipy.sparse.csr_array
    gallery_of_camera: scipy.sparse.csr_array
    rule: str
    share: float

    @classmethod
    def of(
        cls, labels: PairKinds, query_pid: np.ndarray, gallery_pid: np.ndarray, num: int
    ) -> "_People":
        cameras = np.concatenate([labels.query_camera, labels.gallery_camera])
        kinds, camera = np.unique(cameras, return_inverse=True)
        tables = [
            scipy.sparse.coo_array(
                (np.ones(len(one)), (one, where)), shape=(num, len(kinds))
            ).tocsr()
            for one, where in zip(
                (query_pid, gallery_pid), np.split(camera, [len(query_pid)]), strict=True
            )
        ]
        query, gallery = (table.sum(axis=1) for table in tables)
        of_a_camera = (tables[0] * tables[1]).sum(axis=1)
        itself = query if labels.within else np.zeros(num)
        same = {
            "market": query * gallery - of_a_camera,
            "across": query * gallery - of_a_camera,
            "all": query * gallery - itself,
            "tracklets": of_a_camera - itself,
        }[labels.rule]
        share = 0.5 if labels.within else 1.0
        return cls(share * same, query, gallery, tables[0], tables[1], labels.rule, share)

    def different(self) -> np.ndarray:
        """[I] pairs of different people in which each person takes part."""
        query, gallery = self.query, self.gallery
        anywhere = query * (gallery.sum() - gallery) + gallery * (query.sum() - query)
        if self.rule in ("market", "all"):
            return self.share * anywhere
        one, other = self.query_of_camera, self.gallery_of_camera
        own = (one * other).sum(axis=1)
        of_a_camera = one @ other.sum(axis=0) + other @ one.sum(axis=0) - 2 * own
        return self.share * (of_a_camera if self.rule == "tracklets" else anywhere - of_a_camera)

    def of_two(self, first: Int[np.ndarray, "m"], second: Int[np.ndarray, "m"]) -> np.ndarray:
        """[M] pairs of two people."""
        num = len(self.query)
        codes, places = np.unique(
            np.minimum(first, second).astype(np.int64) * num + np.maximum(first, second),
            return_inverse=True,
        )
        a, b = codes // num, codes % num
        anywhere = self.query[a] * self.gallery[b] + self.query[b] * self.gallery[a]
        if self.rule in ("market", "all"):
            return (self.share * anywhere)[places]
        one, other = self.query_of_camera, self.gallery_of_camera
        of_a_camera = (one[a] * other[b]).sum(axis=1) + (one[b] * other[a]).sum(axis=1)
        kept = of_a_camera if self.rule == "tracklets" else anywhere - of_a_camera
        return (self.share * kept)[places]
