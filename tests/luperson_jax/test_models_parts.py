"""The network in stripes: means of the rows, the written relation, and its descriptor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import models
from luperson_jax.models.parts import Relation, descriptor

SPEC = {"arch": "resnet18", "width": 4, "stem": "small", "last_stride": 1, "hidden": 6}


def network(head, num_parts=4):
    return models.NetworkSpec("parts", **SPEC, num_parts=num_parts, part_head=head)


def test_local_features_are_means_of_stripes():
    module = network("local").build()
    images = jax.random.normal(jax.random.key(0), (2, 32, 16, 3))
    params, stats = models.init(module, jax.random.key(1), images)
    assert set(params) == {"backbone"}
    parts, _ = models.apply(module, params, stats, images, train=False)
    variables = {"params": params["backbone"], "batch_stats": stats["backbone"]}
    whole = np.asarray(module.backbone.apply(variables, images, train=False))
    rows = whole.shape[1] // 4
    for part in range(4):
        expected = whole[:, part * rows : (part + 1) * rows].mean(axis=(1, 2))
        np.testing.assert_allclose(parts["local"][:, part], expected, rtol=1e-5, atol=1e-6)


def relation_by_parts(variables, parts):
    """As it is written: a layer at a time, a part at a time."""
    own = {name: np.asarray(one) for name, one in variables["params"].items() if name != "bn"}
    whole = parts.mean(axis=1)
    width = own["reduce"].shape[2]
    of_whole = whole @ own["reduce"][-1] + own["reduce_bias"][-1]
    result = []
    for part in range(parts.shape[1]):
        of_part = parts[:, part] @ own["reduce"][part] + own["reduce_bias"][part]
        merged = np.concatenate([of_part, of_whole], axis=1) @ own["merge"][part]
        scale, bias = (
            np.asarray(variables["params"]["bn"][name])[part * width : (part + 1) * width]
            for name in ("scale", "bias")
        )
        spread = np.sqrt(merged.var(axis=0) + 1e-5)
        normed = (merged - merged.mean(axis=0)) / spread * scale + bias
        result.append(np.clip(normed, 0, 6) + of_whole)
    return np.stack(result, axis=1)


def test_the_relation_is_what_is_written():
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((5, 3, 7)).astype(np.float32)
    module = Relation(features=4)
    variables = module.init(jax.random.key(0), jnp.asarray(parts), train=False)
    scale = 3 * rng.random(12).astype(np.float32)
    params = {**variables["params"], "bn": {"scale": scale, "bias": scale - 1}}
    variables = {**variables, "params": params}
    found, _ = module.apply(variables, jnp.asarray(parts), train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(found, relation_by_parts(variables, parts), rtol=1e-4, atol=1e-5)


def test_the_descriptor_is_that_of_the_reference(golden):
    stored = np.load(golden / "methods" / "video_descriptor_mars_eval.npz")
    frames = {"local": jnp.asarray(stored["local"]), "global": jnp.asarray(stored["global_"])}
    found = np.asarray(descriptor(frames))
    np.testing.assert_allclose(found, stored["frame_vector"], atol=1e-6)
    for pool, name in ((np.max, "descriptor"), (np.mean, "descriptor_mean_pool")):
        for (first, last, *_), expected in zip(stored["tracks"], stored[name], strict=True):
            pooled = pool(found[first - 1 : last], axis=0)
            np.testing.assert_allclose(pooled / np.linalg.norm(pooled), expected, atol=1e-6)


@pytest.mark.parametrize(("head", "width"), [("local", 2048), ("global", 256), ("fused", 2304)])
def test_published_widths(head, width):
    spec = models.NetworkSpec(
        "parts", "resnet50", last_stride=2, hidden=256, num_parts=8, part_head=head
    )
    module = spec.build()
    images = jax.ShapeDtypeStruct((1, 256, 128, 3), jnp.float32)
    shapes = jax.eval_shape(
        lambda key: module.init_with_output(key, jnp.zeros(images.shape), train=False)[0],
        jax.random.key(0),
    )
    assert sum(leaf.shape[2] for leaf in shapes.values()) == width
    assert all(leaf.shape[:2] == (1, 8) for leaf in shapes.values())
    assert f"8 parts, {head}" in str(spec)


def test_stripes_of_unequal_height_are_an_error():
    with pytest.raises(InputError, match="a feature map of 4, which cannot be cut into 3 stripes"):
        models.init(network("fused", 3).build(), jax.random.key(0), jnp.zeros((1, 16, 8, 3)))


@pytest.mark.parametrize("num_parts", range(1, 9))
@pytest.mark.parametrize("last_stride", [1, 2])
def test_shapes_are_known_for_every_number_of_parts(num_parts, last_stride):
    chosen = {**SPEC, "stem": "imagenet", "last_stride": last_stride, "num_parts": num_parts}
    params, _ = models.NetworkSpec("parts", **chosen, part_head="fused").shapes
    assert params["relation/reduce"] == (num_parts + 1, 32, 6)
