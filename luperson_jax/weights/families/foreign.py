"""Files that are recognized and cannot be converted, so that a message can name them."""

from luperson_jax.weights.rules import Family

_NO_NETWORK = "this version has no such network"


def _foreign(name: str, title: str, *signature: str, reason: str = _NO_NETWORK) -> Family:
    return Family(name, title, signature, refused=((signature[0], reason),))


FOREIGN = (
    _foreign(
        "moco_v3",
        "a MoCo v3 file",
        r"^(base|momentum)_encoder\.",
        reason="this version has no table of its names",
    ),
    _foreign("vit", "a vision transformer (ViT, TransReID)", r"blocks\.0\.attn\.qkv\.weight$"),
    _foreign(
        "vit_other",
        "a vision transformer of torchvision, Hugging Face or CLIP",
        r"encoder_layer_0\.self_attention\.|encoder\.layer\.0\.attention\.|resblocks\.0\.attn\.",
    ),
    _foreign("swin", "a Swin transformer", r"relative_position_bias_table$"),
    _foreign("osnet", "an OSNet of torchreid", r"(^|\.)conv2\.0\.conv2\w\."),
    _foreign(
        "mobilenet",
        "a MobileNet or EfficientNet",
        r"(^|\.)(_?conv_stem|features\.0\.0|conv1\.conv)\.weight$",
        r"(^|\.)(_?blocks\.0\.|features\.1\.(conv|block)\.|features\.1\.0\.block\.0\.0\.|"
        r"conv2\.(0\.)?(conv1|dwconv)\.)",
    ),
    _foreign(
        "convnext",
        "a ConvNeXt",
        r"(^|\.)(stages\.0\.(blocks\.)?0\.(conv_)?dw|downsample_layers\.|"
        r"features\.1\.0\.block\.0\.weight)",
    ),
    _foreign("densenet", "a DenseNet", r"(^|\.)features\.denseblock1\."),
    _foreign("vgg", "a VGG, AlexNet or SqueezeNet", r"(^|\.)features\.0\.weight$"),
    _foreign("hrnet", "an HRNet", r"(^|\.)stage2\.0\.branches\."),
    _foreign("repvgg", "a RepVGG", r"(^|\.)stage\d\.\d+\.rbr_"),
    _foreign("res2net", "a Res2Net", r"(^|\.)layer1\.0\.convs\."),
    _foreign("resnest", "a ResNeSt", r"(^|\.)layer1\.0\.conv2\.(radix|fc1)"),
    _foreign(
        "resnext", "a ResNet with squeeze-and-excitation", r"^(base\.|model\.)?layer1\.0\.se\w*\."
    ),
)
