"""torchvision's ResNets, IBN-Net's, and the backbones that LUPerson and LUPerson-NL released."""

from luperson_jax.weights.rules import Family, resnet

_SIGNATURE = (r"^conv1\.weight$", r"^layer1\.0\.conv1\.weight$")

TORCHVISION = Family(
    name="torchvision",
    title="a torchvision ResNet",
    signature=(*_SIGNATURE, r"^fc\.weight$"),
    rules=resnet(),
    left_out=((r"^fc\.", "of the classifier of its training set"),),
    statistics="imagenet",
    size=(224, 224),
)

LUPERSON = Family(
    name="luperson",
    title="a ResNet under torchvision's names, such as LUPerson's released backbones",
    signature=_SIGNATURE,
    rules=resnet(),
    left_out=((r"^classifier\.", "of a classifier"),),
)
"""Its files and stripped ImageNet weights look alike, so the pixel statistics are not known."""

NUMBERED = Family(
    name="numbered",
    title="a ResNet as a numbered nn.Sequential, as lightly keeps it",
    signature=(r"^0\.weight$", r"^4\.0\.conv1\.weight$"),
    rules=resnet(stem=("0", "1"), stages=("4", "5", "6", "7")),
)
"""`nn.Sequential(*resnet.children())`: 0 conv1, 1 bn1, 4 to 7 the stages."""
