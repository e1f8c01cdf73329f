"""What makes SimCLR and SupCont what they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import sharding, tasks
from luperson_jax.losses import view_contrast
from luperson_jax.run import setup
from luperson_jax.run.step import loss_and_gradients
from luperson_jax.structs import Batch
from tests import stand_in
from tests.helpers import SIZE, assert_equal_to_rounding, tiny

NAMES = ("simclr", "supcont")
BATCH = 16


def batch_of(seed: int = 0) -> Batch:
    images = np.random.default_rng(seed).integers(0, 256, (BATCH, *SIZE, 3), dtype=np.uint8)
    rows = jnp.arange(BATCH, dtype=jnp.int32)
    size = jnp.tile(jnp.array(SIZE, jnp.int32), (BATCH, 1))
    return Batch(jnp.asarray(images), size, rows // 3, rows, rows, jnp.ones(BATCH, bool))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    stand_in.use(monkeypatch)


def build(name, world, workdir, mesh=None, **changes):
    changes = {"data__dataset": "market1501", "model__bn_group_size": 0} | changes
    changes |= {"augment__recipe": "weak", "optim__lars_excluded": "bias$"}
    recipe = tiny(name, world, train__steps_per_epoch=2, **changes)
    return setup.build(recipe, str(workdir), tasks.TASKS[name], mesh)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_of_two_views_of_one_network(name, labelled_world, tmp_path):
    """Each view has its own statistics, and the running ones move twice."""
    current = build(name, labelled_world, tmp_path)
    task, state, batch = current.task, setup.initial_state(current), batch_of()
    pictures = task.inputs(batch, jax.random.key(3))
    assert not np.any(
        jax.random.key_data(pictures["query"].keys) == jax.random.key_data(pictures["key"].keys)
    ).all()
    outputs, moved = task.encode(state.params, state.extra, pictures, state.step)
    turned = {"query": pictures["key"], "key": pictures["query"]}
    again, _ = task.encode(state.params, state.extra, turned, state.step)
    np.testing.assert_allclose(outputs["query"], again["key"], atol=1e-4)
    first = outputs["query"].mean(), outputs["key"].mean()
    assert first[0] != first[1]
    means = [
        np.asarray(one["head"]["fc_1"]["mean"]) for one in (state.extra["stats"], moved["stats"])
    ]
    assert np.any(means[0] != means[1])
    loss, (extra, metrics) = task.loss(
        state.params, state.extra, batch, jax.random.key(3), state.step
    )
    if name == "simclr":
        expected = 2 * view_contrast.nt_xent(outputs["query"], outputs["key"], temperature=0.1)[0]
    else:
        expected = view_contrast.supervised_contrast(
            outputs["query"], outputs["key"], batch.label, temperature=0.1
        )[0]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert float(metrics["loss"]) == float(loss)
    assert set(extra) == {"stats"}


@pytest.mark.parametrize("name", NAMES)
def test_quirks_divide_the_gradient_and_leave_the_loss(name, labelled_world, tmp_path):
    plain = build(name, labelled_world, tmp_path)
    quirky = build(
        name, labelled_world, tmp_path, task__reference_quirks=True, task__reference_devices=4
    )
    state, results = setup.initial_state(plain), []
    for current in (plain, quirky):
        (loss, _), gradients = jax.jit(
            lambda params, task=current.task: loss_and_gradients(
                task, params, state.extra, batch_of(), jax.random.key(0), state.step
            )
        )(state.params)
        results.append((loss, gradients))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    for one, two in zip(*(jax.tree.leaves(result[1]) for result in results), strict=True):
        np.testing.assert_allclose(two, one / 4, atol=1e-4 * np.abs(one).max() + 1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_statistics_over_the_whole_batch_on_any_number_of_devices(name, labelled_world, tmp_path):
    """Two steps with one BatchNorm group over both devices, and on one of them."""
    ends = []
    for devices in (jax.devices()[:1], jax.devices()[:2]):
        mesh = sharding.make_mesh(devices)
        current = build(name, labelled_world, tmp_path, mesh)
        step, state = setup.compile_step(current), setup.initial_state(current)
        fields = {key: one for key, one in vars(batch_of()).items() if one is not None}
        batch = sharding.put_batch({key: np.asarray(one) for key, one in fields.items()}, mesh)
        for _ in range(2):
            state, _ = step(state, batch)
        ends.append({"step": state.step, "params": state.params, "extra": state.extra})
    one, two = ({**end, "opt_state": {"none": np.ones(1)}} for end in ends)
    assert_equal_to_rounding(one, two, lr=0.01)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("choice", "width"), [("projection", 16), ("backbone", stand_in.NUM_POOLED)]
)
def test_embedding_is_a_unit_vector_of_the_chosen_feature(
    name, choice, width, labelled_world, tmp_path
):
    current = build(name, labelled_world, tmp_path, task__embedding=choice)
    state = setup.initial_state(current)
    features = current.task.embed(state.params, state.extra, batch_of())
    assert features.shape == (BATCH, width)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("simclr", {"task__temperature": 0.0}, "task.temperature=0.0 must be above 0"),
        ("supcont", {"task__base_temperature": 0.0}, "task.base_temperature=0.0 must be"),
        ("supcont", {"task__reference_devices": 0}, "task.reference_devices=0 at least 1"),
        ("simclr", {"optim__freeze_epochs": 1}, "are for fine-tuning"),
    ],
)
def test_settings_that_cannot_be_meant(name, changes, words, labelled_world, tmp_path):
    with pytest.raises(InputError, match=words):
        build(name, labelled_world, tmp_path, **changes)


def test_supcont_wants_labels(unlabelled_world, tmp_path):
    with pytest.raises(InputError, match=r"none of the 64 training images .* has an identity"):
        build("supcont", unlabelled_world, tmp_path, data__dataset="image_folder")
    assert not list(tmp_path.iterdir())
