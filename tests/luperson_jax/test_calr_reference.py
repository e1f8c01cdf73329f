"""Six steps of CALR's second stage, as the authors' code takes them on an identity trunk."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from luperson_jax.losses import camera, cluster_memory
from luperson_jax.models import CameraHead, GroupedBatchNorm, Pooling
from luperson_jax.vectors import l2_normalize

POOL, NORM, HEAD = Pooling("gem_learned"), GroupedBatchNorm(freeze_bias=True), CameraHead(6)
CAMERA_EPOCHS, WEIGHTS_EPOCH = 3, 5


def linear(stored, name):
    return {"kernel": stored[f"{name}.weight"].T, "bias": stored[f"{name}.bias"]}


def norm(stored, name):
    return {"scale": stored[f"{name}.weight"], "bias": stored[f"{name}.bias"]}


def moving(stored, name):
    return {"mean": stored[f"{name}.running_mean"], "var": stored[f"{name}.running_var"]}


def start(stored):
    """The parameters and statistics before the first step."""
    head = "init/domain_classifier.d_"
    params = {
        "p": stored["init/gap.p"],
        "bn": norm(stored, "init/feat_bn"),
        "head": {
            **{f"fc_{n}": linear(stored, f"{head}fc{n + 1}") for n in range(3)},
            **{f"bn_{n}": norm(stored, f"{head}bn{n + 1}") for n in range(2)},
        },
    }
    stats = {
        "bn": moving(stored, "init/feat_bn"),
        "head": {f"bn_{n}": moving(stored, f"{head}bn{n + 1}") for n in range(2)},
    }
    return jax.tree.map(jnp.asarray, (params, stats))


def forward(params, x, stats, kept):
    pool = {"params": {"p": params["p"]}}
    pooled = POOL.apply(pool, x)
    variables = {"params": params["bn"], "batch_stats": stats["bn"]}
    after, bn = NORM.apply(variables, pooled, train=True, mutable=["batch_stats"])
    features = l2_normalize(after)
    turned = camera.reverse_gradient(features, 1.0)
    variables = {"params": params["head"], "batch_stats": stats["head"]}
    logits, head = HEAD.apply(variables, turned, kept, train=True, mutable=["batch_stats"])
    return features, logits, {"bn": bn["batch_stats"], "head": head["batch_stats"]}


@pytest.fixture(scope="module")
def ran(golden):
    """The stored arrays, and what our steps give beside them."""
    stored = dict(np.load(golden / "methods" / "calr_train_steps.npz"))
    params, stats = start(stored)
    optimizer = optax.chain(optax.add_decayed_weights(5e-4), optax.adam(3.5e-4))
    state, memory = optimizer.init(params), jnp.asarray(stored["memory0"])
    kept, weights = jnp.asarray(stored["drop_mask"] > 0), jnp.asarray(stored["weights"])

    def loss(params, x, stats, memory, y, cam, epoch):
        features, logits, stats = forward(params, x, stats, kept)
        own = jnp.where(epoch >= WEIGHTS_EPOCH, weights, jnp.ones_like(weights))
        nce, _ = cluster_memory.cluster_contrast(
            features, memory, y, jnp.int32(9), temperature=0.05, weights=own
        )
        of_camera = camera.camera_loss(logits, cam, twice=True)
        total = nce + jnp.where(epoch < CAMERA_EPOCHS, of_camera, 0.0)
        return total, (features, logits, stats, nce, of_camera)

    step = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    found = []
    for place, epoch in enumerate(stored["epochs"]):
        x = jnp.asarray(stored["x"][place].transpose(0, 2, 3, 1))
        y, cam = (jnp.asarray(stored[name][place], jnp.int32) for name in ("y", "cam"))
        (total, aux), (gradient, by_x) = step(params, x, stats, memory, y, cam, jnp.int32(epoch))
        features, logits, stats, nce, of_camera = aux
        memory = cluster_memory.move_memory(memory, features, y, momentum=0.1)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        found.append(
            {
                "f": features,
                "logp_cam": jax.nn.log_softmax(logits),
                "L_nce": nce,
                "L_dom": of_camera,
                "L_total": total,
                "memory": memory,
                "grad_x": by_x.transpose(0, 3, 1, 2),
                "gradient": gradient,
            }
        )
    return stored, found, params


TOLERANCES = {"L_nce": 3e-5, "L_dom": 3e-5, "L_total": 3e-5, "f": 1e-5, "logp_cam": 2e-4}


@pytest.mark.parametrize("name", [*TOLERANCES, "memory"])
def test_every_step_gives_what_theirs_gives(ran, name):
    stored, found, _ = ran
    # Their camera head stands still once its loss is off; ours moves by decay and momentum, as in
    # the version of PyTorch that they used.
    steps = range(len(found))
    if name in ("logp_cam", "L_dom"):
        steps = [place for place in steps if stored["epochs"][place] <= CAMERA_EPOCHS]
    for place in steps:
        np.testing.assert_allclose(
            found[place][name], stored[name][place], rtol=0, atol=TOLERANCES.get(name, 2e-6)
        )


def test_gradients_of_pictures_and_of_the_first_step(ran):
    stored, found, _ = ran
    for place, one in enumerate(found):
        expected = stored["grad_x"][place]
        np.testing.assert_allclose(
            one["grad_x"], expected, rtol=0, atol=1e-5 * np.abs(expected).max() + 1e-7
        )
    gradient, expected = found[0]["gradient"], gradients_of(stored, "grad0/")
    for path, value in jax.tree_util.tree_leaves_with_path(expected):
        ours = gradient
        for part in path:
            ours = ours[part.key]
        atol = 1e-5 * np.abs(value).max() + 1e-7
        np.testing.assert_allclose(ours, value, rtol=0, atol=atol, err_msg=str(path))


def gradients_of(stored, prefix):
    head = f"{prefix}domain_classifier.d_"
    return {
        "p": stored[f"{prefix}gap.p"],
        "bn": {"scale": stored[f"{prefix}feat_bn.weight"]},
        "head": {
            "fc_0": linear(stored, f"{head}fc1"),
            "bn_0": norm(stored, f"{head}bn1"),
            "fc_1": {"bias": stored[f"{head}fc2.bias"]},
            "bn_1": norm(stored, f"{head}bn2"),
            "fc_2": linear(stored, f"{head}fc3"),
        },
    }


def test_the_parameters_end_where_theirs_end(ran):
    stored, _, params = ran
    head = "final_zeroed_grads/domain_classifier.d_"
    ours = {
        "final/gap.p": params["p"],
        "final/feat_bn.weight": params["bn"]["scale"],
        f"{head}fc1.bias": params["head"]["fc_0"]["bias"],
        f"{head}fc3.weight": params["head"]["fc_2"]["kernel"].T,
        f"{head}fc3.bias": params["head"]["fc_2"]["bias"],
    }
    for name, value in ours.items():
        np.testing.assert_allclose(value, stored[name], rtol=0, atol=2e-5, err_msg=name)
