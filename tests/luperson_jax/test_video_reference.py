"""Tracklets ranked as the authors' Matlab functions do: pooling, distances, CMC, AP."""

import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.measure import tracklet_pooling
from luperson_jax.models.parts import descriptor
from luperson_jax.retrieval import protocols
from luperson_jax.structs import EmbeddingSet


def tracklets_of(stored) -> EmbeddingSet:
    """Pooled from the features of parts, frame by frame."""
    names = {"local": "local", "global": "global_"}
    frames = np.asarray(descriptor({key: jnp.asarray(stored[one]) for key, one in names.items()}))
    first, last, pid, camera = stored["tracks"].T
    number = np.repeat(np.arange(len(first)), last - first + 1)
    features = tracklet_pooling.pooled([frames], number, "max").features
    return EmbeddingSet(features, pid.astype(np.int64), camera.astype(np.int64), ("",) * len(pid))


def test_the_evaluation_of_mars_and_duke(golden):
    stored = np.load(golden / "methods" / "video_descriptor_mars_eval.npz")
    gallery = tracklets_of(stored)
    unit = gallery.features / np.linalg.norm(gallery.features, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, stored["descriptor"], rtol=0, atol=1e-6)
    query = gallery.take(stored["query_row"])
    distance = np.linalg.norm(unit[stored["query_row"]][:, None] - unit[None], axis=2)
    np.testing.assert_allclose(distance, stored["dist"], rtol=0, atol=1e-3)
    protocol = protocols.PROTOCOLS["mars"]
    found = protocols.evaluate(query, gallery, protocol, metric="cosine", max_rank=38)
    np.testing.assert_allclose(found.mAP, stored["mAP"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.cmc, stored["cmc"])


@pytest.mark.parametrize(("name", "stored_as"), [("prid2011", "prid"), ("ilids_vid", "ilids")])
def test_one_direction_and_both(golden, name, stored_as):
    stored = np.load(golden / "methods" / "video_two_camera_cmc.npz")
    every = tracklets_of(stored)
    first, second = (every.take(np.flatnonzero(every.camera == camera)) for camera in (1, 2))
    found = protocols.evaluate(
        first, second, protocols.PROTOCOLS[name], metric="cosine", max_rank=18
    )
    np.testing.assert_allclose(found.cmc, stored[f"cmc_{stored_as}"])
