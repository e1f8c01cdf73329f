"""Distances as people read them."""

import numpy as np
import pytest

from luperson_jax.measure import figures


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (0.4371, "0.437"),
        (1.25, "1.250"),
        (0.0625, "0.062"),
        (0.00254, "0.0025"),
        (0.000213, "0.00021"),
        (3e-6, "0.000003"),
        (np.float32(4e-7), "0.000"),
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (np.float32(-6e-8), "0.000"),
    ],
)
def test_a_small_distance_is_told_from_none(distance, words):
    assert figures.distance_words(distance) == words


def test_a_list_has_as_many_decimals_as_its_smallest_distance_needs():
    near = [0.0, 0.00021, 0.3]
    decimals = figures.distance_decimals(near, 4)
    said = [figures.distance_words(one, decimals) for one in near]
    assert said == ["0.00000", "0.00021", "0.30000"]
    assert figures.distance_decimals([0.0, 0.2], 4) == 4
    assert figures.distance_decimals([], 4) == 4
