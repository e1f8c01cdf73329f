"""Averages of the weights over a run, kept beside them and used in their place on demand.

An average moves apart from training: nothing of the run depends on it.
"""

import dataclasses

import jax
import jax.numpy as jnp

from data_pipeline.errors import InputError
from luperson_jax.config import TrainConfig
from luperson_jax.structs import TrainState, Tree


@dataclasses.dataclass(frozen=True)
class Averaging:
    """When and how much the weights of a step enter their average.

    BatchNorm's running statistics are averaged like the weights, without another pass over the
    data.

    "ema": exponential, Polyak and Juditsky, "Acceleration of stochastic approximation by
    averaging", 1992, in TensorFlow's form: after the n-th update, n from 1, the average keeps
    min(decay, (n + 1) / (n + 10)) of itself, so that the first weights do not linger.

    "swa": Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization",
    2018, arXiv 1803.05407: the mean of the weights at the ends of the epochs after the first
    `swa_start_epoch`.

    Attributes:
        kind: "ema", "swa" or "" for none.
        decay: of "ema".
        period: steps from one contribution to the next.
        start: steps before the first one can come.
    """

    kind: str = ""
    decay: float = 0.0
    period: int = 1
    start: int = 0

    @classmethod
    def build(cls, train: TrainConfig, steps_per_epoch: int) -> "Averaging":
        """What the group `train` asks for."""
        if train.average == "swa":
            start = train.swa_start_epoch * steps_per_epoch
            return cls("swa", period=steps_per_epoch, start=start)
        return cls(train.average, train.ema_decay)

    def begin(self, params: Tree, extra: Tree) -> Tree:
        """The average before the first step.

        Returns:
            `params` and `stats`, copies; `count` [] int32, contributions so far. Empty where
            nothing is averaged.
        """
        if not self.kind:
            return {}
        copies = jax.tree.map(jnp.copy, {"params": params, "stats": extra["stats"]})
        return {**copies, "count": jnp.zeros((), jnp.int32)}

    def advance(self, average: Tree, params: Tree, extra: Tree, step: jax.Array) -> Tree:
        """The average after a step; `step` counts it. Pure."""
        if not self.kind:
            return average
        weights = {"params": params, "stats": extra["stats"]}
        is_due = (step > self.start) & (step % self.period == 0)
        return jax.lax.cond(is_due, self._add, lambda average, _: average, average, weights)

    def _add(self, average: Tree, weights: Tree) -> Tree:
        count = average["count"] + 1
        number = count.astype(jnp.float32)
        share = 1 / number
        if self.kind == "ema":
            share = 1 - jnp.minimum(self.decay, (number + 1) / (number + 10))
        former = {name: average[name] for name in weights}
        mixed = jax.tree.map(lambda old, one: old + share * (one - old), former, weights)
        return {**mixed, "count": count}


def averaged(state: TrainState) -> TrainState:
    """The state with the average in place of its weights and statistics; the state itself where
    nothing has been averaged yet."""
    if not state.average or not int(state.average["count"]):
        return state
    extra = {**state.extra, "stats": state.average["stats"]}
    return dataclasses.replace(state, params=state.average["params"], extra=extra)


def of_checkpoint(tree: Tree, workdir: str) -> Tree:
    """The tensors of a checkpoint with the average in place of its weights and statistics.

    Raises:
        InputError: it holds no average, or nothing has been averaged yet.
    """
    average = tree.get("average", {})
    if not average or not int(average["count"]):
        reason = "has not begun to average" if average else "keeps no average of its weights"
        raise InputError(
            f"the run in {workdir} {reason} at step {int(tree['step'])}; use "
            "eval.weights=online, or train with train.average"
        )
    extra = {**tree["extra"], "stats": average["stats"]}
    return {**tree, "params": average["params"], "extra": extra}
