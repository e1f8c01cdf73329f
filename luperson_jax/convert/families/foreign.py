"""Files that are recognized and cannot be converted, so that a message can name them."""

from luperson_jax.convert.rules import Family

_NO_NETWORK = "this version has no such network"


def _foreign(name: str, title: str, *signature: str, reason: str = _NO_NETWORK) -> Family:
    return Family(name, title, signature, refused=((signature[0], reason),))


FOREIGN = (
    _foreign("mobilenet_v1_slim", "a TensorFlow-slim MobileNet-v1", r"^MobilenetV1/"),
    _foreign(
        "resnet_v1_slim",
        "a TensorFlow-slim ResNet-v1",
        r"^resnet_v1_\d+/",
        reason="its strides lie elsewhere than torchvision's, and this version has no such network",
    ),
    _foreign(
        "moco_v3",
        "a MoCo v3 file",
        r"^(base|momentum)_encoder\.",
        reason="this version has no table of its names",
    ),
    _foreign("vit", "a vision transformer", r"^(\w+\.)*blocks\.0\.attn\.qkv\.weight$"),
    _foreign("swin", "a Swin transformer", r"relative_position_bias_table$"),
    _foreign("osnet", "an OSNet of torchreid", r"^conv2\.0\.conv2\w\."),
    _foreign("resnext", "a ResNet with squeeze-and-excitation", r"^layer1\.0\.se\w*\."),
)
