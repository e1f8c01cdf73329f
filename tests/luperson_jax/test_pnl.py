"""What makes PNL PNL: switches, classes cut over devices, memories."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_pipeline.errors import InputError
from luperson_jax import sharding, tasks
from luperson_jax.augment import recipes
from luperson_jax.run import setup
from tests import stand_in
from tests.helpers import SIZE, tiny

BATCH = 16


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    stand_in.use(monkeypatch)


def build(world, workdir, mesh=None, **changes):
    changes = {"augment__recipe": "weak", "train__epochs": 6} | changes
    recipe = tiny("pnl", world, train__steps_per_epoch=1, **changes)
    return setup.build(recipe, str(workdir), tasks.TASKS["pnl"], mesh)


def batch_of(mesh, seed=0):
    generator = np.random.default_rng(seed)
    arrays = {
        "images": generator.integers(0, 256, (BATCH, *SIZE, 3), dtype=np.uint8),
        "size": np.tile(np.int32(SIZE), (BATCH, 1)),
        "label": generator.integers(0, 6, BATCH).astype(np.int32),
        "camera": np.zeros(BATCH, np.int32),
        "index": np.arange(BATCH, dtype=np.int32),
        "mask": np.ones(BATCH, bool),
    }
    return sharding.put_batch(arrays, mesh)


def steps_of(current, num):
    """States and metrics of so many steps, the state at the start first."""
    step, state = setup.compile_step(current), setup.initial_state(current)
    states, metrics = [jax.tree.map(np.asarray, state)], []
    for seed in range(num):
        state, found = step(state, batch_of(current.mesh, seed))
        states.append(jax.tree.map(np.asarray, state))
        metrics.append({name: float(value) for name, value in found.items()})
    return states, metrics


def test_each_switch_comes_at_its_epoch_in_one_program(labelled_world, tmp_path):
    """Epochs of one step: prototypes from 1, replaced labels from 3, keys of a label from 4. Where
    they may be replaced nearly all are, the threshold being 0."""
    current = build(
        labelled_world,
        tmp_path,
        task__start_clean_epoch=3,
        task__start_supcont_epoch=4,
        task__pseudo_threshold=0.0,
    )
    step, state = setup.compile_step(current), setup.initial_state(current)
    compiled, metrics = [], []
    for epoch in range(6):
        if epoch == 1:  # the first step is the one that compiles
            jax.monitoring.register_event_duration_secs_listener(
                lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
            )
        before = np.asarray(state.extra["queue_id"])
        batch = batch_of(current.mesh, epoch)
        state, found = step(state, batch)
        metrics.append({name: float(value) for name, value in found.items()})
        written = (np.arange(BATCH) + epoch * BATCH) % 40
        rest = np.setdiff1d(np.arange(40), written)
        ids = np.asarray(state.extra["queue_id"])
        np.testing.assert_array_equal(ids[rest], before[rest])
        share = np.mean(ids[written] != np.asarray(batch.label))
        np.testing.assert_allclose(metrics[-1]["rectified"], share, rtol=1e-6)
    assert not compiled
    assert [one["prototype"] > 0 for one in metrics] == [False] + 5 * [True]
    assert [one["rectified"] > 0 for one in metrics] == 3 * [False] + 3 * [True]
    assert [one["positives"] > 1 for one in metrics] == 4 * [False] + 2 * [True]
    assert int(state.extra["queue_pointer"]) == 6 * BATCH % 40
    for one in metrics:
        total = one["cross_entropy"] + one["instance"] + one["prototype"]
        assert one["loss"] == pytest.approx(total, rel=1e-6)


def test_classes_that_only_fill_up_change_nothing(labelled_world, tmp_path):
    """6 identities as 6 classes, and as 16."""
    ends = []
    for multiple in (1, 16):
        current = build(labelled_world, tmp_path, task__class_multiple=multiple)
        assert current.task.spec.num_classes == (16 if multiple == 16 else 6)
        step, state = setup.compile_step(current), setup.initial_state(current)
        kernel = jnp.zeros_like(state.params["classifier"]["kernel"])
        params = {**state.params, "classifier": {**state.params["classifier"], "kernel": kernel}}
        state = jax.device_put(type(state)(**{**vars(state), "params": params}), current.shardings)
        losses = []
        for seed in range(4):
            state, metrics = step(state, batch_of(current.mesh, seed))
            losses.append(float(metrics["loss"]))
        ends.append((losses, state))
    (few_losses, few), (many_losses, many) = ends
    np.testing.assert_allclose(many_losses, few_losses, rtol=1e-5)
    np.testing.assert_allclose(many.extra["prototypes"][:6], few.extra["prototypes"], atol=1e-6)
    np.testing.assert_array_equal(many.extra["prototypes"][6:], 0)
    np.testing.assert_array_equal(many.params["classifier"]["bias"][6:], 0)
    np.testing.assert_array_equal(many.extra["queue_id"], few.extra["queue_id"])


@pytest.mark.parametrize(("multiple", "is_cut"), [(4, True), (3, True), (1, True), (7, False)])
def test_classifier_and_prototypes_are_cut_over_the_devices(
    multiple, is_cut, labelled_world, tmp_path
):
    """With their momentum and the key encoder's copy, wherever the classes can be cut in two."""
    current = build(labelled_world, tmp_path, task__class_multiple=multiple)
    where = current.shardings
    axes = ("data",) if is_cut else (None,)
    moments = optax.tree.get(where.opt_state, "trace")["classifier"]
    classifiers = (where.params["classifier"], where.extra["key_params"]["classifier"], moments)
    for classifier in classifiers:
        assert tuple(classifier["kernel"].spec) == (None, *axes)
        assert tuple(classifier["bias"].spec) == axes
    assert tuple(where.extra["prototypes"].spec) == (*axes, None)


@pytest.mark.parametrize("quirks", [True, False])
def test_quirks_keep_prototypes_at_unit_length(quirks, labelled_world, tmp_path):
    current = build(labelled_world, tmp_path, task__reference_quirks=quirks)
    states, _ = steps_of(current, 3)
    lengths = np.linalg.norm(states[-1].extra["prototypes"], axis=1)
    seen = lengths > 0
    assert seen.sum() == 6
    if quirks:
        np.testing.assert_allclose(lengths[seen], 1, rtol=1e-5)
    else:
        assert np.all(lengths[seen] < 0.1)


def test_queries_are_seen_weakly_and_keys_strongly(labelled_world, tmp_path):
    task = build(labelled_world, tmp_path, augment__recipe="ori-cj+sre").task
    assert task.views.law == recipes.recipe("ori-cj+sre")
    assert task.query_views.law == recipes.recipe("weak")


@pytest.mark.parametrize("cls_dim", [0, 8])
@pytest.mark.parametrize(("choice", "width"), [("projection", 16), ("backbone", 24)])
def test_embedding_is_a_unit_vector_of_the_chosen_feature(
    cls_dim, choice, width, labelled_world, tmp_path
):
    settings = {"task__embedding": choice, "task__cls_dim": cls_dim}
    current = build(labelled_world, tmp_path, **settings)
    state = setup.initial_state(current)
    assert state.params["classifier"]["kernel"].shape == (cls_dim or 24, 8)
    embed = jax.jit(functools.partial(current.task.embed, state.params, state.extra))
    features = embed(batch_of(current.mesh))
    assert features.shape == (BATCH, width)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task__start_clean_epoch": 0}, "task.start_clean_epoch=0 must be at least 1"),
        ({"task__queue_size": 15}, "task.queue_size=15 is smaller than data.batch_size=16"),
        ({"task__cls_dim": -1}, "task.cls_dim=-1 must not be negative"),
        ({"task__class_multiple": 0}, "task.class_multiple=0 at least 1"),
        ({"task__pseudo_threshold": 1.5}, "task.pseudo_threshold=1.5 must be from 0 to 1"),
        ({"task__prototype_momentum": -0.1}, "task.prototype_momentum=-0.1 must be from 0 to 1"),
        ({"task__instance_weight": -1.0}, "task.instance_weight=-1.0 and .* not be negative"),
        ({"task__query_recipe": "wek"}, "weak"),
        ({"task__temperature": 0.0}, "task.temperature=0.0 must be above 0"),
        ({"optim__freeze_steps": 1}, "are for fine-tuning"),
    ],
)
def test_settings_that_cannot_be_meant(changes, words, labelled_world, tmp_path):
    with pytest.raises(InputError, match=words):
        build(labelled_world, tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_a_table_without_identities_is_refused(unlabelled_world, tmp_path):
    with pytest.raises(InputError, match=r"none of the 64 training images .* has an identity"):
        build(unlabelled_world, tmp_path, data__dataset="image_folder")
    assert not list(tmp_path.iterdir())


def test_no_device_holds_an_array_of_all_classes(labelled_world, tmp_path):
    """In the compiled step: parameters, memories, logits, gradients and moments are cut in two."""
    num = 4096
    current = build(labelled_world, tmp_path, task__class_multiple=num)
    shapes = re.findall(r"[fs]32\[([\d,]+)\]", setup.lowered_step(current).compile().as_text())
    lengths = {int(length) for shape in shapes for length in shape.split(",")}
    assert num // 2 in lengths
    assert num not in lengths
