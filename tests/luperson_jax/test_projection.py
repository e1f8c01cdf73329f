"""The gradient of a 1x1 convolution and its normalization, without the result of the former."""

import contextlib
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import platforms, sharding
from luperson_jax.models import moments, projection
from luperson_jax.models.convolution import Conv
from luperson_jax.models.norm import GroupedBatchNorm
from luperson_jax.models.projection import Projection
from luperson_jax.models.resnet import Bottleneck

BATCH, CHANNELS, FEATURES = 8, 8, 32
MESHES = {"no mesh": 0, "one device": 1, "two devices": 2}


def draw(mean: float = 0.3) -> tuple[np.ndarray, ...]:
    """Input after a ReLU, kernel, scale, bias, and a gradient that goes with the result."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(BATCH, 6, 4, CHANNELS)) + mean, 0)
    kernel = rng.normal(size=(1, 1, CHANNELS, FEATURES)) * CHANNELS**-0.5
    scale, bias = 1 + rng.normal(size=(2, FEATURES)) / 4
    result = x @ kernel[0, 0]
    gradient = rng.normal(size=result.shape) + (result - result.mean(axis=(0, 1, 2))) / 4
    return tuple(one.astype(np.float32) for one in (x, kernel, scale, bias, gradient))


def both(form, size, live, x, kernel, scale, bias):
    """The normalized result of a convolution in either form."""
    y = jnp.einsum("bhwk,kc->bhwc", x, jnp.asarray(kernel[0, 0], x.dtype))
    mean, var = moments.of_groups(moments.of_images(jax.lax.stop_gradient(y)), size, None)
    if not live:
        mean, var = mean + 0.1, 0 * var + 0.7
    mean, inverse = (moments.spread(one, size, None) for one in (mean, (var + 1e-5) ** -0.5))
    if form == "plain":
        return moments.normalized(size, False, y, scale, bias, mean, inverse, live, None)
    of = Projection(x, kernel)
    return projection.normalized(size, y, of, scale, bias, mean, inverse, live)


def gradients(form, size, live, inputs, gradient):
    @jax.jit
    def pulled(inputs, gradient):
        value, pull = jax.vjp(functools.partial(both, form, size, live), *inputs)
        return value, pull(gradient)

    return pulled(inputs, gradient)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(
    ("mesh", "size"),
    [(mesh, size) for mesh in MESHES for size in (1, 2, BATCH // max(MESHES[mesh], 1))],
)
def test_it_equals_the_gradient_of_the_plain_form(mesh, size, live):
    devices = MESHES[mesh]
    *inputs, gradient = map(jnp.asarray, draw())
    wanted = gradients("plain", size, live, inputs, gradient)
    own = jax.devices()[:devices]
    with jax.set_mesh(sharding.make_mesh(own)) if own else contextlib.nullcontext():
        found = gradients("ours", size, live, inputs, gradient)
    for one, other in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * float(abs(other).max()))


def exact(size, x, kernel, scale, gradient):
    """Gradients of input, kernel and scale in float64, through the statistics."""
    x, kernel, scale, gradient = (
        np.asarray(one, np.float64) for one in (x, kernel[0, 0], scale, gradient)
    )
    rows, pulls = (one.reshape(BATCH // size, -1, one.shape[-1]) for one in (x, gradient))
    y = rows @ kernel
    apart = y - y.mean(axis=1, keepdims=True)
    inverse = (y.var(axis=1, keepdims=True) + 1e-5) ** -0.5
    slope = (pulls * apart * inverse).mean(axis=1, keepdims=True)
    moved = scale * inverse * (pulls - pulls.mean(axis=1, keepdims=True) - apart * inverse * slope)
    of_scale = (pulls * apart * inverse).sum(axis=(0, 1))
    return (moved @ kernel.T).reshape(x.shape), np.einsum("gnk,gnc->kc", rows, moved), of_scale


@pytest.mark.parametrize(("mean", "more"), [(0.3, (1.6, 0.5, 0.6)), (3.0, (2.2, 0.9, 0.6))])
@pytest.mark.parametrize("size", [4, 8])
def test_in_bfloat16_it_is_about_as_near_to_float64(size, mean, more):
    """Times the distance of the plain form, for input, kernel and scale."""
    x, kernel, scale, bias, gradient = draw(mean)
    x, half, gradient = (jnp.asarray(one, jnp.bfloat16) for one in (x, kernel, gradient))
    kernel = jnp.asarray(half, jnp.float32)
    wanted = exact(size, x, kernel, scale, gradient)

    def distances(form):
        _, pulled = gradients(form, size, True, [x, kernel, scale, bias], gradient)
        pairs = zip(pulled, wanted, strict=False)
        return [
            np.linalg.norm(np.float64(one).reshape(other.shape) - other) / np.linalg.norm(other)
            for one, other in pairs
        ]

    for ours, plain, factor in zip(distances("ours"), distances("plain"), more, strict=True):
        assert ours < factor * plain


class Blocks(nn.Module):
    """A bottleneck of either stride."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        conv = functools.partial(Conv, compute_dtype=self.dtype)
        norm = functools.partial(GroupedBatchNorm, 2)
        for stride in (1, 2):
            x = Bottleneck(CHANNELS, stride, conv, norm, norm, name=f"stride_{stride}")(
                x, train=True
            )
        return x


def pulled(monkeypatch, dtype):
    """The maps for which blocks take the form, and the gradient of all parameters."""
    blocks, asked, inner = Blocks(dtype), [], projection.normalized
    images = jnp.asarray(draw()[0])
    monkeypatch.setattr(projection, "normalized", lambda *a: asked.append(a[1].shape) or inner(*a))
    tree = jax.eval_shape(blocks.init, jax.random.key(0), images)
    rng = np.random.default_rng(1)
    tree = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), tree)
    asked.clear()

    @jax.jit
    def gradient(params):
        def loss(params):
            given = {**tree, "params": params}
            return blocks.apply(given, images, mutable=["batch_stats"])[0].astype(jnp.float32).var()

        return jax.grad(loss)(params)

    return asked, gradient(tree["params"])


def test_blocks_take_it_in_bfloat16_where_the_stride_is_one(monkeypatch):
    monkeypatch.setattr(projection, "MIN_PIXELS", 1)
    asked, gradient = pulled(monkeypatch, jnp.bfloat16)
    assert asked == [(8, 6, 4, 32), (8, 6, 4, 32), (8, 3, 2, 32)]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert not pulled(monkeypatch, jnp.float32)[0]


def test_all_gradients_of_blocks_equal_those_of_the_plain_form(monkeypatch):
    asked, wanted = pulled(monkeypatch, jnp.float32)
    assert not asked
    monkeypatch.setattr(Projection, "moves_less", lambda of, size: True)
    asked, found = pulled(monkeypatch, jnp.float32)
    assert len(asked) == 3
    for one, other in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * float(abs(other).max()))


def test_it_is_taken_where_it_moves_less(monkeypatch):
    kernel = np.zeros((1, 1, CHANNELS, FEATURES), np.float32)
    x = jnp.zeros((BATCH, 16, 8, CHANNELS), jnp.bfloat16)
    assert all(Projection(x, kernel).moves_less(size) for size in (1, 2, 4, 8))
    assert not Projection(x.astype(jnp.float32), kernel).moves_less(8)
    assert not Projection(x, kernel[..., :CHANNELS]).moves_less(8)
    few = x[:, :4, :8]
    assert [size for size in (1, 2, 4, 8) if Projection(few, kernel).moves_less(size)] == [4, 8]
    with jax.set_mesh(sharding.make_mesh(jax.devices()[:2])):
        assert [size for size in (1, 4, 8) if Projection(x, kernel).moves_less(size)] == [1, 4]
        assert not Projection(x[:5], kernel).moves_less(1)
    monkeypatch.setattr(platforms, "current", lambda: "tpu")
    assert [size for size in (1, 2, 4, 8) if Projection(x, kernel).moves_less(size)] == [8]
