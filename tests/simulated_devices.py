"""The variable by which XLA is told how many devices a CPU stands for. Imports no JAX."""

import os
import re

_COUNT = re.compile(r"--xla_force_host_platform_device_count=\d+")


def flags(devices: int) -> str:
    """`XLA_FLAGS` of this process but for the number of devices."""
    rest = _COUNT.sub("", os.environ.get("XLA_FLAGS", ""))
    return f"{rest} --xla_force_host_platform_device_count={devices}".strip()
