"""A training on several data sets, each with its own weight and pixel statistics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import main, sharding, tasks
from luperson_jax.augment import recipes
from luperson_jax.run import setup
from luperson_jax.structs import Batch
from luperson_jax.tasks import base
from tests.end_to_end.test_convert_command import write_configuration
from tests.helpers import SIZE, tiny

STEP = jnp.int32(0)
STATISTICS = "lup+0.5,0.4,0.3,0.1,0.2,0.3+imagenet"


def batch_of(source):
    num = len(source)
    images = np.random.default_rng(0).integers(0, 256, (num, *SIZE, 3), dtype=np.uint8)
    rows = jnp.arange(num, dtype=jnp.int32)
    size = jnp.tile(jnp.array(SIZE, jnp.int32), (num, 1))
    whole = jnp.ones(num, bool)
    source = jnp.array(source, jnp.int32)
    return Batch(jnp.asarray(images), size, rows, rows, rows, whole, source)


def views_of(law):
    pixels = recipes.statistics_of_each(STATISTICS)
    return base.Views(recipes.recipe(law), SIZE, pixels)


def slow(images, source):
    """Every picture by itself."""
    found = []
    for image, place in zip(np.asarray(images), source, strict=True):
        mean, std = (np.array(color) for color in recipes.statistics_of_each(STATISTICS)[place])
        found.append((image / 255.0 - mean) / std)
    return np.stack(found)


@pytest.mark.parametrize("drawn", [True, False])
def test_each_picture_has_the_statistics_of_its_set(drawn):
    source = [0, 2, 1, 1, 0, 2, 2, 1]
    batch, views = batch_of(source), views_of("test")
    pictures = base.Pictures.of(batch, jax.random.key(0))
    found = jax.jit(views.draw)(pictures, STEP) if drawn else jax.jit(views.plain)(batch)
    np.testing.assert_allclose(found, slow(batch.images, source), atol=2e-4)


def test_pictures_in_another_order_keep_their_sets():
    batch, views = batch_of([0, 2, 1, 1]), views_of("ori")
    pictures = base.Pictures.of(batch, jax.random.key(0))
    order = jnp.array([2, 0, 3, 1])
    with jax.set_mesh(sharding.make_mesh()):
        drawn = jax.jit(views.draw)(pictures, STEP)
        turned = jax.jit(lambda given: views.draw(given.take(order), STEP))(pictures)
    np.testing.assert_allclose(turned, np.asarray(drawn)[order], atol=1e-6)


def test_pictures_of_no_set_have_the_statistics_of_the_first():
    views, batch = views_of("test"), batch_of([0, 0])
    alone = dataclasses.replace(batch, source=None)
    np.testing.assert_array_equal(views.plain(alone), views.plain(batch))
    assert recipes.statistics(STATISTICS) == recipes.STATISTICS["lup"]


def test_one_set_compiles_to_the_same_program(unlabelled_world, tmp_path):
    """Nothing is looked up where there is nothing to choose."""
    texts = []
    for statistics in ("lup", "0.3525,0.3106,0.3140,0.2660,0.2522,0.2505"):
        recipe = tiny("moco", unlabelled_world, augment__statistics=statistics)
        current = setup.build(recipe, str(tmp_path), tasks.TASKS["moco"])
        texts.append(setup.lowered_step(current).as_text())
    assert texts[0] == texts[1]


MISTAKES = {
    "one set": (
        ["data.dataset=image_folder", "data.root={plain}", "data.weights=0.5,0.5"],
        "has 1;",
    ),
    "too few weights": (["data.weights=1.0"], "data.weights is for 1 data sets"),
    "too many weights": (["data.weights=1.0,2.0,3.0"], "data.weights is for 3 data sets"),
    "too many statistics": (["augment.statistics=lup+lup+bot"], "augment.statistics is for 3 data"),
    "unknown statistics": (["augment.statistics=lup+bott"], "did you mean 'bot'"),
    "negative": (["data.weights=1.0,-1.0"], "data.weights=(1.0, -1.0) must be above 0"),
    "infinite": (["data.weights=1.0,inf"], "data.weights[1] must be a finite number"),
    "next to nothing": (["data.weights=1.0,1e-6"], "data set 2 of data.root"),
    "sampler": (["data.weights=1.0,1.0", "data.sampler=pk"], "data.sampler=shuffled, not pk"),
    "nothing left": (["data.weights=1.0,1.0"], "data set 1 of data.root 0 pictures"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mixture_that_does_not_fit_is_one_message(
    mistake, tmp_path, capsys, labelled_world, unlabelled_world
):
    changes, words = MISTAKES[mistake]
    root = f"image_folder={unlabelled_world},market1501={labelled_world}"
    name = "supcont" if mistake == "nothing left" else "moco"
    configuration = write_configuration(tiny(name, root), tmp_path / "config.py")
    given = [change.format(plain=unlabelled_world) for change in changes]
    overrides = [f"--config.{change}" for change in ("data.dataset=several", *given)]
    status = main.main([f"--config={configuration}", f"--workdir={tmp_path / 'run'}", *overrides])
    said = capsys.readouterr().err
    assert status == 2, said
    assert words in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()
