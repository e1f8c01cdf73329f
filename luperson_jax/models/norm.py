"""Normalization whose result does not depend on the number of devices."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jaxtyping import Array, Float, Int

from luperson_jax.models import moments, projection
from luperson_jax.models.moments import Flag


class GroupedBatchNorm(nn.Module):
    """Batch normalization over groups of consecutive images, with PyTorch's running statistics.

    PyTorch normalizes over the images of one GPU. Here the group is a number of images, whatever
    the number of devices: "8 GPUs with 320 images each" is `group_size=320` on any machine.

    The running mean and the running *unbiased* variance move by `momentum` towards the average of
    the groups' statistics, which are made in one pass, see `moments.of_images`. Parameters are
    `scale`, `bias` [C]; statistics (`batch_stats`) are `mean`, `var` [C]; all are float32, as is
    all arithmetic, also for bfloat16 input.

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
        relu: bool = False,
        frozen: Flag = False,
        group: Int[Array, "b"] | None = None,
        of: projection.Projection | None = None,
    ) -> Float[Array, "b *space c"]:
        """Normalizes `x`.

        Args:
            x: [B, ..., C], the channels last.
            train: False = normalize with the running statistics, for any B.
            relu: set what is negative to 0 afterwards. The gradient then needs no map of its own.
            frozen: where True, training behaves as `train=False` and leaves the statistics as
                they are. It may be traced, so that one compiled step serves both phases.
                `models.apply` gives it to those at certain paths.
            group: number of the group of each image, of B / `group_size` groups of equal size;
                None = images that follow each other. `models.apply` gives it.
            of: what `x` was made of, for a gradient that moves less.

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
        if not train or frozen is True:
            inverse = jax.lax.rsqrt(running_var.value + self.epsilon)
            y = moments.affine(x, scale, bias, running_mean.value[None], inverse[None])
            return (nn.relu(y) if relu else y).astype(x.dtype)

        size = self._size_of_group(x.shape)
        of_images = moments.of_images(jax.lax.stop_gradient(x))
        mean, var = moments.of_groups(of_images, size, group)
        num_values = size * math.prod(x.shape[1:-1])
        unbiased = var.mean(axis=0) * (num_values / (num_values - 1))
        for running, new in ((running_mean, mean.mean(axis=0)), (running_var, unbiased)):
            moved = (1 - self.momentum) * running.value + self.momentum * new
            running.value = jnp.where(frozen, running.value, moved)
        mean, var = (
            jnp.where(frozen, running.value[None], moments.spread(of_batch, size, group))
            for running, of_batch in ((running_mean, mean), (running_var, var))
        )
        inverse, live = jax.lax.rsqrt(var + self.epsilon), jnp.logical_not(frozen)
        if of is not None and group is None and not relu and of.moves_less(size):
            return projection.normalized(size, x, of, scale, bias, mean, inverse, live)
        return moments.normalized(size, relu, x, scale, bias, mean, inverse, live, group)

    def _size_of_group(self, shape: tuple[int, ...]) -> int:
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
        return size


class InstanceNorm(nn.Module):
    """Normalizes each channel of each image over its own pixels, with scale and bias [C].

    It has no running statistics and is the same in training and evaluation.
    Source: D. Ulyanov et al., "Instance Normalization", 2016; torch.nn.InstanceNorm2d.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, relu: bool = False
    ) -> Float[Array, "b h w c"]:
        """Normalizes `x`; float32 inside, the type of `x` outside. See `GroupedBatchNorm`."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        mean, var = moments.of_groups(moments.of_images(jax.lax.stop_gradient(x)), 1, None)
        inverse, live = jax.lax.rsqrt(var + self.epsilon), jnp.bool_(True)
        return moments.normalized(1, relu, x, scale, bias, mean, inverse, live, None)


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
        relu: bool = False,
    ) -> Float[Array, "b h w c"]:
        """Normalizes `x`; see `GroupedBatchNorm` for `train` and `relu`."""
        first, rest = jnp.split(x, [x.shape[-1] // 2], axis=-1)
        batch_norm = GroupedBatchNorm(self.group_size, self.momentum, name="BN")
        halves = (
            InstanceNorm(name="IN")(first, relu=relu),
            batch_norm(rest, train=train, relu=relu),
        )
        return jnp.concatenate(halves, axis=-1)
