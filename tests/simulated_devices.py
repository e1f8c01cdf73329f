"""The variable by which XLA is told how many devices a CPU stands for. Imports no JAX."""

import os
import re

_COUNT = re.compile(r"--xla_force_host_platform_device_count=\d+")


def flags(devices: int) -> str:
    """`XLA_FLAGS` of this process but for the number of devices."""
    rest = _COUNT.sub("", os.environ.get("XLA_FLAGS", ""))
    # Devices of a CPU that is busy otherwise may wait long for each other; XLA gives up after 40 s.
    patience = "--xla_cpu_collective_call_terminate_timeout_seconds=180"
    rest = rest.replace(patience, "")
    return f"{rest} {patience} --xla_force_host_platform_device_count={devices}".strip()
