"""TensorFlow-slim's MobileNet-v1 and ResNet-v1, as .npz of their variables, also as DAL and uPMnet
trained them on."""

from collections.abc import Mapping
from typing import Any

from luperson_jax.weights.rules import DEPTHWISE, HWIO, NETWORK, Family, Rule

AVERAGE = "/ExponentialMovingAverage"
_LEFT_OUT = (
    (r"/(Logits|logits|predictions)/", "of heads that only training used"),
    (r"/(RMSProp(_1)?|Momentum|Adam(_1)?)$", "of the optimizer"),
    (r"^(intra|cross)_anchors\d+$", "anchors of tracklets"),
    (r"(^|/)(global_step|beta[12]_power)$", "of the optimizer"),
)


def averaged(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """The variables, with its moving average in place of each that has one."""
    averages = {
        key.removesuffix(AVERAGE): one for key, one in tensors.items() if key.endswith(AVERAGE)
    }
    if not averages:
        return tensors
    return {key: one for key, one in tensors.items() if not key.endswith(AVERAGE)} | averages


def _batch_norm(key: str, path: str) -> tuple[Rule, ...]:
    places = {"gamma": f"{NETWORK.params}/{path}/scale", "beta": f"{NETWORK.params}/{path}/bias"}
    places |= {
        f"moving_{long}": f"{NETWORK.stats}/{path}/{short}"
        for long, short in {"mean": "mean", "variance": "var"}.items()
    }
    return tuple(Rule(f"{key}/BatchNorm/{name}", place) for name, place in places.items())


def _layer(key: str, conv: str, norm: str) -> tuple[Rule, ...]:
    kernel = Rule(f"{key}/weights", f"{NETWORK.params}/backbone/{conv}/kernel", HWIO)
    return (kernel, *_batch_norm(key, f"backbone/{norm}"))


def _resnet(depth: int) -> Family:
    trunk = f"resnet_v1_{depth}"
    unit = f"{trunk}/block{{stage}}/unit_{{block+1}}/bottleneck_v1"
    block = "layer{stage}_{block}"
    return Family(
        name=f"{trunk}_slim",
        title=f"a TensorFlow-slim ResNet-{depth}",
        signature=(f"^{trunk}/block1/unit_1/bottleneck_v1/conv1/weights$",),
        rules=(
            *_layer(f"{trunk}/conv1", "conv1", "bn1"),
            *_layer(f"{unit}/conv{{n}}", f"{block}/conv{{n}}", f"{block}/bn{{n}}"),
            *_layer(f"{unit}/shortcut", f"{block}/downsample_0", f"{block}/downsample_1"),
        ),
        left_out=_LEFT_OUT,
        statistics="slim_resnet",
        size=(224, 224),
        resize="bilinear_tf1",
        strides="slim",
    )


MOBILENET_SLIM = Family(
    name="mobilenet_v1_slim",
    title="a TensorFlow-slim MobileNet-v1",
    signature=(r"^MobilenetV1/Conv2d_0/weights$",),
    rules=(
        *_layer("MobilenetV1/Conv2d_0", "conv0", "bn0"),
        Rule(
            "MobilenetV1/Conv2d_{n}_depthwise/depthwise_weights",
            f"{NETWORK.params}/backbone/dw{{n}}/kernel",
            DEPTHWISE,
        ),
        *_batch_norm("MobilenetV1/Conv2d_{n}_depthwise", "backbone/dw{n}_bn"),
        *_layer("MobilenetV1/Conv2d_{n}_pointwise", "pw{n}", "pw{n}_bn"),
    ),
    left_out=_LEFT_OUT,
    statistics="slim_mobilenet",
    size=(224, 224),
    resize="bilinear_tf1",
)
RESNETS_SLIM = tuple(_resnet(depth) for depth in (50, 101, 152))
