"""Files of TensorFlow-slim by their own names, which nobody here wrote from our tables."""

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import weights
from luperson_jax.weights import translate

NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def variables():
    """A MobileNet-v1 of eighth width by the names and shapes that TensorFlow-slim gives it."""
    random, found = np.random.default_rng(0), {}

    def layer(name, kernel, shape, channels):
        found[f"MobilenetV1/{name}/{kernel}"] = shape
        found.update({f"MobilenetV1/{name}/BatchNorm/{one}": (channels,) for one in NORM})

    before = 4
    layer("Conv2d_0", "weights", (3, 3, 3, before), before)
    for number, channels in enumerate((8, 16, 16, 32, 32, *(64,) * 6, 128, 128), start=1):
        layer(f"Conv2d_{number}_depthwise", "depthwise_weights", (3, 3, before, 1), before)
        layer(f"Conv2d_{number}_pointwise", "weights", (1, 1, before, channels), channels)
        before = channels
    found["MobilenetV1/Logits/Conv2d_1c_1x1/weights"] = (1, 1, before, 1001)
    found["MobilenetV1/Logits/Conv2d_1c_1x1/biases"] = (1001,)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in found.items()}


def test_every_variable_of_the_trunk_is_taken_and_the_head_left_out(tmp_path):
    tensors = variables()
    np.savez(tmp_path / "slim.npz", **tensors)
    model = weights.load(str(tmp_path / "slim.npz"))
    assert model.account.complete
    assert (model.spec.arch, model.spec.width) == ("mobilenet_v1", 8)
    assert len(model.tensors) == len(tensors) - 2
    assert model.pixels == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert model.resize == "bilinear_tf1"
    kernel = model.tensors["params/backbone/dw3/kernel"]
    source = tensors["MobilenetV1/Conv2d_3_depthwise/depthwise_weights"]
    np.testing.assert_array_equal(kernel, source.transpose(0, 1, 3, 2))


def test_moving_averages_come_before_the_variables_and_slots_are_left_out():
    tensors = variables()
    name = "MobilenetV1/Conv2d_0/weights"
    tensors[f"{name}/ExponentialMovingAverage"] = tensors[name] + 1
    tensors |= {f"{name}/{slot}": tensors[name] for slot in ("RMSProp", "RMSProp_1", "Momentum")}
    tensors |= {"global_step": np.array(7), "intra_anchors00": np.ones((3, 2), np.float32)}
    model = translate.from_torch(tensors)
    np.testing.assert_array_equal(model.tensors["params/backbone/conv0/kernel"], tensors[name] + 1)


def test_a_variable_that_is_missing_is_named():
    tensors = variables()
    del tensors["MobilenetV1/Conv2d_13_pointwise/BatchNorm/gamma"]
    with pytest.raises(InputError, match=r"missing +params/backbone/pw13_bn/scale"):
        translate.from_torch(tensors)
