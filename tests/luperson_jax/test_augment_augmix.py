"""AugMix: the law of its chains, and mixtures against Pillow and numpy."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from test_augment_operations import in_pillow, picture

from luperson_jax.augment import augmix
from luperson_jax.augment.operations import SIGNED, Operation

NUM, NUM_VIEWS = 3000, 40
LAW = augmix.AugMix(probability=0.7, operations=tuple(Operation)[1:], fill=(9.0, 8.0, 7.0))


@functools.cache
def drawn() -> dict[str, np.ndarray]:
    """Laws, and views with all that went into them, from one compilation."""
    image = jnp.asarray(picture(), jnp.float32)

    @jax.jit
    def draw(keys):
        def parts(key):
            chance, chain, weight = jax.random.split(key, 3)
            return (
                jax.random.bernoulli(chance, 0.7),
                *augmix.draw_chains(chain, LAW),
                *augmix.draw_weights(weight, LAW),
            )

        views = jax.vmap(lambda key: augmix.random_augmix(key, image, LAW))(keys[:NUM_VIEWS])
        return (*jax.vmap(parts)(keys), views)

    names = ("mixed", "operations", "magnitudes", "weights", "share", "views")
    found = draw(jax.random.split(jax.random.key(2), NUM))
    return dict(zip(names, map(np.asarray, found), strict=True))


def test_law_of_the_chains():
    operations, magnitudes = drawn()["operations"], drawn()["magnitudes"]
    assert operations.shape == magnitudes.shape == (NUM, 3, 3)
    in_chain = operations != Operation.IDENTITY
    depth = in_chain.sum(axis=2)
    # Chains are filled from the front, and every depth 1..3 is as likely.
    np.testing.assert_array_equal(np.sort(in_chain, axis=2)[:, :, ::-1], in_chain)
    shares = np.bincount(depth.ravel(), minlength=4) / depth.size
    assert shares[0] == 0
    assert np.abs(shares[1:] - 1 / 3).max() < 5 * math.sqrt(2 / 9 / depth.size)
    used = np.bincount(operations[in_chain], minlength=len(Operation))[1:]
    assert np.abs(used / used.sum() - 1 / 14).max() < 5 * math.sqrt(1 / 14 / used.sum())

    def of(operation: Operation) -> np.ndarray:
        return magnitudes[operations == operation]

    assert set(np.unique(of(Operation.POSTERIZE))) == {3.0, 4.0}
    assert set(np.unique(np.abs(of(Operation.ROTATE)))) == set(np.arange(9.0))
    solarize = of(Operation.SOLARIZE)
    np.testing.assert_array_equal(solarize, np.round(solarize))
    assert (solarize.min(), solarize.max()) == (256 - 76, 256 - 2)
    shear = of(Operation.SHEAR_Y)
    # Levels are uniform in [0.1, 3], slopes 0.03 of that, to either side.
    assert 0.003 <= np.abs(shear).min() < 0.004
    assert 0.088 < np.abs(shear).max() <= 0.09
    assert abs(np.abs(shear).mean() - 0.0465) < 5 * 0.087 / math.sqrt(12 * shear.size)
    for operation in SIGNED:
        assert abs((of(operation) < 0).mean() - 0.5) < 0.1
    assert 0.09 < of(Operation.TRANSLATE_X).max() <= 0.1
    # Factors do not gather about 1: from 0.1 + 0.18 * 0.1 up to 0.1 + 0.18 * 3.
    for operation in (Operation.COLOR, Operation.CONTRAST, Operation.BRIGHTNESS):
        assert 0.118 <= of(operation).min() < 0.125
        assert 0.63 < of(operation).max() <= 0.64


def test_law_of_the_weights():
    found = drawn()
    assert abs(found["mixed"].mean() - 0.7) < 5 * math.sqrt(0.21 / NUM)
    np.testing.assert_allclose(found["weights"].sum(axis=1), 1.0, atol=1e-6)
    # With alpha 1 a weight of three exceeds x with probability (1 - x)^2, the share with 1 - x.
    for x in (0.1, 0.3, 0.6):
        for drawn_values, beyond in ((found["weights"], (1 - x) ** 2), (found["share"], 1 - x)):
            spread = math.sqrt(beyond * (1 - beyond) / NUM)
            assert abs((drawn_values > x).mean() - beyond) < 5 * spread


def test_mixture_equals_pillow_and_numpy():
    image = picture()
    found = drawn()
    for i in range(NUM_VIEWS):
        expected = image.astype(np.float64)
        if found["mixed"][i]:
            expected *= 1.0 - found["share"][i]
            for chain in range(3):
                end = image
                for operation, amount in zip(
                    found["operations"][i, chain], found["magnitudes"][i, chain], strict=True
                ):
                    end = in_pillow(end, operation, float(amount), (9, 8, 7)).astype(np.uint8)
                expected += found["share"][i] * found["weights"][i, chain] * end
        apart = np.abs(found["views"][i] - expected)
        assert (apart > 2).mean() < 0.02
        assert apart.mean() < 0.3
