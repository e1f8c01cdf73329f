"""The one step of all methods."""

import functools

import jax
import jax.numpy as jnp
import optax

from luperson_jax import sharding
from luperson_jax.optim.averaging import Averaging
from luperson_jax.structs import Batch, TrainState, Tree
from luperson_jax.tasks.base import Loss, Task

NO_AVERAGE = Averaging()


def train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    state: TrainState,
    batch: Batch,
    averaging: Averaging = NO_AVERAGE,
    micro_batches: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of any method: gradient, update, the task's next `extra`, the average. Pure."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    (_, (extra, metrics)), gradients = loss_and_gradients(
        task, state.params, state.extra, batch, key, state.step, micro_batches
    )
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {**metrics, "lr": jnp.asarray(schedule(state.step))}
    step = state.step + 1
    average = averaging.advance(state.average, params, extra, step)
    return TrainState(step, params, extra, opt_state, state.key, average), metrics


def loss_and_gradients(
    task: Task,
    params: Tree,
    extra: Tree,
    batch: Batch,
    key: jax.Array,
    step: jax.Array,
    micro_batches: int = 1,
) -> tuple[Loss, Tree]:
    """The task's loss and its gradients, of the batch at once or encoded part by part.

    In parts, the network runs twice: once to give the outputs of all images, from which the loss of
    the whole batch and its gradients by output follow, and once to carry these gradients back to
    the parameters. At no time are the activations of more than one part kept. The result is that
    of the whole batch, whatever the loss compares: Gao et al., "Scaling Deep Contrastive Learning
    Batch Size under Memory Limited Setup", 2021, arXiv 2101.06983.

    Args:
        micro_batches: how many parts; each holds whole groups of `bn_group_size` images.
    """
    batch.check()
    if micro_batches == 1:
        return jax.value_and_grad(task.loss, has_aux=True)(params, extra, batch, key, step)
    inputs = task.inputs(batch, key)
    assert not (isinstance(inputs, dict) and "group" in inputs), "built for one part"
    pieces = _cut(inputs, micro_batches)

    def encode(params: Tree, piece: Tree) -> tuple[Tree, Tree]:
        return task.encode(params, extra, piece, step)

    outputs, moved = jax.lax.map(functools.partial(encode, params), pieces)
    outputs = jax.tree.map(_join, outputs)
    moved = jax.tree.map(lambda leaf: leaf.mean(axis=0), moved)

    def objective(params: Tree, outputs: Tree) -> Loss:
        return task.objective(params, {**extra, **moved}, outputs, batch, key, step)

    loss, (direct, by_output) = jax.value_and_grad(objective, (0, 1), has_aux=True)(params, outputs)

    def carry_back(total: Tree, part: tuple[Tree, Tree]) -> tuple[Tree, None]:
        piece, weights = part
        pull = jax.vjp(lambda params: encode(params, piece)[0], params)[1]
        return jax.tree.map(jnp.add, total, pull(weights)[0]), None

    parts = (pieces, _cut(by_output, micro_batches))
    return loss, jax.lax.scan(carry_back, direct, parts)[0]


def _cut(tree: Tree, num: int) -> Tree:
    """Leaves [B, ...] as [num, B / num, ...], each part cut over the devices as the batch was."""
    return jax.tree.map(
        lambda leaf: sharding.constrain_to_batch(leaf.reshape(num, -1, *leaf.shape[1:]), axis=1),
        tree,
    )


def _join(leaf: jax.Array) -> jax.Array:
    return sharding.constrain_to_batch(leaf.reshape(-1, *leaf.shape[2:]))
