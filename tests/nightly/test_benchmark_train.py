"""What the benchmark counts and runs; how fast anything is, no test says."""

import dataclasses
import functools
import json
import pathlib

import benchmark_train
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import training_speed

from data_pipeline.errors import InputError
from data_pipeline.read.loader import Loader
from luperson_jax import sharding, tasks
from luperson_jax.run import setup
from luperson_jax.run.reporter import Reporter
from luperson_jax.tasks import base
from tests.helpers import tiny

ROOT = pathlib.Path(__file__).parents[2]
DEMO = f"{ROOT / 'configs' / 'demo.py'}:finetune"


@pytest.fixture(scope="module", autouse=True)
def compile_fast():
    """Compiling these steps well would take longer than everything else here."""
    former = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", former)


def build(name, root, folder, devices=None, **changes):
    current = setup.build(tiny(name, root, **changes), str(folder), tasks.TASKS[name])
    mesh = sharding.make_mesh(devices)
    return dataclasses.replace(current, mesh=mesh)


def test_operations_per_image_do_not_depend_on_batch_or_devices(labelled_world, tmp_path):
    """As many images for each device, or their share of the optimizer's work would differ."""
    counts = []
    for num_devices in (1, 2):
        devices = jax.devices()[:num_devices]
        changes = {"data__batch_size": 8 * num_devices, "optim__optimizer": "sgd"}
        current = build("identify", labelled_world, tmp_path / str(num_devices), devices, **changes)
        batch = training_speed.noise_batch(current, current.recipe.data.canvas)
        state = jax.eval_shape(functools.partial(setup.initial_state, current))
        counts.append(training_speed.analyse(current, state, batch)["flops_per_image"])
    for kind in ("as_written", "compiled"):
        assert counts[0][kind] > 1e6
        np.testing.assert_allclose(counts[1][kind], counts[0][kind], rtol=0.1)


def test_the_type_is_the_one_that_is_computed_with(labelled_world, tmp_path):
    """Of a matrix product beside the step, and of PyTorch, whatever the settings leave open."""
    current = build("identify", labelled_world, tmp_path, model__compute_dtype="auto")
    assert training_speed.type_of(current) == "float32"
    assert training_speed.product_rate(training_speed.type_of(current), num=1) > 0


def test_turns_take_the_steps_they_time(unlabelled_world, tmp_path):
    current = build("moco", unlabelled_world, tmp_path)
    trainer = training_speed.Trainer(current)
    step = setup.compile_step(current)
    batch = training_speed.noise_batch(current, current.recipe.data.canvas)
    memory, looped = training_speed.Stopwatch(), training_speed.Stopwatch()
    assert trainer.turn(step, batch, memory, 3) > 0
    assert int(trainer.state.step) == 3
    reporter = Reporter(tmp_path, 100, 100)
    assert trainer.loop(step, reporter, looped, 2) > 0
    reporter.close()
    assert int(trainer.state.step) == 5
    assert {name: len(calls) for name, calls in memory.wall.items()} == {"step": 3}
    names = ("wait_for_batch", "put_batch", "step", "report")
    assert {name: len(calls) for name, calls in looped.wall.items()} == dict.fromkeys(names, 2)


def test_batches_under_way_come_after_those_read_ahead(unlabelled_world, tmp_path):
    current = build("moco", unlabelled_world, tmp_path, data__num_workers=1, data__prefetch=2)
    order = np.concatenate(
        [current.task.sampler(current.table, epoch, current.steps_per_epoch) for epoch in range(2)]
    )
    wanted = list(Loader(current.table, order[3:5], setup.loader_options(current.recipe)))
    with training_speed.open_batches(current, 2) as batches:
        for expected in wanted:
            np.testing.assert_array_equal(next(batches)["images"], expected["images"])


def test_the_plain_step_sees_its_pictures_as_they_are(labelled_world, tmp_path):
    current = build("identify", labelled_world, tmp_path)
    plain = training_speed.without_views(current)
    batch = training_speed.noise_batch(current, current.recipe.data.size)
    keys = jax.random.split(jax.random.key(3), len(batch.mask))
    pictures = base.Pictures(batch.images, batch.size, keys)
    views = plain.task.views.draw(pictures, jnp.zeros(()))
    np.testing.assert_array_equal(views, current.task.views.plain(batch))
    drawn = current.task.views.draw(pictures, jnp.zeros(()))
    assert np.abs(np.asarray(drawn) - views).max() > 0.1


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Exit status and report of a run that draws its own pictures."""
    changes = {
        "model.width": "8",
        "model.bn_group_size": "8",
        "data.batch_size": "8",
        "data.size": "(32, 16)",
        "data.canvas": "(32, 16)",
        "data.num_workers": "0",
    }
    settings = [text for name, value in changes.items() for text in ("--set", f"{name}={value}")]
    target = tmp_path_factory.mktemp("report") / "out.json"
    rounds = ["--steps", "2", "--rounds", "3"]
    arguments = ["--config", DEMO, *settings, *rounds, "--json", str(target)]
    return benchmark_train.main(arguments), json.loads(target.read_text())


def test_figures_fit_each_other(outcome):
    status, figures = outcome
    assert status == 0
    assert figures["recipe"]["data"]["size"] == [32, 16]
    assert figures["pictures"] == "drawn pictures"
    assert set(figures["speed"]) == {"memory", "loader", "loader_alone", "plain"}
    for speed in figures["speed"].values():
        assert speed["lowest"] <= speed["images_per_second"] <= speed["highest"]
        np.testing.assert_allclose(speed["ms_per_step"] * speed["images_per_second"], 8000)
    memory, plain = figures["speed"]["memory"], figures["speed"]["plain"]
    share = 1 - plain["ms_per_step"] / memory["ms_per_step"]
    np.testing.assert_allclose(figures["augmentation_share"], share)
    host = figures["host"]
    assert set(host["thread_ms"]) == {"put_batch", "step", "report"}
    total = sum(host["thread_ms"].values())
    np.testing.assert_allclose(host["share_of_step"], total / memory["ms_per_step"])
    written = figures["flops_per_image"]["as_written"]
    np.testing.assert_allclose(figures["flops_per_second"], written * memory["images_per_second"])


def test_memory_holds_the_state_at_least(outcome, labelled_world, tmp_path):
    current = build("identify", labelled_world, tmp_path)
    state = jax.eval_shape(functools.partial(setup.initial_state, current))
    network = {name: tree for name, tree in state.params.items() if name != "classifier"}
    leaves = jax.tree.leaves((network, state.extra))
    moments = 2
    least = sum(4 * leaf.size for leaf in leaves) * (1 + moments)
    peak = outcome[1]["peak_memory"]
    assert least < peak["device_bytes"] < peak["process_bytes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nowhere.py"], "nowhere.py"),
        (["--config", DEMO, "--steps", "0"], "--steps is 0"),
        (["--config", DEMO, "--steps", "many"], "many"),
        (["--config", DEMO, "--set", "batch_size=3"], "GROUP.SETTING=VALUE"),
        (["--config", DEMO, "--set", "data.batch_siz=3"], "did you mean 'batch_size'"),
        (["--config", str(ROOT / "configs" / "pretrain_r50.py:x")], "argument 'x'"),
        (["--config", DEMO, "--dtype", "float16"], "float16"),
        (["--config", DEMO, "--root", "/nowhere"], "/nowhere"),
        ([], "--config"),
    ],
)
def test_a_mistake_ends_with_its_message(arguments, message, capsys):
    assert benchmark_train.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("benchmark_train: ")
    assert message in error


def test_torch_is_compared_on_one_device_only(unlabelled_world, tmp_path):
    pytest.importorskip("torch", reason="needs the [torch] extra")
    current = build("moco", unlabelled_world, tmp_path)
    with pytest.raises(InputError, match="on one device, JAX has 2"):
        training_speed.find_torch(current.recipe, current)
