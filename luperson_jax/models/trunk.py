"""What every network stands on: from pictures to a feature map."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Trunk(Protocol):
    """A Flax module such as `ResNet` or `MobileNetV1`, without its classifier.

    Attributes:
        bn_group_size: images that share batch statistics; 0 = the whole batch.
        bn_momentum: weight of a batch in the running statistics.
    """

    bn_group_size: int
    bn_momentum: float

    @property
    def num_features(self) -> int:
        """Channels of the feature map."""
        ...

    def __call__(self, images: Any, *, train: bool) -> Any:
        """The feature map [B, h, w, num_features] of images [B, H, W, 3], normalized RGB."""
        ...
