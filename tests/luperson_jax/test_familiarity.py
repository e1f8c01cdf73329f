"""Pictures that look unlike those of a calibration: told where they do, and rarely where not."""

import json

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax.retrieval import familiarity
from luperson_jax.retrieval.familiarity import Familiarity
from luperson_jax.structs import EmbeddingSet

DIMENSION = 48
SPREAD = np.linspace(2, 0.2, DIMENSION)


def features(seed, num, pictures=4, offset=1.0):
    """Of unit length, of people who differ more in some directions than in others."""
    generator = np.random.default_rng(seed)
    centers = offset + SPREAD * generator.standard_normal((num, 1, DIMENSION))
    found = centers + 0.3 * generator.standard_normal((num, pictures, DIMENSION))
    found = found.reshape(-1, DIMENSION)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def known():
    num = 200
    everyone = features(0, num)
    pid = np.repeat(np.arange(num), 4)
    found = familiarity.describe(EmbeddingSet(3 * everyone, pid, pid, ("",) * len(pid)))
    assert found is not None
    return found


def test_strangeness_is_the_distance_by_variances(known):
    new = features(1, 5)
    directions, rest = known.directions.astype(np.float64), np.eye(DIMENSION)
    np.testing.assert_allclose(directions @ directions.T, np.eye(len(directions)), atol=1e-5)
    rest -= directions.T @ directions
    inverse = directions.T @ np.diag(1 / known.variance) @ directions + rest / known.rest
    apart = (new - known.mean).astype(np.float64)
    expected = np.einsum("nd,de,ne->n", apart, inverse, apart)
    np.testing.assert_allclose(known.strangeness(new), expected, rtol=1e-3)


def test_new_pictures_of_the_same_kind_are_rarely_called_strange(known):
    strange = known.strangeness(features(2, 500, pictures=1))
    for level, limit in zip(familiarity.LEVELS, known.limits, strict=True):
        assert np.mean(strange > limit) <= 2 * level + 0.005
    batches = np.split(features(3, 300, pictures=1), 100)
    told = sum(known.warning(batch) is not None for batch in batches)
    assert told <= 3


def test_other_pictures_are_told(known):
    moved = features(4, 10, offset=-1.0)
    assert "of 40 pictures look unlike" in known.warning(moved)
    strangest = moved[np.argmax(known.strangeness(moved))]
    assert "1 of 1 pictures look unlike" in known.warning(strangest[None])
    noise = np.random.default_rng(0).standard_normal((20, DIMENSION))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    assert known.warning(noise) is not None
    with pytest.raises(InputError, match="features have 3 numbers, and those of the thresholds 48"):
        known.warning(np.ones((1, 3)))


def test_it_comes_back_from_json(known):
    again = Familiarity.of_values(json.loads(json.dumps(known.values())))
    new = features(5, 3)
    np.testing.assert_array_equal(again.strangeness(new), known.strangeness(new))
    assert again.limits == known.limits
    for change in ({"dimensions": 3}, {"mean": "?"}, {"limits": [1.0]}, {"rest": None}):
        with pytest.raises((ValueError, TypeError)):
            Familiarity.of_values(known.values() | change)


def test_few_people_are_not_described():
    pid = np.arange(15)
    assert familiarity.describe(EmbeddingSet(features(0, 15, 1), pid, pid, ("",) * 15)) is None
