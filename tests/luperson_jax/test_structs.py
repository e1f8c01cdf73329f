"""What a batch has to look like where the rooms hand it on."""

import dataclasses

import jax.numpy as jnp
import pytest

from tests.converted import make_batch, make_views


@pytest.fixture(scope="module")
def batch():
    return make_batch(make_views(0, 1, 4, (8, 4)))


def test_a_batch_as_it_should_be(batch):
    batch.check()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("images", jnp.zeros((4, 1, 8, 4, 3), jnp.uint8)),
        ("images", jnp.zeros((4, 8, 4, 1), jnp.uint8)),
        ("images", jnp.zeros((4, 8, 4, 3), jnp.float32)),
        ("size", jnp.zeros((4, 3), jnp.int32)),
        ("label", jnp.zeros((4, 1), jnp.int32)),
        ("label", jnp.zeros(4, jnp.float32)),
        ("camera", jnp.zeros(3, jnp.int32)),
        ("index", jnp.zeros((), jnp.int32)),
        ("mask", jnp.zeros(4, jnp.int32)),
    ],
)
def test_a_field_of_another_shape_or_type(batch, field, value):
    with pytest.raises(AssertionError, match=rf"Batch\.{field} is .* beside 4 images"):
        dataclasses.replace(batch, **{field: value}).check()
