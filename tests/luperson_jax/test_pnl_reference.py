"""Steps of PNL and its heads against values of the authors' own code."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_pipeline.table import samplers
from luperson_jax import optim
from luperson_jax.augment import recipes
from luperson_jax.models import NetworkSpec, baseline
from luperson_jax.structs import Batch
from luperson_jax.tasks.base import Views
from luperson_jax.tasks.pnl import Pnl, PnlOptions
from luperson_jax.vectors import l2_normalize

WIDTH = 12


class TwoLinear(nn.Module):
    """The stand-in of the stored steps: the picture is a vector, and the classifier sees it."""

    @nn.compact
    def __call__(self, images, *, train):
        pooled = images.reshape(-1, WIDTH)
        self.variable("batch_stats", "none", jnp.zeros, ())
        return pooled, nn.Dense(8, name="fc")(pooled), pooled


class Given(Views):
    """Views that lie in the batch as they are."""

    def draw(self, pictures, step):
        del step
        return pictures.images


class Steps:
    """Stored arrays of all ranks, a batch after the other."""

    def __init__(self, path, num_ranks):
        self.stored = np.load(path)
        self.ranks = [f"r{rank}/" for rank in range(num_ranks)] if num_ranks > 1 else [""]

    def of_batch(self, name, step):
        return np.concatenate([self.stored[rank + name][step] for rank in self.ranks])

    def of_state(self, name, step):
        return self.stored[self.ranks[0] + name][step]

    def mean(self, name, step):
        return np.mean([self.stored[rank + name][step] for rank in self.ranks])

    def params(self, encoder, step):
        fc, classifier = (
            {
                "kernel": jnp.asarray(self.of_state(f"{encoder}.{name}.weight", step).T),
                "bias": jnp.asarray(self.of_state(f"{encoder}.{name}.bias", step)),
            }
            for name in ("fc", "classifier")
        )
        return {"fc": fc, "classifier": classifier}


def task_of(steps):
    number = {name: float(steps.stored[name]) for name in ("T", "m_key", "m_proto", "alpha")}
    options = PnlOptions(
        queue_size=40,
        momentum=number["m_key"],
        temperature=number["T"],
        feature_dim=8,
        cls_dim=0,
        prototype_momentum=number["m_proto"],
        alpha=number["alpha"],
        pseudo_threshold=float(steps.stored["pseudo_th"]),
        start_clean_epoch=int(steps.stored["start_clean_epoch"]),
        start_supcont_epoch=int(steps.stored["start_supcont_epoch"]),
        shuffle_bn=False,
        reference_quirks=True,
    )
    given = Given(recipes.recipe("weak"), (2, 2), (recipes.Statistics((0.0,) * 3, (1.0,) * 3),))
    spec = NetworkSpec("pnl", "resnet18", num_classes=20, feature_dim=8, queue_size=40)
    return Pnl(options, spec, TwoLinear(), given, samplers.shuffled, query_views=given, num_ids=20)


def pieces(steps, step):
    """What `Pnl.inputs` would give of a batch, and the batch."""
    views = {name: steps.of_batch(f"x_{name[0]}", step) for name in ("query", "key")}

    class Pictures:
        def __init__(self, images):
            self.images = jnp.asarray(images.reshape(-1, 2, 2, 3))

    labels = jnp.asarray(steps.of_batch("y_in", step), jnp.int32)
    rows = jnp.zeros_like(labels)
    batch = Batch(rows, rows, labels, rows, rows, rows)
    return {name: Pictures(images) for name, images in views.items()}, batch


@pytest.mark.parametrize("name", ["pnl_steps_w1", "pnl_steps_w1_m09", "pnl_steps_w2"])
def test_every_step_is_that_of_the_reference(golden, name):
    steps = Steps(golden / "methods" / f"{name}.npz", 2 if name.endswith("w2") else 1)
    task, epochs = task_of(steps), steps.stored["epochs"]
    params = steps.params("encq", 0)
    extra = {
        "stats": {"none": jnp.zeros(())},
        "key_stats": {"none": jnp.zeros(())},
        "key_params": steps.params("enck", 0),
        "queue": jnp.asarray(steps.of_state("queue", 0).T),
        "queue_id": jnp.asarray(steps.of_state("queue_id", 0), jnp.int32),
        "queue_pointer": jnp.asarray(steps.of_state("queue_ptr", 0)[0], jnp.int32),
        "prototypes": jnp.asarray(steps.of_state("prototypes", 0)),
    }
    sgd = optim.sgd(
        float(steps.stored["lr"]),
        momentum=float(steps.stored["sgd_momentum"]),
        weight_decay=float(steps.stored["weight_decay"]),
    )
    state = sgd.init(params)
    num_replaced = 0
    for step, epoch in enumerate(epochs):
        inputs, batch = pieces(steps, step)

        def loss(params, extra, inputs=inputs, batch=batch, epoch=int(epoch)):
            outputs, moved = task.encode(params, extra, inputs, jnp.int32(epoch))
            outputs = {**outputs, "key": jnp.asarray(steps.of_batch("k", step))}  # noqa: B023
            extra = {**extra, **moved}
            key = jax.random.key(0)
            return task.objective(params, extra, outputs, batch, key, jnp.int32(epoch))

        (value, (extra, metrics)), gradients = jax.value_and_grad(loss, has_aux=True)(params, extra)
        near = functools.partial(np.testing.assert_allclose, rtol=0, err_msg=f"step {step}")
        for ours, theirs in (
            ("loss", "L"),
            ("cross_entropy", "L_cls"),
            ("instance", "L_inst"),
            ("prototype", "L_proto"),
        ):
            near(metrics[ours], steps.mean(theirs, step), atol=5e-5)
        assert float(value) == float(metrics["loss"])
        near(extra["queue"], steps.of_state("queue", step + 1).T, atol=1e-7)
        np.testing.assert_array_equal(extra["queue_id"], steps.of_state("queue_id", step + 1))
        assert int(extra["queue_pointer"]) == steps.of_state("queue_ptr", step + 1)[0] % 40
        near(extra["prototypes"], steps.of_state("prototypes", step + 1), atol=2e-6)
        jax.tree.map(
            functools.partial(near, atol=1e-6), extra["key_params"], steps.params("enck", step + 1)
        )
        updates, state = sgd.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        jax.tree.map(functools.partial(near, atol=1e-5), params, steps.params("encq", step + 1))
        replaced = np.sum(steps.of_batch("y_in", step) != steps.of_batch("y_out", step))
        assert round(float(metrics["rectified"]) * len(batch.label)) == replaced
        num_replaced += replaced
    assert num_replaced


def test_gradients_of_the_outputs_are_those_of_the_reference(golden):
    steps = Steps(golden / "methods" / "pnl_steps_w1.npz", 1)
    task = task_of(steps)
    for step, epoch in enumerate(steps.stored["epochs"]):
        _, batch = pieces(steps, step)
        width = 20
        classifier = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
        extra = {
            "key_params": {"classifier": classifier},
            "queue": jnp.asarray(steps.of_state("queue", step).T),
            "queue_id": jnp.asarray(steps.of_state("queue_id", step), jnp.int32),
            "queue_pointer": jnp.asarray(steps.of_state("queue_ptr", step)[0] % 40, jnp.int32),
            "prototypes": jnp.asarray(steps.of_state("prototypes", step)),
        }
        outputs = {
            "query": jnp.asarray(steps.of_batch("q", step)),
            "key": jnp.asarray(steps.of_batch("k", step)),
            "before_classes": jnp.asarray(steps.of_batch("p_logits", step)),
        }

        def loss(outputs, extra=extra, batch=batch, epoch=int(epoch), classifier=classifier):
            params, key = {"classifier": classifier}, jax.random.key(0)
            return task.objective(params, extra, outputs, batch, key, jnp.int32(epoch))[0]

        found = jax.grad(loss)(outputs)
        for ours, theirs in (("query", "grad_q"), ("before_classes", "grad_p_logits")):
            expected = steps.of_batch(theirs, step)
            np.testing.assert_allclose(found[ours], expected, atol=5e-6, err_msg=f"step {step}")
        np.testing.assert_array_equal(found["key"], 0)


class Heads(nn.Module):
    embedding_dim: int

    @nn.compact
    def __call__(self, pooled):
        return baseline.pnl_heads(pooled, 2048, 8, self.embedding_dim)


@pytest.mark.parametrize(("name", "embedding_dim"), [("cls6", 6), ("nocls", 0)])
def test_heads(golden, name, embedding_dim):
    stored = np.load(golden / "methods" / "pnl_heads.npz")

    def layer(torch):
        weight, bias = (stored[f"{name}/w/{torch}.{part}"] for part in ("weight", "bias"))
        return {"kernel": jnp.asarray(weight.T), "bias": jnp.asarray(bias)}

    params = {"head": {"fc_0": layer("fc1"), "fc_2": layer("fc2")}}
    if embedding_dim:
        params["embed"] = layer("embed_fc")
    pooled = jnp.asarray(stored[f"{name}/x"]).mean((2, 3))
    pooled, projection, before = Heads(embedding_dim).apply({"params": params}, pooled)
    classifier = layer("classifier")
    logits = before @ classifier["kernel"] + classifier["bias"][None]
    for found, theirs in (
        (logits, "cls"),
        (l2_normalize(projection), "feat"),
        (l2_normalize(pooled), "eval_feat"),
    ):
        np.testing.assert_allclose(found, stored[f"{name}/{theirs}"], atol=2e-6)
    shapes = jax.eval_shape(Heads(embedding_dim).init, jax.random.key(0), pooled)["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
