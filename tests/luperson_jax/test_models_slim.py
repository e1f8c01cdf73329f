"""Networks of TensorFlow-slim against plain numpy by the written rules; their published size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import models, trees
from luperson_jax.models import NetworkSpec

MOBILENET = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
MOBILENET += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
UNITS = (3, 4, 6, 3)


def drawn(spec):
    """Parameters and statistics by name, all away from where they start, and pictures."""
    random = np.random.default_rng(0)
    images = random.normal(size=(2, 64, 32, 3)).astype(np.float32)
    params, stats = models.init(spec.build(), jax.random.key(0), jnp.asarray(images))

    def value(name, leaf):
        if name.endswith("/kernel"):
            return leaf
        low, high = (0.5, 1.5) if name.endswith(("scale", "var")) else (-0.3, 0.3)
        return random.uniform(low, high, leaf.shape).astype(np.float32)

    trees_ = [
        {name: np.asarray(value(name, leaf)) for name, leaf in trees.by_name(tree).items()}
        for tree in (params, stats)
    ]
    return *trees_, images


def windows(x, size, stride, around):
    """[B, H2, W2, C, size, size] of pictures padded by `around`, (top, bottom), (left, right)."""
    x = np.pad(x, ((0, 0), *around, (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return views[:, ::stride, ::stride]


def same(x, size, stride):
    """TensorFlow's padding: as many outputs as inputs / stride, the odd one below and right."""
    around = []
    for n in x.shape[1:3]:
        lacking = max((-(-n // stride) - 1) * stride + size - n, 0)
        around.append((lacking // 2, lacking - lacking // 2))
    return around


def normalized(x, name, params, stats, epsilon):
    scaled = (x - stats[f"{name}/mean"]) / np.sqrt(stats[f"{name}/var"] + epsilon)
    return scaled * params[f"{name}/scale"] + params[f"{name}/bias"]


def mobilenet_twin(params, stats, x):
    def conv(x, name, stride):
        kernel = params[f"backbone/{name}/kernel"]
        near = windows(x, len(kernel), stride, same(x, len(kernel), stride))
        if name.startswith("dw"):
            return np.einsum("bhwcij,ijc->bhwc", near, kernel[:, :, 0])
        return np.einsum("bhwcij,ijcd->bhwd", near, kernel)

    def activated(x, name):
        return np.clip(normalized(x, f"backbone/{name}", params, stats, 1e-3), 0, 6)

    x = activated(conv(x, "conv0", 2), "bn0")
    for number, (_, stride) in enumerate(MOBILENET, start=1):
        x = activated(conv(x, f"dw{number}", stride), f"dw{number}_bn")
        x = activated(conv(x, f"pw{number}", 1), f"pw{number}_bn")
    return x


def resnet_twin(params, stats, x):
    def conv(x, name, stride=1):
        kernel = params[f"backbone/{name}/kernel"]
        around = [(len(kernel) // 2,) * 2] * 2
        return np.einsum("bhwcij,ijcd->bhwd", windows(x, len(kernel), stride, around), kernel)

    def norm(x, name):
        return normalized(x, f"backbone/{name}", params, stats, 1e-5)

    x = np.maximum(norm(conv(x, "conv1", 2), "bn1"), 0)
    x = windows(x, 3, 2, same(x, 3, 2)).max(axis=(4, 5))  # no value is below the 0 of the padding
    for stage, units in enumerate(UNITS, start=1):
        for unit in range(units):
            name = f"layer{stage}_{unit}"
            stride = 2 if unit == units - 1 and stage < 4 else 1
            y = np.maximum(norm(conv(x, f"{name}/conv1"), f"{name}/bn1"), 0)
            y = np.maximum(norm(conv(y, f"{name}/conv2", stride), f"{name}/bn2"), 0)
            y = norm(conv(y, f"{name}/conv3"), f"{name}/bn3")
            if unit == 0:
                x = norm(conv(x, f"{name}/downsample_0"), f"{name}/downsample_1")
            x = np.maximum(y + x[:, ::stride, ::stride], 0)
    return x


@pytest.mark.parametrize(
    ("spec", "twin"),
    [
        (NetworkSpec("backbone", "mobilenet_v1", 8), mobilenet_twin),
        (NetworkSpec("backbone", "resnet50", 4, strides="slim"), resnet_twin),
    ],
    ids=["mobilenet_v1", "resnet50"],
)
def test_the_network_is_the_written_one(spec, twin):
    params, stats, images = drawn(spec)
    expected = twin(params, stats, images).mean(axis=(1, 2))
    nested = (trees.nest(params), trees.nest(stats))
    found, _ = models.apply(spec.build(), *nested, jnp.asarray(images), train=False)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


def map_of(**options):
    images = jax.ShapeDtypeStruct((1, 256, 128, 3), jnp.float32)
    module = NetworkSpec("backbone", **options).build().backbone
    return jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x, train=False), images
    )


def test_mobilenet_has_its_published_size():
    """Keras's MobileNet without its top has 3,206,976 trainable parameters."""
    features, variables = map_of(arch="mobilenet_v1")
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 3_206_976
    assert features.shape == (1, 8, 4, 1024)


@pytest.mark.parametrize("arch", ["mobilenet_v1", "resnet50"])
def test_a_last_stride_of_1_doubles_the_map(arch):
    strides = "slim" if arch == "resnet50" else "torchvision"
    whole, _ = map_of(arch=arch, width=8, strides=strides)
    finer, _ = map_of(arch=arch, width=8, strides=strides, last_stride=1)
    assert finer.shape[1:3] == (2 * whole.shape[1], 2 * whole.shape[2]) == (16, 8)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ibn": True}, "model.ibn is for a ResNet"),
        ({"strides": "slim"}, "model.strides is for a ResNet"),
        ({"width": 7}, "model.width must be even"),
        ({"kind": "mgn"}, "MGN cuts a ResNet"),
    ],
)
def test_what_a_mobilenet_cannot_be(wrong, words):
    with pytest.raises(InputError, match=words):
        NetworkSpec(**{"kind": "backbone", "arch": "mobilenet_v1"} | wrong).build()


def test_an_mgn_cannot_be_cut_out_of_the_strides_of_slim():
    with pytest.raises(InputError, match="MGN cuts a ResNet"):
        NetworkSpec("mgn", "resnet50", 8, strides="slim").build()
