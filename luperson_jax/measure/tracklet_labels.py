"""Tracklets in place of identities: what a tracker knows of pictures that nobody has labelled."""

import os
import re

import numpy as np
from jaxtyping import Int

from data_pipeline.errors import InputError
from data_pipeline.table.records import UNLABELLED
from luperson_jax.structs import EmbeddingSet


def of_tracklets(
    embedded: EmbeddingSet, tracklet: str | None = None, camera: str | None = None
) -> EmbeddingSet:
    """The set with the number of each picture's tracklet as its identity.

    Args:
        embedded: pictures. Those of one identity and camera are a tracklet where identities are
            known, else those of one folder.
        tracklet: regular expression that finds the tracklet in a picture's path: its groups, or all
            that it matches.
        camera: the same for the camera: its number, or a name; names are numbered.

    Raises:
        InputError: no expression, or a path without a match.
    """
    cameras = of_cameras(embedded, camera)
    if tracklet is not None:
        names = _found(embedded.key, tracklet, "tracklet")
    elif np.any(embedded.pid != UNLABELLED):
        if np.any(embedded.pid == UNLABELLED):
            raise InputError(
                f"some pictures have the identity {UNLABELLED}, which is nobody's; leave them out, "
                "or say how a path tells its tracklet"
            )
        names = embedded.pid
    else:
        names = np.array([os.path.dirname(key) for key in embedded.key])
        if np.any(names == ""):
            raise InputError(
                "pictures without identities and without folders in their paths are of no "
                "tracklet; say how a path tells it, or save the number of each one's tracklet as "
                "its identity"
            )
    code = np.unique(names, return_inverse=True)[1].astype(np.int64)
    pairs = np.stack([code, np.asarray(cameras, np.int64)], axis=1)
    number = np.unique(pairs, axis=0, return_inverse=True)[1].astype(np.int64)
    return EmbeddingSet(
        embedded.features, number.ravel(), pairs[:, 1], embedded.key, embedded.frames
    )


def of_cameras(embedded: EmbeddingSet, camera: str | None = None) -> Int[np.ndarray, "n"]:
    """The camera of each picture: that of the set, or what `camera` finds in its path, as
    `of_tracklets` takes it.

    Raises:
        InputError: no expression, or a path without a match.
    """
    if camera is None:
        return embedded.camera
    names = _found(embedded.key, camera, "camera")
    is_number = all(name.isdecimal() and len(name) < 10 for name in names.tolist())
    return names.astype(int) if is_number else np.unique(names, return_inverse=True)[1]


def _found(keys: tuple[str, ...], pattern: str, name: str) -> np.ndarray:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{pattern!r} is no regular expression ({error})") from error
    names = []
    for row, key in enumerate(keys):
        match = expression.search(key)
        if match is None:
            raise InputError(
                f"the path {key!r} of row {row} has nothing that {pattern!r} finds; give an "
                f"expression that finds the {name} in every path"
            )
        names.append("\0".join(group or "" for group in match.groups() or (match[0],)))
    return np.array(names)
