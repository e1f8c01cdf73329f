"""The non-local block and its places in a ResNet."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import models
from luperson_jax.models.convolution import Conv
from luperson_jax.models.nonlocal_block import NonLocalBlock
from tests.luperson_jax.test_models_networks import draw, evaluation, quick_jit


def block_of(group_size=0, compute_dtype=jnp.float32):
    conv = functools.partial(Conv, compute_dtype=compute_dtype)
    return NonLocalBlock(conv, functools.partial(models.GroupedBatchNorm, group_size))


@pytest.fixture(scope="module")
def x() -> jax.Array:
    return jax.random.normal(jax.random.key(0), (4, 3, 2, 6))


@pytest.fixture(scope="module")
def variables(x):
    """Parameters and statistics away from their start."""
    start = block_of().init(jax.random.key(1), x, train=False)
    leaves, structure = jax.tree.flatten(start)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    moved = [leaf + jax.random.uniform(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, moved)


def by_loops(variables, x):
    """In evaluation, one pixel at a time, float64."""
    params = jax.tree.map(np.float64, variables["params"])
    stats = jax.tree.map(np.float64, variables["batch_stats"]["W_1"])

    def linear(name, row):
        return row @ params[name]["kernel"][0, 0] + params[name]["bias"]

    found = np.zeros(x.shape)
    for image, wanted in zip(np.float64(x), found, strict=True):
        pixels = image.reshape(-1, image.shape[-1])
        for i, pixel in enumerate(pixels):
            read = sum(
                linear("theta", pixel) @ linear("phi", other) / len(pixels) * linear("g", other)
                for other in pixels
            )
            gain = params["W_1"]["scale"] / np.sqrt(stats["var"] + 1e-5)
            out = (linear("W_0", read) - stats["mean"]) * gain + params["W_1"]["bias"]
            wanted[i // image.shape[1], i % image.shape[1]] = pixel + out
    return found


def test_every_pixel_reads_all_others(x, variables):
    got = block_of().apply(variables, x, train=False)
    np.testing.assert_allclose(got, by_loops(variables, x), rtol=1e-4, atol=1e-4)


def test_places_do_not_matter(x, variables):
    run = functools.partial(block_of().apply, variables, train=False)
    turned = run(x[:, ::-1])[:, ::-1]
    np.testing.assert_allclose(run(x), turned, rtol=1e-5, atol=1e-5)
    moved = run(x.at[:, 0, 0].add(1.0)) - run(x)
    assert bool(jnp.all(jnp.abs(moved[:, 2, 1]).max(-1) > 1e-3)), "the far pixel changes too"


def test_at_the_start_it_changes_nothing_and_its_scale_has_a_gradient(x):
    module = block_of()
    variables = module.init(jax.random.key(1), x, train=False)
    kernel = variables["params"]["theta"]["kernel"]
    assert float(jnp.abs(kernel).max()) <= 6**-0.5

    def loss(params):
        tree = {**variables, "params": params}
        y, _ = module.apply(tree, x, train=True, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y)), y

    gradient, y = jax.grad(loss, has_aux=True)(variables["params"])
    np.testing.assert_array_equal(y, x)
    assert bool(jnp.all(gradient["W_1"]["scale"] != 0))


def test_groups(x, variables):
    module = block_of(group_size=2)
    run = functools.partial(module.apply, variables, train=True, mutable=["batch_stats"])
    one, updated = run(x)
    other, _ = run(x.at[2:].set(x[2:] ** 2))
    np.testing.assert_allclose(one[:2], other[:2], rtol=1e-5, atol=1e-5)
    assert bool(jnp.any(updated["batch_stats"]["W_1"]["var"] != 1))


def test_affinities_are_float32_where_the_maps_are_half(x, variables):
    module = block_of(compute_dtype=jnp.bfloat16)
    run = functools.partial(module.apply, variables, train=False)
    half = x.astype(jnp.bfloat16)
    products = [
        equation.outvars[0].aval
        for equation in jax.make_jaxpr(run)(half).eqns
        if equation.primitive.name == "dot_general"
    ]
    affinities = [value.dtype for value in products if value.shape == (4, 6, 6)]
    assert affinities == [jnp.float32]
    assert run(half).dtype == jnp.bfloat16
    wanted = by_loops(variables, half.astype(jnp.float32))
    error = np.linalg.norm(np.float64(run(half)) - wanted)
    assert 0 < error < 0.02 * np.linalg.norm(wanted)


IMAGES = jax.ShapeDtypeStruct((1, 64, 32, 3), jnp.float32)
PLACES = {  # depth: blocks in layer2 and layer3 after which one stands
    18: ([1], [1]),
    34: ([2, 3], [3, 4, 5]),
    50: ([2, 3], [3, 4, 5]),
    101: ([2, 3], [*range(14, 23)]),
    152: ([4, 5, 6, 7], [*range(24, 36)]),
}


@pytest.mark.parametrize("depth", PLACES)
def test_places_in_the_network(depth):
    module = models.ResNet(depth=depth, non_local=True)
    called = []

    def note(function, args, kwargs, context):
        called.append(context.module.name)
        return function(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(functools.partial(models.init, module), jax.random.key(0), IMAGES)
    called = [name for name in called if name and name.startswith(("layer", "NL"))]
    wanted = []
    for name in module.block_names:
        wanted.append(name)
        stage, index = map(int, name.removeprefix("layer").split("_"))
        if stage in (2, 3) and index in PLACES[depth][stage - 2]:
            wanted.append(f"NL_{stage}_{PLACES[depth][stage - 2].index(index)}")
    assert called == wanted


def test_a_network_learned_without_goes_on_with_them():
    images = jax.random.normal(jax.random.key(3), (2, 16, 8, 3))
    plain = models.ResNet(depth=18, width=4, stem="small")
    module = plain.clone(non_local=True)
    params, stats = quick_jit(functools.partial(models.init, module))(jax.random.key(0), images)
    ours, stats_of_ours = draw(plain, images)
    assert set(params) - set(ours) == {"NL_2_0", "NL_3_0"}
    got = evaluation(module)({**params, **ours}, {**stats, **stats_of_ours}, images)
    wanted = evaluation(plain)(ours, stats_of_ours, images)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    params["NL_3_0"]["W_1"]["scale"] += 1
    moved = evaluation(module)({**params, **ours}, {**stats, **stats_of_ours}, images)
    assert not np.allclose(moved, wanted, rtol=0.01)
