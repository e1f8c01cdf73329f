"""What ends a run early: a state that is not finite, a signal, another run in its workdir."""

import dataclasses
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.interruption import Interrupted
from luperson_jax.measure import streaming
from luperson_jax.run import setup
from luperson_jax.run.reporter import NonFiniteLoss
from luperson_jax.workdir import lock
from tests import stand_in
from tests.helpers import final, run, tiny


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """For pre-trainings: a network that compiles at once."""
    if "unlabelled_world" in request.fixturenames:
        stand_in.use(monkeypatch)


def before_step(monkeypatch, number, act):
    """Lets a function change the state that a step begins with."""
    original = setup.compile_step

    def compile_step(current):
        step = original(current)

        def changed(state, batch):
            if int(state.step) + 1 == number:
                state = act(state) or state
            return step(state, batch)

        return changed

    monkeypatch.setattr(setup, "compile_step", compile_step)


def poison_after(monkeypatch, number):
    original = setup.compile_step

    def compile_step(current):
        step = original(current)

        def poisoned(state, batch):
            state, metrics = step(state, batch)
            if int(state.step) == number:
                worse = jax.tree.map(lambda leaf: leaf * jnp.nan, state.params)
                state = dataclasses.replace(state, params=worse)
            return state, metrics

        return poisoned

    monkeypatch.setattr(setup, "compile_step", compile_step)


def all_finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def test_a_loss_that_is_not_finite_stops_and_names_the_pictures(
    tmp_path, monkeypatch, unlabelled_world
):
    poison_after(monkeypatch, 6)
    with pytest.raises(NonFiniteLoss, match=r"step 7 [\s\S]*\n  .*\.jpg\n[\s\S]*and 6 more"):
        run(tiny("moco", unlabelled_world), tmp_path)
    step, tree = final(tmp_path)
    assert step == 4
    assert all_finite(tree["params"])


def test_a_state_that_is_not_finite_is_not_saved_and_a_lower_rate_goes_on(
    tmp_path, monkeypatch, capsys, unlabelled_world
):
    """The loss of the step that spoils the state is still good."""
    with monkeypatch.context() as patch:
        poison_after(patch, 8)
        with pytest.raises(NonFiniteLoss, match="the state after step 8 is not saved: 6") as caught:
            run(tiny("moco", unlabelled_world), tmp_path)
    assert "step 4 is the last one saved" in str(caught.value)
    assert "as optim.lr=0.025 (it is 0.05)" in str(caught.value)
    run(tiny("moco", unlabelled_world, optim__lr=0.025, optim__clip_norm=1.0), tmp_path)
    out = capsys.readouterr().out
    assert "optim.lr: 0.05 there, 0.025 here" in out
    assert "resuming at step 4 of 8" in out
    step, tree = final(tmp_path)
    assert step == 8
    assert all_finite(tree)
    assert int(tree["opt_state"]["0.count"]) == 8


@pytest.mark.parametrize(("during", "saved"), [(2, 2), (4, 4)])
def test_a_signal_ends_a_run_behind_the_step_under_way(
    during, saved, tmp_path, monkeypatch, unlabelled_world
):
    """Inside of an epoch, and at the end of one that would not have been saved."""
    before_step(monkeypatch, during, lambda _: signal.raise_signal(signal.SIGTERM))
    recipe = tiny("moco", unlabelled_world, train__checkpoint_every_epochs=2)
    with pytest.raises(Interrupted, match=rf"SIGTERM; step {saved} of 8 is saved in") as caught:
        run(recipe, tmp_path)
    assert caught.value.status == 143
    assert final(tmp_path)[0] == saved
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_ends_an_evaluation_at_once(tmp_path, monkeypatch, labelled_world):
    changes = {"eval__dataset": "market1501", "eval__root": str(labelled_world)}
    embed_table = lambda *_, **__: signal.raise_signal(signal.SIGINT)  # noqa: E731
    monkeypatch.setattr(streaming, "embed_table", embed_table)
    with pytest.raises(Interrupted, match="SIGINT; step 2 of 2 is saved in"):
        run(tiny("identify", labelled_world, train__epochs=1, **changes), tmp_path)


def test_a_workdir_in_use_is_left_alone(tmp_path, monkeypatch, unlabelled_world):
    def held(_):
        raise InputError("another run is using the workdir")

    monkeypatch.setattr(lock, "held", held)
    with pytest.raises(InputError, match="another run"):
        run(tiny("moco", unlabelled_world), tmp_path / "run")
    assert not (tmp_path / "run").exists()
