"""The step compiled for machines that are not here."""

import os
import subprocess
import sys

import pytest

from luperson_jax.measure import chips
from tests.end_to_end.commands import ROOT

MACHINES = {"tpu": "v5e:2x2", "cuda": "h100:2"}

PROGRAM = """
import sys
from jax.experimental import topologies
from luperson_jax import platforms, sharding, tasks
from luperson_jax.run import setup
from tests.helpers import tiny

place = topologies.get_topology_desc(**{place!r})
mesh = sharding.make_mesh(place.devices)
recipe = tiny("moco", {root!r}, model__compute_dtype="auto")
current = setup.build(recipe, {workdir!r}, tasks.TASKS["moco"], mesh)
compiled = setup.lowered_step(current).compile()
print(platforms.of(mesh), mesh.size, "bf16" in compiled.as_text())
"""


@pytest.mark.parametrize("machine", MACHINES)
def test_a_step_is_compiled_for_a_machine_that_is_not_here(machine, tmp_path, unlabelled_world):
    place = chips.machine(MACHINES[machine]).topology
    if not chips.is_installed(machine):
        plugin, _ = chips.PLUGINS[machine]
        pytest.skip(f"needs {plugin}, which compiles for {machine} without one")
    variables = {**chips.VARIABLES, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    program = PROGRAM.format(place=place, root=str(unlabelled_world), workdir=str(tmp_path / "run"))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    platform, size, has_bfloat16 = done.stdout.split()[-3:]
    assert platform in (machine, "gpu")
    assert int(size) == len(range(4 if machine == "tpu" else 2))
    assert has_bfloat16 == "True"
