"""Learning from labels of which some are wrong: what PNL computes.

Fu et al., "Large-Scale Pre-training for Person Re-identification with Noisy Labels", 2022
(arXiv:2203.16533).

Nothing here indexes along the classes, of which there are hundreds of thousands: logits [b, c] may
be cut over the devices by class, and only numbers of the size of the batch travel.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from luperson_jax.losses import contrastive
from luperson_jax.losses.masked import is_class
from luperson_jax.vectors import l2_normalize

Form = Literal["code", "paper"]


def cross_entropy(logits: Float[Array, "b c"], labels: Int[Array, " b"]) -> Float[Array, ""]:
    """Mean of -log softmax(logits)[label].

    Args:
        logits: [b, c] float32; -inf for a class that is none.
        labels: [b], 0..c-1.
    """
    own = jnp.sum(jnp.where(is_class(labels, logits.shape[1]), logits, 0.0), axis=1)
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - own)


def rectify(
    class_logits: Float[Array, "b c"],
    prototype_logits: Float[Array, "b c"],
    labels: Int[Array, " b"],
    *,
    alpha: float = 0.5,
    threshold: float = 0.8,
) -> Int[Array, " b"]:
    """Labels, replaced where classifier and prototypes together are sure of one (section 3.2).

    Args:
        class_logits: [b, c] of the classifier.
        prototype_logits: [b, c] of the prototypes.
        labels: [b] as given.
        alpha: weight of the classifier's softmax; that of the prototypes has the rest.
        threshold: the probability has to be above it.

    Returns:
        [b]; of equal probabilities the first class.
    """
    mixed = alpha * jax.nn.softmax(class_logits) + (1 - alpha) * jax.nn.softmax(prototype_logits)
    sure = jnp.max(mixed, axis=1) > threshold
    return jnp.where(sure, jnp.argmax(mixed, axis=1).astype(labels.dtype), labels)


def label_guided_contrast(
    query: Float[Array, "b d"],
    key: Float[Array, "b d"],
    queue: Float[Array, "k d"],
    queue_id: Int[Array, " k"],
    labels: Int[Array, " b"],
    guided: Bool[Array, ""] | bool = True,
    *,
    temperature: float,
    form: Form = "code",
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Contrast of a query with its key and the queue; all keys of its label are positives.

    With p_j the softmax of [q . key, q . queue_1, ..., q . queue_K] / temperature and P the
    positives, "code" is the mean over P of -log p_j, as the authors' code computes it, and "paper"
    -log of the mean over P of p_j, their equation 7. Only the query has a gradient.

    Args:
        query: [b, d] unit rows.
        key: [b, d] unit rows, row i the other view of query i: always a positive.
        queue: [k, d] unit rows of earlier pictures.
        queue_id: [k] their labels; -1 of no picture.
        labels: [b] of the queries.
        guided: False = the own key is the only positive, which makes it `contrastive.info_nce`.
            It may be traced.
        temperature: > 0.
        form: see above.

    Returns:
        The mean loss, and {"top1", "top5"}, see `contrastive.info_nce`, and "positives": keys that
        a query has, its own among them.
    """
    own, others, metrics = contrastive.similarities(query, key, queue, temperature)
    same = (labels[:, None] == queue_id[None, :]) & jnp.asarray(guided)
    number = 1 + jnp.sum(same, axis=1, dtype=jnp.float32)
    if form == "code":
        of_positives = (own + jnp.sum(jnp.where(same, others, 0.0), axis=1)) / number
    else:
        of_positives = _log_sum(own, jnp.where(same, others, -jnp.inf)) - jnp.log(number)
    loss = jnp.mean(_log_sum(own, others) - of_positives)
    return loss, {**metrics, "positives": jnp.mean(number)}


def move_prototypes(
    prototypes: Float[Array, "c d"],
    features: Float[Array, "b d"],
    labels: Int[Array, " b"],
    *,
    momentum: float,
    unit: bool,
) -> Float[Array, "c d"]:
    """Each feature in turn enters the prototype of its class: c <- momentum c + (1 - momentum) f.

    All at once: a class whose n features are f_1, ..., f_n in the order of the batch moves to
    momentum^n c + (1 - momentum) (momentum^(n-1) f_1 + ... + f_n). Rows of other classes stay.

    Args:
        prototypes: [c, d]; zero where a class has had no feature yet.
        features: [b, d] unit rows, without gradient.
        labels: [b], 0..c-1.
        momentum: 0..1.
        unit: divide the moved rows by their length afterwards, as the authors do. A row starts at
            zero, so the first feature of a class then becomes its prototype, and each later one
            weighs 1 - momentum: at 0.999 and 25 pictures a class the first has the larger share for
            some 28 epochs. False keeps the sum as it is, in which all features weigh alike but for
            their age; divide by the length where it is used.
    """
    place, same = jnp.arange(len(labels)), labels[:, None] == labels[None, :]
    later = jnp.sum(same & (place[:, None] < place[None, :]), axis=1)
    weights = jnp.where(same, (1 - momentum) * _power(momentum, later)[None, :], 0.0)
    features = jax.lax.stop_gradient(features)
    added = jnp.matmul(weights, features, precision=jax.lax.Precision.HIGHEST)
    rows = _power(momentum, jnp.sum(same, axis=1))[:, None] * prototypes[labels] + added
    # Pictures of one class write the same row.
    return prototypes.at[labels].set(l2_normalize(rows) if unit else rows)


def _power(base: float, exponent: Array) -> Array:
    return jnp.power(jnp.float32(base), exponent.astype(jnp.float32))


def _log_sum(own: Array, others: Array) -> Array:
    """log(exp(own) + sum of exp(others)), also where all others are -inf: the gradient of a
    logarithm of nothing is not finite."""
    largest = jax.lax.stop_gradient(jnp.maximum(own, jnp.max(others, axis=1)))
    total = jnp.exp(own - largest) + jnp.sum(jnp.exp(others - largest[:, None]), axis=1)
    return largest + jnp.log(total)
