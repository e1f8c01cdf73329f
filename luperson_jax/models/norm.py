"""Normalization whose result does not depend on the number of devices."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jaxtyping import Array, Bool, Float

Flag = bool | Bool[Array, ""]
"""A truth that may be traced."""


class GroupedBatchNorm(nn.Module):
    """Batch normalization over groups of consecutive images, with PyTorch's running statistics.

    PyTorch normalizes over the images of one GPU. Here the group is a number of images, whatever
    the number of devices: "8 GPUs with 320 images each" is `group_size=320` on any machine.

    The running mean and the running *unbiased* variance move by `momentum` towards the average of
    the groups' statistics. Parameters are `scale`, `bias` [C]; statistics (`batch_stats`) are
    `mean`, `var` [C]; all are float32, as is all arithmetic, also for bfloat16 input.

    Source: S. Ioffe, C. Szegedy, "Batch Normalization", 2015; torch.nn.BatchNorm2d.

    Attributes:
        group_size: images that share one mean and variance; 0 = the whole batch.
        momentum: weight of the new batch in the running statistics (PyTorch's sense).
        epsilon: added to the variance.
        freeze_bias: the bias has no gradient: 0 at the start and in all published files, it stays
            0, and only weight decay would move another value. It remains a parameter so that the
            tree has the tensors of the PyTorch files.
        scale_init: initializer of the scale.
    """

    group_size: int = 0
    momentum: float = 0.1
    epsilon: float = 1e-5
    freeze_bias: bool = False
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *space c"],
        *,
        train: bool,
        frozen: Flag = False,
    ) -> Float[Array, "b *space c"]:
        """Normalizes `x`.

        Args:
            x: [B, ..., C], the channels last.
            train: False = normalize with the running statistics, for any B.
            frozen: where True, training behaves as `train=False` and leaves the statistics as
                they are. It may be traced, so that one compiled step serves both phases.
                `models.apply` gives it to those at certain paths.

        Returns:
            Array like `x`.

        Raises:
            ValueError: in training, B is no multiple of `group_size` (a smaller batch included:
                it would silently be another algorithm), or a group holds a single value.
        """
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        if self.freeze_bias:
            bias = jax.lax.stop_gradient(bias)

        use_batch = train and frozen is not True
        num_groups = self._num_groups(x.shape) if use_batch else 1
        grouped = x.astype(jnp.float32).reshape(num_groups, -1, *x.shape[1:])
        per_channel = (1,) * x.ndim + (channels,)
        mean = running_mean.value.reshape(per_channel)
        var = running_var.value.reshape(per_channel)
        if use_batch:
            batch_mean, batch_var, num_values = _group_statistics(grouped)
            new_mean = batch_mean.reshape(num_groups, channels).mean(axis=0)
            new_var = batch_var.reshape(num_groups, channels).mean(axis=0)
            new_var = new_var * (num_values / (num_values - 1))
            for running, new in ((running_mean, new_mean), (running_var, new_var)):
                moved = (1 - self.momentum) * running.value + self.momentum * new
                running.value = jnp.where(frozen, running.value, moved)
            mean = jnp.where(frozen, mean, batch_mean)
            var = jnp.where(frozen, var, batch_var)

        gain = jax.lax.rsqrt(var + self.epsilon) * scale.reshape(per_channel)
        y = (grouped - mean) * gain + bias.reshape(per_channel)
        return y.reshape(x.shape).astype(x.dtype)

    def _num_groups(self, shape: tuple[int, ...]) -> int:
        batch = shape[0]
        size = self.group_size or batch
        if batch % size:
            raise ValueError(
                f"bn_group_size is {size}, the batch has {batch} images; expected a multiple of "
                f"bn_group_size. Change the batch size or set bn_group_size to a divisor of it "
                f"(0 = the whole batch)."
            )
        if size * math.prod(shape[1:-1]) < 2:
            raise ValueError(
                f"bn_group_size of {size} leaves one value per channel in an input of shape "
                f"{shape}; its variance is undefined. Use a larger bn_group_size or batch."
            )
        return batch // size


def _group_statistics(
    grouped: Float[Array, "g n *space c"],
) -> tuple[Array, Array, int]:
    """Mean and biased variance of each group [G, 1, ..., 1, C], and the values in each.

    The variance takes a second pass over the values: E[x^2] - E[x]^2 cancels where the mean is
    large against the deviation, and can even turn negative.
    """
    axes = tuple(range(1, grouped.ndim - 1))
    mean = grouped.mean(axis=axes, keepdims=True)
    var = jnp.square(grouped - mean).mean(axis=axes, keepdims=True)
    return mean, var, math.prod(grouped.shape[1:-1])


class InstanceNorm(nn.Module):
    """Normalizes each channel of each image over its own pixels, with scale and bias [C].

    It has no running statistics and is the same in training and evaluation.
    Source: D. Ulyanov et al., "Instance Normalization", 2016; torch.nn.InstanceNorm2d.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalizes `x`; float32 inside, the type of `x` outside."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        values = x.astype(jnp.float32)
        centered = values - values.mean(axis=(1, 2), keepdims=True)
        var = jnp.square(centered).mean(axis=(1, 2), keepdims=True)
        gain = jax.lax.rsqrt(var + self.epsilon) * scale.reshape(1, 1, 1, channels)
        return (centered * gain + bias.reshape(1, 1, 1, channels)).astype(x.dtype)


class InstanceBatchNorm(nn.Module):
    """IBN-a: instance normalization of the first half of the channels, batch of the rest.

    Subtrees `IN` and `BN`, as in the reference's files.
    Source: X. Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via
    IBN-Net", 2018, arXiv 1807.09441.
    """

    group_size: int = 0
    momentum: float = 0.1

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool,
    ) -> Float[Array, "b h w c"]:
        """Normalizes `x`; see `GroupedBatchNorm` for `train`."""
        first, rest = jnp.split(x, [x.shape[-1] // 2], axis=-1)
        batch_norm = GroupedBatchNorm(self.group_size, self.momentum, name="BN")
        return jnp.concatenate(
            [InstanceNorm(name="IN")(first), batch_norm(rest, train=train)], axis=-1
        )
