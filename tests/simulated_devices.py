"""The variable by which XLA is told how many devices a CPU stands for. Imports no JAX."""

import importlib.metadata
import os
import re

_COUNT = re.compile(r"--xla_force_host_platform_device_count=\d+")
_OLDER_LOOPS = "--xla_cpu_use_fusion_emitters=false"


def flags(devices: int) -> str:
    """`XLA_FLAGS` of this process but for the number of devices.

    Where optimizations are off, loops are written in XLA's older way too, as long as it has one:
    twice as fast to compile.
    """
    rest = _COUNT.sub("", os.environ.get("XLA_FLAGS", "")).replace(_OLDER_LOOPS, "")
    is_known = importlib.metadata.version("jax").startswith("0.10.")
    if is_known and os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1":
        rest = f"{rest} {_OLDER_LOOPS}"
    return f"{rest} --xla_force_host_platform_device_count={devices}".strip()
