"""What a program hands to a network: type, order of axes, and numbers of its pixels."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from luperson_jax.augment import recipes
from luperson_jax.augment.recipes import Statistics

PixelType = Literal["uint8", "float32"]
Layout = Literal["nhwc", "nchw"]
FROM_ZERO_TO_ONE = Statistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclasses.dataclass(frozen=True)
class Convention:
    """Pictures of the size of the network, in RGB.

    Attributes:
        type: "uint8" is 0 to 255 as they are.
        layout: "nhwc" [B, H, W, 3] or "nchw" [B, 3, H, W].
        statistics: of "float32": what its program has subtracted from pixels of 0 to 1, and
            divided them by.
    """

    type: PixelType
    layout: Layout
    statistics: Statistics = FROM_ZERO_TO_ONE

    def __str__(self) -> str:
        shape = "[batch, H, W, 3]" if self.layout == "nhwc" else "[batch, 3, H, W]"
        if self.type == "uint8":
            return f"uint8 {shape}, RGB of 0 to 255"
        if self.statistics == FROM_ZERO_TO_ONE:
            return f"float32 {shape}, RGB of 0 to 1"
        mean, std = (" ".join(f"{value:g}" for value in one) for one in self.statistics)
        return f"float32 {shape}, RGB of 0 to 1, minus {mean}, by {std}"

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """Of one picture of some height and width."""
        return (*size, 3) if self.layout == "nhwc" else (3, *size)

    def fed(self, pictures: UInt8[np.ndarray, "b h w 3"]) -> np.ndarray:
        """What the program makes of pictures, by its own arithmetic."""
        if self.type == "float32":
            mean, std = (np.array(one, np.float32) for one in self.statistics)
            pictures = (pictures.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(
            pictures if self.layout == "nhwc" else pictures.transpose(0, 3, 1, 2)
        )

    def normalized(self, fed: jax.Array, wanted: Statistics) -> Float[Array, "b h w 3"]:
        """What the network sees: what the program did to the pixels is undone, and mean and
        deviation of the training take its place."""
        images = fed if self.layout == "nhwc" else jnp.transpose(fed, (0, 2, 3, 1))
        if self.type == "uint8":
            return recipes.normalize(images.astype(jnp.float32), *wanted)
        mean, std = (np.array(one, np.float64) for one in self.statistics)
        to_mean, to_std = (np.array(one, np.float64) for one in wanted)
        factor, shift = std / to_std, (mean - to_mean) / to_std
        per_channel = (1, 1, 1, 3)
        return images * jnp.float32(factor).reshape(per_channel) + jnp.float32(shift).reshape(
            per_channel
        )
