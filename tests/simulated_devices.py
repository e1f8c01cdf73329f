"""What XLA is told: how many devices a CPU stands for, and how to compile. Imports no JAX."""

import importlib.metadata
import os
import re

# Devices of a CPU that is busy otherwise may wait long for each other; XLA gives up after 40 s.
_PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds=180"
# The older emitter of loops takes half the time to compile; XLA of JAX 0.12 has it no more.
_OLDER_LOOPS = "--xla_cpu_use_fusion_emitters=false"
_HAS_OLDER_LOOPS = importlib.metadata.version("jaxlib").startswith("0.10.")
_OURS = re.compile(rf"--xla_force_host_platform_device_count=\d+|{_PATIENCE}|{_OLDER_LOOPS}")


def flags(devices: int) -> str:
    """`XLA_FLAGS` of this process but for the number of devices and the way to compile."""
    words = [_OURS.sub("", os.environ.get("XLA_FLAGS", "")), _PATIENCE]
    if _HAS_OLDER_LOOPS and os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1":
        words.append(_OLDER_LOOPS)
    words.append(f"--xla_force_host_platform_device_count={devices}")
    return " ".join(" ".join(words).split())
