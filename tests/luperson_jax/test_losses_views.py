"""SimCLR's and the supervised contrast of two views."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax.losses import view_contrast

LABELS = np.array([3, 1, 3, 2, 3, 1])


def views(seed=0, num=6, width=5):
    generator = np.random.default_rng(seed)
    return tuple(jnp.asarray(generator.standard_normal((num, width)), jnp.float32) for _ in "qk")


def loop(query, key, labels, temperature):
    """Mean over anchors of the mean over their positives, an anchor at a time; and how many views
    are nearer than the nearest positive."""
    rows = np.concatenate([query, key]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels, losses, ranks = np.concatenate([labels, labels]), [], []
    for anchor, row in enumerate(rows):
        others = [one for one in range(len(rows)) if one != anchor]
        similarity = {one: row @ rows[one] / temperature for one in others}
        total = np.log(sum(np.exp(value) for value in similarity.values()))
        positives = [one for one in others if labels[one] == labels[anchor]]
        losses.append(-np.mean([similarity[one] - total for one in positives]))
        nearest = max(similarity[one] for one in positives)
        ranks.append(sum(value > nearest for value in similarity.values()))
    return np.mean(losses), np.array(ranks)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_both_equal_the_loop(temperature):
    query, key = views()
    plain = view_contrast.nt_xent(query, key, temperature=temperature)
    labelled = view_contrast.supervised_contrast(
        query, key, jnp.asarray(LABELS), temperature=temperature, base_temperature=0.5
    )
    cases = ((plain, np.arange(6), 1), (labelled, LABELS, temperature / 0.5))
    for (loss, metrics), labels, factor in cases:
        expected, ranks = loop(query, key, labels, temperature)
        np.testing.assert_allclose(loss, factor * expected, rtol=1e-5)
        for name, most in (("top1", 0), ("top5", 4)):
            np.testing.assert_allclose(metrics[name], np.mean(ranks <= most), rtol=1e-6)


def test_a_label_for_every_picture_makes_them_equal():
    """Values and gradients."""
    query, key = views(1, 8)
    labels = jnp.asarray(np.random.default_rng(0).permutation(8))
    plain = functools.partial(view_contrast.nt_xent, temperature=0.2)
    labelled = functools.partial(
        view_contrast.supervised_contrast, labels=labels, temperature=0.2, base_temperature=0.2
    )
    for argument in (0, 1):
        (one, _), by_one = jax.value_and_grad(plain, argument, has_aux=True)(query, key)
        (two, _), by_two = jax.value_and_grad(labelled, argument, has_aux=True)(query, key)
        np.testing.assert_allclose(one, two, rtol=1e-6)
        np.testing.assert_allclose(by_one, by_two, atol=1e-6)


def test_neither_order_of_the_pictures_nor_of_the_views_counts():
    query, key = views(2)
    order = np.random.default_rng(0).permutation(6)
    contrast = functools.partial(view_contrast.supervised_contrast, temperature=0.1)
    loss, _ = contrast(query, key, jnp.asarray(LABELS))
    for one, two, labels in (
        (query[order], key[order], LABELS[order]),
        (key, query, LABELS),
        (3 * query, key / 7, LABELS),
        (query, key, LABELS + 100),
    ):
        np.testing.assert_allclose(contrast(one, two, jnp.asarray(labels))[0], loss, rtol=1e-5)
    other, _ = contrast(query, key, jnp.asarray(LABELS[order]))
    assert abs(float(other - loss)) > 1e-3


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", ["simclr", "supcont"])
def test_reference(golden, name, ranks):
    """The loss of the whole batch; each rank of the authors had its own slice of the gradient."""
    stored = np.load(golden / "methods" / f"{name}.npz")
    temperature = float(stored["T"])

    def together(field):
        return jnp.asarray(np.concatenate([stored[f"w{ranks}r{r}/{field}"] for r in range(ranks)]))

    def loss(query, key):
        if name == "simclr":
            mean, _ = view_contrast.nt_xent(query, key, temperature=temperature)
            return 2 * mean, {}
        labels = together("y").astype(jnp.int32)
        return view_contrast.supervised_contrast(query, key, labels, temperature=temperature)

    (value, found), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(
        together("z_q"), together("z_k")
    )
    if name == "supcont":
        shares = [100 * found["top1"], 100 * found["top5"]]
        np.testing.assert_allclose(shares, stored[f"w{ranks}r0/acc"], rtol=1e-6)
    np.testing.assert_allclose(value, stored[f"w{ranks}r0/loss"], atol=3e-5)
    for gradient, field in zip(gradients, ("grad_z_q", "grad_z_k"), strict=True):
        np.testing.assert_allclose(gradient, together(field), atol=3e-6)


def test_a_multiplied_gradient_leaves_the_value():
    value, gradient = jax.value_and_grad(lambda x: view_contrast.with_gradient_times(x**2, 0.125))(
        jnp.float32(3.3)
    )
    assert float(value) == pytest.approx(3.3**2, rel=1e-6)
    np.testing.assert_allclose(gradient, 2 * 3.3 / 8, rtol=1e-6)
