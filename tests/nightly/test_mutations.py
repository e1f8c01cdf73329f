"""A file of a workdir is damaged at random: its run goes on to the same end, or says why not."""

import collections
import json
import os
import pathlib
import shutil
import signal
import sys

import jax
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax.run import setup
from tests.fuzzing import mutate
from tests.helpers import assert_trees_equal, final, run, tiny

MUTATIONS = int(os.environ.get("LUPERSON_NIGHTLY_MUTATIONS", "60"))
"""Of each kind of file."""
SECONDS = 300
"""After which a run counts as hanging."""

KINDS = {
    "recipe": "recipe.json",
    "metrics": "metrics.jsonl",
    "results": "results.json",
    "lock": "lock",
    "digests": "checkpoints/4/digests.json",
    "figures": "checkpoints/4/figures.json",
    "note": "checkpoints/4/_CHECKPOINT_METADATA",
    "item": "checkpoints/4/default/_METADATA",
    "sharding": "checkpoints/4/default/_sharding",
    "manifest": "checkpoints/4/default/ocdbt.process_0/manifest.ocdbt",
    "arrays": "checkpoints/4/default/d/*",
}


@pytest.fixture(scope="module")
def half(tmp_path_factory, labelled_world):
    """A recipe, a workdir at step 4 of 6 that was evaluated at 2 and 4, and the end of the run."""
    evaluated = {"eval__dataset": "market1501", "eval__root": str(labelled_world)}
    changes = {**evaluated, "eval__every_epochs": 1, "train__epochs": 3}
    recipe = tiny("identify", labelled_world, **changes)
    folder = tmp_path_factory.mktemp("half")
    with pytest.MonkeyPatch.context() as patch:
        compile_once(patch)
        run(recipe, folder / "whole")
        shutil.copytree(folder / "whole", folder / "half")
        shutil.rmtree(folder / "half" / "checkpoints" / "6")
        # The best one, at step 2 or 4, is kept as well.
        assert (folder / "half" / "checkpoints" / "4").is_dir()
        yield recipe, folder / "half", final(folder / "whole")


def compile_once(patch: pytest.MonkeyPatch) -> None:
    """All runs of one recipe are the same program, and begin alike."""
    compile_step, initial_state = setup.compile_step, setup.initial_state
    step, state = [], []

    def step_once(current):
        step[:] = step or [compile_step(current)]
        return step[0]

    def state_once(current):
        state[:] = state or [initial_state(current)]
        # The step takes over the memory of the state that it is given.
        return jax.tree.map(lambda leaf: leaf.copy(), state[0])

    patch.setattr(setup, "compile_step", step_once)
    patch.setattr(setup, "initial_state", state_once)


def expire(*_):
    raise TimeoutError(f"hangs: more than {SECONDS} s")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_a_damaged_file_ends_as_it_would_or_says_why_not(kind, half, tmp_path, capsys):
    recipe, source, whole = half
    outcomes = collections.Counter()
    former = signal.signal(signal.SIGALRM, expire)
    try:
        for number in range(MUTATIONS):
            folder = tmp_path / str(number)
            shutil.copytree(source, folder)
            path = max(folder.glob(KINDS[kind]), key=lambda one: one.stat().st_size)
            data = path.read_bytes()
            damaged = mutate(data, np.random.default_rng((len(kind), number)))
            path.write_bytes(damaged)
            signal.alarm(SECONDS)
            outcomes[go_on(recipe, folder, whole, capsys)] += damaged != data
            signal.alarm(0)
            shutil.rmtree(folder)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
    with capsys.disabled():
        sys.stdout.write(f"\n{kind}: {dict(outcomes)}\n")


def go_on(recipe, folder: pathlib.Path, whole, capsys) -> str:
    """Whatever else is raised is a fault, and so is another end."""
    try:
        run(recipe, folder)
    except InputError:
        return "refused with a message"
    said = capsys.readouterr().out
    step, tree = final(folder)
    assert step == whole[0]
    assert_trees_equal(tree, whole[1])
    json.loads((folder / "results.json").read_text())
    if "resuming at step 4" not in said:
        assert "is damaged" in said, said  # an older one was taken, with a word
        return "went on from an older checkpoint, with a word"
    return "said and went on" if "cannot be read" in said else "went on"
