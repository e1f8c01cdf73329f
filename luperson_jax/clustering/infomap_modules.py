"""Modules of the graph of nearest neighbors by Infomap, whose package is an extra under the GPL.

Rosvall and Bergstrom, "Maps of random walks on complex networks reveal community structure", 2008,
arXiv 0707.0609; as Cluster Contrast and CALR cluster with it. `communities` needs no package.
"""

import importlib
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.clustering.dbscan import NOISE
from luperson_jax.retrieval import neighbors

FLAGS = "--two-level --directed --silent --seed 1"


def package() -> Any:
    """The package.

    Raises:
        InputError: it is missing.
    """
    try:
        return importlib.import_module("infomap")
    except ImportError as error:
        raise InputError(
            f"Infomap is not installed ({error}); pip install 'luperson_jax[infomap]' brings it, "
            "under the GPL, and clustering by communities needs no other package"
        ) from error


def infomap_modules(
    features: np.ndarray, *, k: int = 15, min_similarity: float = 0.5
) -> np.ndarray:
    """Groups images between which a random walk along similar neighbors stays long.

    Args:
        features: [N, D]; compared by cosine.
        k: nearest images of each, itself included.
        min_similarity: cosine that an edge to one of them must have, which is also its weight.

    Returns:
        [N] int64 modules of any number; -1 for an image without edges.

    Raises:
        InputError: the package is missing, or as `neighbors.nearest`.
    """
    infomap = package()
    lists = neighbors.nearest(features, features, k, self_first=True)
    near = (lists.rows >= 0) & (lists.distance <= 1 - min_similarity)
    near &= lists.rows != np.arange(len(features))[:, None]
    first, _ = np.nonzero(near)
    labels = np.full(len(features), NOISE, np.int64)
    if not len(first):
        return labels
    engine = infomap.Infomap(FLAGS)
    add_link = getattr(engine, "add_link", None) or engine.addLink  # before version 2
    weight = 1 - lists.distance[near].astype(np.float64)
    for edge in zip(first.tolist(), lists.rows[near].tolist(), weight.tolist(), strict=True):
        add_link(*edge)
    found = _modules(engine)
    labels[list(found)] = list(found.values())
    return labels


def _modules(engine: Any) -> dict[int, int]:
    """The module of each node; `run` gives a result from version 2.16 on."""
    result = engine.run()
    if hasattr(result, "modules"):
        return dict(result.modules())
    return dict(engine.get_modules())
