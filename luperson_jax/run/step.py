"""The one step of all methods."""

import jax
import jax.numpy as jnp
import optax

from luperson_jax.optim.averaging import Averaging
from luperson_jax.structs import Batch, TrainState, Tree
from luperson_jax.tasks.base import Task

NO_AVERAGE = Averaging()


def train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    state: TrainState,
    batch: Batch,
    averaging: Averaging = NO_AVERAGE,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of any method: gradient, update, the task's next `extra`, the average. Pure."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

    def loss(params: Tree):
        return task.loss(params, state.extra, batch, key, state.step)

    (_, (extra, metrics)), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {**metrics, "lr": jnp.asarray(schedule(state.step))}
    step = state.step + 1
    average = averaging.advance(state.average, params, extra, step)
    return TrainState(step, params, extra, opt_state, state.key, average), metrics
