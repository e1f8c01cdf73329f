"""Features of pictures and of their mirror images."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from data_pipeline import datasets
from luperson_jax import sharding
from luperson_jax.measure import streaming
from luperson_jax.measure.evaluation import Evaluation
from luperson_jax.structs import TrainState
from tests.helpers import tiny


@dataclasses.dataclass(frozen=True)
class Half:
    """A network that sees the mean color of one half of a picture."""

    right: bool

    def embed(self, params, extra, batch):
        images = batch.images.astype(jnp.float32)
        width = images.shape[2] // 2
        seen = images[:, :, width:] if self.right else images[:, :, :width]
        return params["scale"] * jnp.mean(seen, axis=(1, 2))


def features_of(root, right, flip):
    recipe = tiny("identify", root)
    table = datasets.load("market1501", str(root), "data.root", 0).query
    state = TrainState(jnp.int32(0), {"scale": jnp.float32(2.0)}, {}, {}, None)
    mesh = sharding.make_mesh()
    return streaming.embed_table(Half(right), state, table, recipe, mesh, flip=flip).features


def test_a_flipped_feature_is_the_mean_over_picture_and_mirror_image(labelled_world):
    left, right = (features_of(labelled_world, right, flip=False) for right in (False, True))
    assert np.abs(left - right).max() > 1
    both = features_of(labelled_world, right=False, flip=True)
    np.testing.assert_allclose(both, (left + right) / 2, rtol=1e-5)


def test_what_is_measured_is_the_average_where_it_is_asked_for(labelled_world):
    """The average of these weights has another sign: all distances stay, all features change."""
    average = {"params": {"scale": jnp.float32(-2.0)}, "stats": {}, "count": jnp.int32(1)}
    state = TrainState(jnp.int32(5), {"scale": jnp.float32(2.0)}, {}, {}, None, average)
    features = {}
    for weights in ("online", "average"):
        changes = {"eval__dataset": "market1501", "eval__root": str(labelled_world)}
        recipe = tiny("identify", labelled_world, eval__weights=weights, **changes)
        evaluation = Evaluation.build(recipe, Half(False), sharding.make_mesh())
        measured = evaluation.measure(state)
        assert measured.step == 5
        features[weights] = measured.query.features
    np.testing.assert_allclose(features["average"], -features["online"])
