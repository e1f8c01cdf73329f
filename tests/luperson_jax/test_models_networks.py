"""The whole networks: parts, training against evaluation, freezing, devices, types."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import models

BACKBONE = models.ResNet(depth=18, width=4, stem="small", bn_group_size=4)
REID = models.ReidNet(BACKBONE, "gem_learned", extra_bn=True, embedding_dim=6)

# Compiling these networks well would take longer than running them.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return jax.random.normal(jax.random.key(3), (8, 16, 8, 3))


def draw(module, images):
    """Parameters and statistics away from their start, drawn without compiling anything."""
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        name = path[-1].key
        value = rng.normal(size=shape.shape)
        if name == "kernel":
            value *= np.sqrt(2 / np.prod(shape.shape[:-1]))
        elif name in ("scale", "var"):
            value = rng.uniform(0.5, 1.5, shape.shape)
        elif name == "p":
            value = np.full(shape.shape, 3.0)
        else:
            value *= 0.1
        return jnp.asarray(value, shape.dtype)

    trees = jax.eval_shape(lambda key: models.init(module, key, images), jax.random.key(0))
    return jax.tree_util.tree_map_with_path(leaf, trees)


@functools.cache
def training_step(module, frozen_paths=("^(backbone|b[123])/",)):
    """(params, stats, images, frozen) -> gradient, outputs, statistics; compiled once."""

    @quick_jit
    def step(params, stats, images, frozen):
        def loss(params):
            outputs, updated = models.apply(
                module,
                params,
                stats,
                images,
                train=True,
                frozen=frozen,
                frozen_paths=frozen_paths,
            )
            parts = (jnp.mean(jnp.sin(3 * part)) for part in jax.tree.leaves(outputs))
            return sum(parts), (outputs, updated)

        gradient, (outputs, updated) = jax.grad(loss, has_aux=True)(params)
        return gradient, outputs, updated

    return step


@functools.cache
def evaluation(module):
    return quick_jit(lambda p, s, images: models.apply(module, p, s, images, train=False)[0])


def changed(tree, other):
    return jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.any(a != b)), tree, other))


def test_moco_encoder(images):
    module = models.MocoEncoder(BACKBONE, feature_dim=7)
    params, stats = draw(module, images)
    assert (set(params), set(stats)) == ({"backbone", "head"}, {"backbone"})
    pooled, projection = evaluation(module)(params, stats, images)
    features = evaluation(BACKBONE)(params["backbone"], stats["backbone"], images)
    np.testing.assert_allclose(pooled, np.asarray(features).mean((1, 2)), rtol=1e-4, atol=1e-5)
    head = models.ProjectionHead(BACKBONE.num_features, 7)
    expected = head.apply({"params": params["head"]}, pooled, train=False)
    np.testing.assert_allclose(projection, expected, rtol=1e-4, atol=1e-5)


def test_moco_head_of_resnet50_has_the_published_size(images):
    module = models.MocoEncoder(models.ResNet())
    params, _ = jax.eval_shape(lambda key: models.init(module, key, images), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params["head"])) == 4_458_624


def test_reid_net_is_backbone_norm_pooling_neck(images):
    params, stats = draw(REID, images)
    assert set(params) == {"backbone", "extra_bn", "pool", "neck"}
    before, after = evaluation(REID)(params, stats, images)
    part = lambda name: {"params": params[name], "batch_stats": stats[name]}  # noqa: E731
    features = evaluation(BACKBONE)(params["backbone"], stats["backbone"], images)
    features = models.GroupedBatchNorm().apply(part("extra_bn"), features, train=False)
    pooled = models.Pooling("gem").apply({}, features)
    np.testing.assert_allclose(before, pooled, rtol=1e-4, atol=1e-5)
    expected = models.BNNeck(6).apply(part("neck"), before, train=False)
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)


def test_reid_net_normalizes_in_groups_throughout(images):
    """Other images in the second group leave the first one's features as they are."""
    params, stats = draw(REID, images)
    step = training_step(REID)
    one = step(params, stats, images, False)[1]
    other = step(params, stats, images.at[4:].set(images[4:] ** 2), False)[1]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a[:4], b[:4], rtol=1e-5, atol=1e-5)
        assert not np.allclose(a[4:], b[4:])


def test_evaluation_is_image_by_image_and_keeps_the_statistics(images):
    params, stats = draw(REID, images)
    together = evaluation(REID)(params, stats, images)
    alone = evaluation(REID)(params, stats, images[1:2])
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a[1:2], b, rtol=1e-4, atol=1e-5)
    kept = []
    run = functools.partial(models.apply, REID, params, stats, train=False)
    jax.eval_shape(lambda images: kept.append(run(images)[1]), images)
    assert kept[0] is stats


def test_training_moves_every_statistic(images):
    params, stats = draw(REID, images)
    gradient, _, updated = training_step(REID)(params, stats, images, False)
    assert all(changed(updated, stats))
    assert not np.any(gradient["neck"]["bn"]["bias"])
    gradient["neck"]["bn"].pop("bias")
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(gradient))


def test_freezing_reaches_the_backbone_alone(images):
    params, stats = draw(REID, images)
    _, outputs, updated = training_step(REID)(params, stats, images, True)
    jax.tree.map(np.testing.assert_array_equal, updated["backbone"], stats["backbone"])
    assert all(changed(updated["extra_bn"], stats["extra_bn"]))
    assert all(changed(updated["neck"], stats["neck"]))

    features = evaluation(BACKBONE)(params["backbone"], stats["backbone"], images)
    extra = {"params": params["extra_bn"], "batch_stats": stats["extra_bn"]}
    features, _ = models.GroupedBatchNorm(4).apply(
        extra, features, train=True, mutable=["batch_stats"]
    )
    pooled = models.Pooling("gem").apply({}, features)
    np.testing.assert_allclose(outputs[0], pooled, rtol=1e-3, atol=1e-4)


def test_frozen_paths_are_a_choice(images):
    """One compiled step serves both phases; the paths are fixed when it is built."""
    module, paths = REID, ("^extra_bn/", "^neck/", r"^backbone/(bn1|layer1_\d+)/")
    params, stats = draw(module, images)
    _, outputs, updated = training_step(module, paths)(params, stats, images, True)
    for part, inside in stats["backbone"].items():
        if part == "bn1" or part.startswith("layer1_"):
            jax.tree.map(np.testing.assert_array_equal, updated["backbone"][part], inside)
        else:
            assert all(changed(updated["backbone"][part], inside))
    for part in ("extra_bn", "neck"):
        jax.tree.map(np.testing.assert_array_equal, updated[part], stats[part])
    neck = {"params": params["neck"], "batch_stats": stats["neck"]}
    expected = models.BNNeck(6).apply(neck, outputs[0], train=False)
    np.testing.assert_allclose(outputs[1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("group_size", [0, 4])
def test_devices_do_not_change_a_training_step(images, group_size):
    """A group of the whole batch spans the two devices; a group of 4 lies on one of them."""
    module = REID.clone(backbone=BACKBONE.clone(bn_group_size=group_size))
    params, stats = draw(module, images)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    replicated = jax.NamedSharding(mesh, jax.P())
    step = training_step(module)
    sharded = step(
        *jax.device_put((params, stats), replicated),
        jax.device_put(images, jax.NamedSharding(mesh, jax.P("data"))),
        False,
    )
    single = step(params, stats, images, False)

    def close(a, b):
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b) + 1e-6

    jax.tree.map(close, sharded, single)
    assert sharded[1][0].sharding.is_equivalent_to(jax.NamedSharding(mesh, jax.P("data")), 2)


@pytest.mark.parametrize("cls", [models.MocoEncoder, models.ReidNet])
def test_bfloat16_computes_half_and_stores_float32(images, cls):
    backbone = BACKBONE.clone(compute_dtype=jnp.bfloat16, ibn=True)
    module = cls(backbone)
    params, stats = draw(module, images)
    part = params["backbone"], stats["backbone"]
    run = lambda p, s: models.apply(backbone, p, s, images, train=False)[0]  # noqa: E731
    assert jax.eval_shape(run, *part).dtype == jnp.bfloat16
    result = jax.eval_shape(training_step(module), params, stats, images, False)
    types = {leaf.dtype for leaf in jax.tree.leaves((params, stats, result))}
    assert types == {jnp.dtype("float32")}


def test_bfloat16_is_near_float32(images):
    params, stats = draw(BACKBONE, images)
    half = BACKBONE.clone(compute_dtype=jnp.bfloat16)
    wanted = np.asarray(evaluation(BACKBONE)(params, stats, images))
    got = np.asarray(evaluation(half)(params, stats, images)).astype(np.float32)
    assert 0 < np.linalg.norm(got - wanted) < 0.03 * np.linalg.norm(wanted)


def test_init_is_a_function_of_the_key(images):
    module = models.ResNet(depth=18, width=2, stem="small")
    build = quick_jit(lambda key: models.init(module, key, images))
    params, stats = build(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, params, build(jax.random.key(0))[0])
    other, _ = build(jax.random.key(1))
    assert np.any(other["conv1"]["kernel"] != params["conv1"]["kernel"])
    first, second = params["layer4_1"]["conv1"]["kernel"], params["layer4_1"]["conv2"]["kernel"]
    assert np.any(first != second), "each layer draws its own numbers"
    for name, value in (("scale", 1.0), ("bias", 0.0)):
        assert set(np.unique(params["layer3_0"]["bn2"][name])) == {value}
    for name, value in (("mean", 0.0), ("var", 1.0)):
        assert set(np.unique(stats["layer3_0"]["bn2"][name])) == {value}
