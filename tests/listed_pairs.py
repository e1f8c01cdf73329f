"""Pairs of embedded pictures by two loops, and pictures with ties and unknown people."""

import numpy as np

from luperson_jax.retrieval import verification
from luperson_jax.structs import EmbeddingSet


def embedded(seed, num, num_ids=7, num_cameras=3, dim=8) -> EmbeddingSet:
    """Pictures of people, some of nobody known."""
    generator = np.random.default_rng(seed)
    pid = generator.integers(-1, num_ids, num)
    centers = np.random.default_rng(99).standard_normal((num_ids + 1, dim))
    features = (centers[pid] + generator.standard_normal((num, dim))).astype(np.float32)
    # Duplicates, for ties between pairs of both kinds.
    features[num // 2 : num // 2 + 5] = features[:5]
    return EmbeddingSet(features, pid, generator.integers(0, num_cameras, num), ("",) * num)


def listed(query, gallery, metric="cosine", rule="market"):
    """Distance, sameness and both rows of every pair that counts."""
    within = gallery is None
    gallery = query if within else gallery
    distance = np.zeros((len(query.pid), len(gallery.pid)), np.float32)
    for rows, first, tile in verification.distances(query, [gallery.features], metric, within):
        distance[rows, first : first + tile.shape[1]] = tile
    pairs = []
    for i in range(len(query.pid)):
        for j in range(len(gallery.pid)):
            same, near = query.pid[i] == gallery.pid[j], query.camera[i] == gallery.camera[j]
            dropped = {
                "market": same and near,
                "across": near,
                "all": False,
                "tracklets": not near,
            }[rule]
            dropped = dropped or -1 in (query.pid[i], gallery.pid[j])
            if not dropped and not (within and j <= i):
                pairs.append((distance[i, j], same, i, j))
    values, same, one, other = (np.array(column) for column in zip(*pairs, strict=True))
    return values, same, one, other
