"""The named recipes, and views that depend on key, picture and size alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from PIL import Image

from data_pipeline.errors import InputError
from luperson_jax.augment import recipes
from luperson_jax.augment.augmix import REID_OPERATIONS, AugMix
from luperson_jax.augment.erase import Erase
from luperson_jax.augment.operations import Operation
from luperson_jax.augment.policy import AutoAugment

LUP = recipes.STATISTICS["lup"]
# name: (jitter strength, gray probability, blur probability, greatest erased area)
PUBLISHED = {
    "ori": (0.4, 0.2, 0.5, 0.0),
    "ori-cj": (0.0, 0.2, 0.5, 0.0),
    "ori-gs": (0.4, 0.0, 0.5, 0.0),
    "ori-gb": (0.4, 0.2, 0.0, 0.0),
    "ori+re": (0.4, 0.2, 0.5, 0.4),
    "ori-cj+re": (0.0, 0.2, 0.5, 0.4),
    "ori-gs+re": (0.4, 0.0, 0.5, 0.4),
    "ori-gb+re": (0.4, 0.2, 0.0, 0.4),
    "ori-cj-gb+re": (0.0, 0.2, 0.0, 0.4),
    "ori+wcj+re": (0.2, 0.2, 0.5, 0.4),
    "ori+wcj+sre": (0.2, 0.2, 0.5, 0.6),
    "ori+wwcj+re": (0.1, 0.2, 0.5, 0.4),
    "ori+sre": (0.4, 0.2, 0.5, 0.6),
    "ori-cj-gb+sre": (0.0, 0.2, 0.0, 0.6),
    "ori-cj+sre": (0.0, 0.2, 0.5, 0.6),
    "ori-cj+wre": (0.0, 0.2, 0.5, 0.2),
    "ori-cj+ssre": (0.0, 0.2, 0.5, 0.8),
    "moco": (0.4, 0.2, 0.0, 0.0),
    "reid": (0.0, 0.0, 0.0, 0.4),
}


def batch(num: int, height: int = 24, width: int = 12) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (num, height, width, 3), dtype=np.uint8)
    size = np.stack([rng.integers(40, 80, num), rng.integers(16, 40, num)], axis=1)
    return jnp.asarray(images), jnp.asarray(size.astype(np.int32))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_types(name):
    jitter, gray, blur, erased = PUBLISHED[name]
    found = recipes.recipe(name)
    assert found.flip == 0.5
    assert found.grayscale == gray
    assert (found.blur is not None) == bool(blur)
    if found.blur is not None:
        assert (found.blur.probability, found.blur.sigma) == (0.5, (0.1, 2.0))
    assert (found.jitter is not None) == bool(jitter)
    if found.jitter is not None:
        always = name == "moco"
        strengths = (jitter, jitter, jitter, 0.4 if always else 0.1, 1.0 if always else 0.8)
        assert dataclasses.astuple(found.jitter) == strengths
    assert (found.erase is not None) == bool(erased)
    if found.erase is not None:
        assert found.erase.area == (0.02, erased)
        assert (found.erase.probability, found.erase.space) == (0.5, "normalized")
        assert found.erase.fill == (0.0, 0.0, 0.0)
    assert found.crop is not None
    crop = ((0.64, 1.0), (2.0, 3.0)) if name == "reid" else ((0.2, 1.0), (3 / 4, 4 / 3))
    assert (found.crop.area, found.crop.aspect) == crop


def test_finetune_and_weak():
    weak, finetune = recipes.recipe("weak"), recipes.recipe("finetune")
    assert (weak.pad, weak.flip, weak.erase, weak.crop) == (10, 0.5, None, None)
    assert dataclasses.replace(finetune, erase=None) == weak
    assert finetune.erase is not None
    assert (finetune.erase.space, finetune.erase.fill) == ("raw", (0.0, 0.0, 0.0))


def test_additions_to_finetune_change_one_thing():
    finetune = recipes.recipe("finetune")
    auto, augmix, jitter, mean = (
        recipes.recipe(name)
        for name in ("finetune-auto", "finetune-augmix", "finetune+cj", "finetune-mean")
    )
    assert dataclasses.replace(auto, auto_augment=None) == finetune
    assert auto.auto_augment == AutoAugment(probability=0.1)
    for name, images in (("finetune-auto-1gpu", 8.0), ("finetune-auto-4gpu", 2.0)):
        falling = recipes.recipe(name)
        assert dataclasses.replace(falling, auto_augment=None) == finetune
        assert falling.auto_augment == AutoAugment(probability=1.0, images_per_process=images)
    assert dataclasses.replace(augmix, augmix=None) == finetune
    assert augmix.augmix is not None
    assert (augmix.augmix.width, augmix.augmix.depth, augmix.augmix.severity) == (3, (1, 3), 1.0)
    assert augmix.augmix.operations == REID_OPERATIONS
    assert dataclasses.replace(jitter, jitter=None) == finetune
    assert jitter.jitter is not None
    assert dataclasses.astuple(jitter.jitter) == (0.15, 0.15, 0.1, 0.1, 0.8)
    assert mean.erase is not None
    assert finetune.erase is not None
    assert dataclasses.replace(mean.erase, fill=finetune.erase.fill) == finetune.erase
    np.testing.assert_allclose(
        np.divide(mean.erase.fill, 255), recipes.STATISTICS["imagenet"].mean, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("imagenet", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("lup_finetune", (89.896, 79.200, 80.073), (63.872, 64.305, 63.839)),
        ("lmdb_200_20", (88.026, 78.285, 79.407), (67.142, 63.750, 63.240)),
        ("lmdb_300_30", (88.306, 78.464, 79.560), (67.524, 64.056, 63.546)),
        ("cmdm", (83.022, 77.974, 80.642), (66.372, 63.468, 60.974)),
    ],
)
def test_statistics_of_fine_tuning_to_the_digits_printed(name, mean, std):
    found = recipes.statistics(name)
    np.testing.assert_allclose(np.multiply(found.mean, 255), mean, atol=0.00051)
    np.testing.assert_allclose(np.multiply(found.std, 255), std, atol=0.00051)


def test_auto_augment_comes_first_and_augmix_before_erasing():
    # Inverted after the padding, the zeros at the border would turn white; with the mixture after
    # the erasing, its stretched levels would brighten the boxes.
    inverted = (((Operation.INVERT, 1.0, 0), (Operation.EQUALIZE, 0.0, 0)),)
    law = recipes.ViewLaw(
        auto_augment=AutoAugment(policy=inverted),
        pad=3,
        augmix=AugMix(width=1, depth=(1, 1), operations=(Operation.AUTO_CONTRAST,)),
        erase=Erase(probability=1.0, space="raw", fill=(7.0, 7.0, 7.0)),
    )
    images = jnp.full((8, 24, 12, 3), 255, jnp.uint8)
    keys = recipes.sample_keys(jax.random.key(1), 8)
    size = jnp.full((8, 2), 24, jnp.int32)
    raw = ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
    view = jax.jit(lambda k, i, s: recipes.apply(law, k, i, s, (24, 12), *raw))(keys, images, size)
    assert {round(float(level), 3) for level in np.unique(view)} == {0.0, 7.0}


@pytest.mark.parametrize("lookup", [recipes.recipe, recipes.statistics])
def test_unknown_names_are_told_the_nearest(lookup):
    wrong, near = {
        recipes.recipe: ("ori-cj+sree", "'ori-cj+sre'"),
        recipes.statistics: ("imagnet", "'imagenet'"),
    }[lookup]
    with pytest.raises(InputError, match="did you mean") as error:
        lookup(wrong)
    assert near in str(error.value)
    assert wrong in str(error.value)


def test_keys_differ_by_position_and_not_by_batch_size():
    keys = jax.random.key_data(recipes.sample_keys(jax.random.key(0), 64))
    assert len(np.unique(np.asarray(keys), axis=0)) == 64
    fewer = jax.random.key_data(recipes.sample_keys(jax.random.key(0), 8))
    np.testing.assert_array_equal(fewer, keys[:8])


@pytest.mark.parametrize("name", ["ori+sre", "cmpe-finetune-affine"])
def test_a_view_depends_on_its_key_picture_and_size_alone(name):
    images, size = batch(4)
    keys = recipes.sample_keys(jax.random.key(3), 4)
    chosen = recipes.recipe(name)
    view = jax.jit(lambda k, i, s: recipes.apply(chosen, k, i, s, (16, 8), *LUP))
    together = np.asarray(view(keys, images, size))
    assert together.dtype == np.float32
    turned = jnp.array([2, 0, 3, 1])
    moved = view(keys[turned], images[turned], size[turned])
    np.testing.assert_allclose(moved, together[turned], atol=1e-5)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec("data"))
    sharded = view(*(jax.device_put(array, spread) for array in (keys, images, size)))
    assert len(sharded.sharding.device_set) == 2
    np.testing.assert_allclose(sharded, together, atol=1e-5)
    repeated = view(keys, jnp.stack([images[0]] * 4), jnp.stack([size[0]] * 4))
    assert not np.allclose(repeated[0], repeated[1])


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("ori-cj+sre", 0.0),
        ("finetune", -np.divide(*LUP)),
        ("finetune-mean", np.subtract(recipes.STATISTICS["imagenet"].mean, LUP.mean) / LUP.std),
    ],
)
def test_erased_pixels_are_the_mean_color_or_black(name, outside):
    images, size = batch(32)
    keys = recipes.sample_keys(jax.random.key(1), 32)
    law = recipes.recipe(name)
    assert law.erase is not None
    always = dataclasses.replace(law, pad=0, erase=dataclasses.replace(law.erase, probability=1.0))
    never = dataclasses.replace(always, erase=None)

    @jax.jit
    def both(keys, images, size):
        return [recipes.apply(r, keys, images, size, (24, 12), *LUP) for r in (always, never)]

    views, without = both(keys, images, size)
    hit = np.isclose(views, np.broadcast_to(outside, (3,)), rtol=0, atol=1e-6).all(axis=3)
    assert (hit.sum(axis=(1, 2)) >= 3).all()
    np.testing.assert_allclose(np.asarray(views)[~hit], np.asarray(without)[~hit], atol=1e-6)


def test_evaluation_equals_pillow_and_needs_no_key():
    images, size = batch(2)
    prepare = jax.jit(lambda images: recipes.prepare(images, (16, 8), *LUP))
    ours = prepare(images)
    keys = recipes.sample_keys(jax.random.key(0), 2)
    test = recipes.recipe("test")
    view = jax.jit(lambda k, i, s: recipes.apply(test, k, i, s, (16, 8), *LUP))(keys, images, size)
    np.testing.assert_allclose(view, ours, atol=1e-5)
    for image, found in zip(np.asarray(images), np.asarray(ours), strict=True):
        resized = Image.fromarray(image).resize((8, 16), Image.Resampling.BICUBIC)
        expected = (np.asarray(resized) / 255.0 - LUP.mean) / LUP.std
        assert np.abs(found - expected).max() <= 1.5 / 255 / min(LUP.std)
    kept = recipes.prepare(images, (24, 12), *LUP)
    expected = (np.asarray(images) / 255.0 - LUP.mean) / LUP.std
    np.testing.assert_allclose(kept, expected, atol=1e-5)
