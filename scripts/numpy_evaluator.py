"""What evaluators in Python do, in NumPy alone, to measure others by.

    python scripts/numpy_evaluator.py query.npz gallery.npz

The whole matrix of cosine distances, a sort of every row, and a loop over the queries. Files are as
`luperson metrics` reads them. Prints the mean average precision.
"""

import sys
from typing import Protocol

import numpy as np


class Features(Protocol):
    """Rows with an identity and a camera each."""

    @property
    def features(self) -> np.ndarray: ...

    @property
    def pid(self) -> np.ndarray: ...

    @property
    def camera(self) -> np.ndarray: ...


def rank_in_numpy(query: Features, gallery: Features) -> np.ndarray:
    """Average precision of each query, with the whole matrix and a sort of every row."""
    left, right = (
        one.features / np.linalg.norm(one.features, axis=1, keepdims=True)
        for one in (query, gallery)
    )
    order = np.argsort(1 - left @ right.T, axis=1)
    ap = np.full(len(order), np.nan)
    for row in range(len(order)):
        own = gallery.pid[order[row]] == query.pid[row]
        hits = own[~(own & (gallery.camera[order[row]] == query.camera[row]))]
        if hits.any():
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            ap[row] = precision[hits].mean()
    return ap


class Saved:
    """The arrays of a `.npz`."""

    def __init__(self, path: str) -> None:
        with np.load(path) as arrays:
            self.features, self.pid, self.camera = (
                arrays[name] for name in ("features", "pid", "camera")
            )


if __name__ == "__main__":
    query_set, gallery_set = map(Saved, sys.argv[1:3])
    sys.stdout.write(f"{np.nanmean(rank_in_numpy(query_set, gallery_set))}\n")
