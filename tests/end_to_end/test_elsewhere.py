"""The step compiled for machines that are not here."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.end_to_end.commands import ROOT

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 12 } runtime_version { major: 13 minor: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
"""The card in XLA's words, by its public figures."""

MACHINES = {
    "tpu": ("libtpu", {"platform": "tpu", "topology_name": "v5e:2x2"}),
    "cuda": (
        "jax_plugins.xla_cuda13",
        {"platform": "cuda", "target_config": H100, "topology": "1x1x2"},
    ),
}

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
    plugin, place = MACHINES[machine]
    try:
        found = importlib.util.find_spec(plugin)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"needs {plugin}, which compiles for {machine} without one")
    variables = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    variables |= {"TPU_WORKER_HOSTNAMES": "localhost", "XLA_FLAGS": "--xla_gpu_autotune_level=0"}
    variables["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"
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
