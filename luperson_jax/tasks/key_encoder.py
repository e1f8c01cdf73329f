"""What methods with a key encoder and a queue share: MoCo and PNL.

Kaiming He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020,
arXiv 1911.05722.

In `extra` are `stats` and `key_stats` (BatchNorm of either encoder: the key encoder's is its own
and not averaged), `key_params`, `queue` [K, d] and `queue_pointer`. Of the settings `task` these
are used: `queue_size`, `momentum`, `temperature`, `feature_dim` and `shuffle_bn`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from data_pipeline.errors import InputError
from luperson_jax.config import Recipe
from luperson_jax.losses import contrastive
from luperson_jax.sharding import constrain_to_batch
from luperson_jax.structs import Batch, Tree
from luperson_jax.tasks import base


def check(recipe: Recipe) -> None:
    """Raises InputError where the settings do not fit each other."""
    options = recipe.task
    if options.temperature <= 0 or options.feature_dim < 1 or not 0 <= options.momentum <= 1:
        raise InputError(
            f"task.temperature={options.temperature} must be above 0, "
            f"task.feature_dim={options.feature_dim} at least 1, and "
            f"task.momentum={options.momentum} from 0 to 1"
        )
    base.check_nothing_frozen(recipe)
    if options.queue_size < recipe.data.batch_size:
        raise InputError(
            f"task.queue_size={options.queue_size} is smaller than "
            f"data.batch_size={recipe.data.batch_size}: one batch of keys must fit; "
            "enlarge the queue or shrink the batch"
        )


def begin(key: jax.Array, params: Tree, stats: Tree, size: int, dim: int) -> Tree:
    """`extra` at step 0: both encoders are equal; the queue [size, dim] is random unit vectors."""
    return {
        "stats": stats,
        "key_params": jax.tree.map(jnp.copy, params),
        "key_stats": jax.tree.map(jnp.copy, stats),
        "queue": contrastive.init_queue(key, size, dim),
        "queue_pointer": jnp.zeros((), jnp.int32),
    }


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """Shuffled BatchNorm: a key is normalized in another group of images than its query, so that
    the statistics of the group do not give the pair away.

    A random order of the batch says which keys share statistics. Pictures stay on their devices,
    and the sums of each group travel. Where a batch is encoded in parts, each needs whole groups:
    then pictures are put into that order, as uint8, before the views are drawn.

    Attributes:
        group_size: images that share statistics.
        moves: pictures are put into order.
    """

    group_size: int
    moves: bool

    @classmethod
    def build(cls, recipe: Recipe) -> "Shuffle | None":
        """Of the recipe; None where the whole batch is a group, in which no order matters."""
        if not recipe.task.shuffle_bn or not recipe.model.bn_group_size:
            return None
        return cls(recipe.model.bn_group_size, recipe.optim.micro_batches > 1)

    def order(self, key: jax.Array, num: int) -> jax.Array:
        """The order of the keys of a batch."""
        return jax.random.permutation(jax.random.split(key, 3)[2], num)

    def group(self, key: jax.Array, num: int) -> jax.Array:
        """[B] int32: the number of the group of each image."""
        place = jnp.argsort(self.order(key, num))
        return constrain_to_batch((place // self.group_size).astype(jnp.int32))


def inputs(batch: Batch, key: jax.Array, shuffle: Shuffle | None) -> Tree:
    """Two views of every picture; `group` [B], where given, says which keys share statistics."""
    query_key, view_key, _ = jax.random.split(key, 3)
    keys = base.Pictures.of(batch, view_key)
    found: Tree = {"query": base.Pictures.of(batch, query_key), "key": keys}
    if shuffle is not None and shuffle.moves:
        found["key"] = keys.take(shuffle.order(key, len(batch.images)))
    elif shuffle is not None:
        found["group"] = shuffle.group(key, len(batch.images))
    return found


def in_batch_order(keys: jax.Array, key: jax.Array, shuffle: Shuffle | None) -> jax.Array:
    """Keys [B, d] of `inputs`, each in the row of its query."""
    if shuffle is None or not shuffle.moves:
        return keys
    return constrain_to_batch(keys[jnp.argsort(shuffle.order(key, len(keys)))])


def follow(params: Tree, extra: Tree, momentum: float) -> Tree:
    """The key encoder's parameters of this step: it follows before it is used."""
    return contrastive.ema(extra["key_params"], jax.lax.stop_gradient(params), momentum)


def queue_age(batch: Batch, size: int, step: jax.Array) -> jax.Array:
    """How many steps ago the oldest key of the queue was made, before this step's go in."""
    return jnp.minimum(step, size // len(batch.images)).astype(jnp.float32)
