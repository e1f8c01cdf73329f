"""ResNet: torchvision's sizes and names, and the two forms of a 1x1 convolution."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import models, sharding
from luperson_jax.models.convolution import Conv, DepthwiseConv
from luperson_jax.models.resnet import RESNETS

# torchvision's published counts with a classifier of 1000 classes, and its input width.
TORCHVISION_PARAMETERS = {
    "resnet18": (11_689_512, 512),
    "resnet34": (21_797_672, 512),
    "resnet50": (25_557_032, 2048),
    "resnet101": (44_549_160, 2048),
    "resnet152": (60_192_808, 2048),
}
IMAGE = jax.ShapeDtypeStruct((1, 256, 128, 3), jnp.float32)


def shapes_of(module):
    return jax.eval_shape(
        lambda key, images: models.init(module, key, images), jax.random.key(0), IMAGE
    )


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def output_shape(module):
    params, stats = shapes_of(module)
    run = lambda p, s, images: models.apply(module, p, s, images, train=False)[0]  # noqa: E731
    return jax.eval_shape(run, params, stats, IMAGE).shape


def test_the_table_covers_every_architecture():
    assert set(RESNETS) == set(TORCHVISION_PARAMETERS)


@pytest.mark.parametrize("architecture", RESNETS)
def test_parameter_count_is_torchvisions(architecture):
    total, features = TORCHVISION_PARAMETERS[architecture]
    module = models.resnet(architecture)
    params, _ = shapes_of(module)
    assert module.num_features == features
    assert count(params) + 1000 * features + 1000 == total


@pytest.mark.parametrize(
    ("depth", "parameters", "tensors"),
    [(50, 23_508_032, 265), (101, 42_500_160, 624 - 104), (152, 58_143_808, 930 - 155)],
)
def test_backbone_tensors(depth, parameters, tensors):
    """PyTorch's files have one more tensor a normalization: its counter of batches."""
    params, stats = shapes_of(models.ResNet(depth=depth))
    assert count(params) == parameters
    assert len(jax.tree.leaves((params, stats))) == tensors


def test_tree_has_torchvisions_names():
    params, stats = shapes_of(models.ResNet(depth=50))
    blocks = {f"layer{s}_{i}" for s, n in enumerate((3, 4, 6, 3), 1) for i in range(n)}
    assert set(params) == {"conv1", "bn1"} | blocks
    plain = {f"{kind}{i}" for kind in ("conv", "bn") for i in (1, 2, 3)}
    assert set(params["layer3_1"]) == plain
    assert set(params["layer3_0"]) == plain | {"downsample_0", "downsample_1"}
    assert params["conv1"]["kernel"].shape == (7, 7, 3, 64)
    assert params["layer3_0"]["conv2"]["kernel"].shape == (3, 3, 256, 256)
    assert params["layer3_0"]["downsample_0"]["kernel"].shape == (1, 1, 512, 1024)
    assert set(stats["layer3_0"]["downsample_1"]) == {"mean", "var"}
    basic, _ = shapes_of(models.ResNet(depth=18))
    assert set(basic["layer1_0"]) == {"conv1", "bn1", "conv2", "bn2"}


@pytest.mark.parametrize("depth", [18, 50])
def test_instance_norm_is_in_the_first_three_stages(depth):
    params, stats = shapes_of(models.ResNet(depth=depth, ibn=True))
    for name in (name for name in params if name.startswith("layer")):
        expected = {"scale", "bias"} if name.startswith("layer4") else {"IN", "BN"}
        assert set(params[name]["bn1"]) == expected, name
        assert set(params[name]["bn2"]) == {"scale", "bias"}, name
    assert params["layer2_0"]["bn1"]["IN"]["scale"].shape == (64,)
    assert set(stats["layer2_0"]["bn1"]) == {"BN"}
    assert count(params) == count(shapes_of(models.ResNet(depth=depth))[0])


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"last_stride": 2}, (1, 8, 4, 2048)),
        ({"last_stride": 1}, (1, 16, 8, 2048)),
        ({"last_stride": 1, "stem": "small", "width": 8}, (1, 64, 32, 256)),
        ({"depth": 34, "width": 16}, (1, 8, 4, 128)),
    ],
)
def test_feature_map_shape(options, shape):
    assert output_shape(models.ResNet(**options)) == shape


def test_initial_values_are_kaiming_fan_out():
    kernel = Conv(128, 3).init(jax.random.key(0), jnp.zeros((1, 4, 4, 32)))["params"]["kernel"]
    kernel = np.asarray(kernel)
    assert kernel.shape == (3, 3, 32, 128)
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 128)), rtol=0.02)
    assert np.abs(kernel).max() > 3 * kernel.std(), "normal, not truncated"


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("size", "features"), [((6, 4), 3), ((5, 6), 3), ((35, 32), 32)])
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
def test_both_forms_of_a_convolution_agree(kernel_size, stride, size, features):
    """Small maps, and one that is large enough for a gradient image by image."""
    x = jax.random.normal(jax.random.key(0), (2, *size, 5))
    variables = Conv(features, kernel_size, stride).init(jax.random.key(1), x)
    weight = jax.random.normal(jax.random.key(2), (2, -(-size[0] // stride), size[1], features))
    weight = weight[:, :, : -(-size[1] // stride)]

    def evaluate(form):
        module = Conv(features, kernel_size, stride, form=form)
        loss = lambda v, x: jnp.sum(jnp.sin(module.apply(v, x)) * weight)  # noqa: E731
        return module.apply(variables, x), jax.grad(loss, argnums=(0, 1))(variables, x)

    def close(a, b):
        np.testing.assert_allclose(a, b, 1e-5, 1e-5 * max(1, float(jnp.abs(b).max())))

    jax.tree.map(close, evaluate("matmul"), evaluate("convolution"))


@pytest.mark.parametrize(
    "module",
    [
        Conv(3, 3, compute_dtype=jnp.bfloat16, use_bias=True),
        Conv(3, 1, compute_dtype=jnp.bfloat16),
        DepthwiseConv(3, compute_dtype=jnp.bfloat16),
    ],
)
def test_gradients_of_devices_are_summed_in_float32(module):
    """And not in bfloat16, in which each device computes."""
    x = jax.random.normal(jax.random.key(0), (8, 16, 8, 5))
    variables = module.init(jax.random.key(1), x)

    def gradient(variables, x):
        return jax.grad(lambda v: jnp.sum(module.apply(v, x).astype(jnp.float32) ** 2))(variables)

    with jax.set_mesh(sharding.make_mesh(jax.devices()[:4])):
        program = str(jax.make_jaxpr(gradient)(variables, x))
    sums = re.findall(r":(\w+)\[[\d,]*\] = psum", program)
    assert sums == ["f32"] * len(jax.tree.leaves(variables)), program


def test_the_matmul_form_is_the_one_of_pointwise_kernels_and_small_maps_on_cpu():
    def primitives(form, kernel_size=1, width=3):
        module = Conv(3, kernel_size, form=form)
        x = jnp.zeros((1, 9, width, 5))
        variables = module.init(jax.random.key(0), x)
        return str(jax.make_jaxpr(lambda x: module.apply(variables, x))(x))

    assert "dot_general" in primitives("auto")
    assert "conv_general_dilated" not in primitives("auto")
    assert "conv_general_dilated" in primitives("convolution")
    assert "conv_general_dilated" not in primitives("auto", 3, width=2)
    assert "conv_general_dilated" in primitives("auto", 3)
