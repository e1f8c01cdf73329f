"""Accelerators by their public numbers, and how XLA is told to compile for one that is not here."""

import dataclasses
import importlib.util
import math
import re
from typing import Any

from data_pipeline.errors import InputError, suggest

GIGA, TERA = 1e9, 1e12


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator.

    Attributes:
        title: in full.
        peak: multiply-adds of bfloat16 a second, each counted as 2.
        memory: bytes that it has.
        bandwidth: bytes a second of its memory.
        link: bytes a second that it sends to its neighbors, one direction, all links together.
        source: where the numbers stand.
        platform: of XLA.
    """

    title: str
    peak: float
    memory: float
    bandwidth: float
    link: float
    source: str
    platform: str


def _tpu(title: str, tflops: float, gib: float, gbps: float, link_gbit: float) -> Chip:
    source = f"cloud.google.com/tpu/docs/{title.split()[-1]}"
    bandwidths = gbps * GIGA, link_gbit * GIGA / 8
    return Chip(title, tflops * TERA, gib * 2**30, *bandwidths, source, "tpu")


def _hopper(title: str, gigabytes: float, tbps: float) -> Chip:
    source = "NVIDIA's data sheet: SXM, dense, NVLink of 900 GB/s both ways"
    return Chip(title, 989.4 * TERA, gigabytes * GIGA, tbps * TERA, 450 * GIGA, source, "cuda")


CHIPS = {
    "h100": _hopper("NVIDIA H100 80GB HBM3", 84.929347584, 3.35232),
    "h200": _hopper("NVIDIA H200", 150.754820096, 4.8),
    "v4": _tpu("TPU v4", 275, 32, 1228, 2400),
    "v5e": _tpu("TPU v5e", 197, 16, 819, 1600),
    "v5p": _tpu("TPU v5p", 459, 95, 2765, 4800),
    "v6e": _tpu("TPU v6e", 918, 32, 1640, 3584),
}
"""By the word before the colon of `--on`."""

VARIABLES = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "CUDA_VISIBLE_DEVICES": "-1",
    "XLA_FLAGS": "--xla_gpu_autotune_level=0",
}
"""Of the environment of a process that compiles for another machine, before it imports JAX."""

PLUGINS: dict[str, tuple[str, str]] = {
    "tpu": ("libtpu", "plan-tpu"),
    "cuda": ("jax_plugins.xla_cuda13", "plan-gpu"),
}
"""By the platform: the module that compiles for it, and the extra that brings it."""


def is_installed(platform: str) -> bool:
    """Whether what compiles for a platform of `PLUGINS` is here."""
    try:
        return importlib.util.find_spec(PLUGINS[platform][0]) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


_CARD = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth} l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: {memory} shared_memory_per_block_optin: 232448
  cuda_compute_capability {{ major: 9 }} registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 12 }}
runtime_version {{ major: 13 minor: 0 }}
device_description_str: "{title}"
"""
"""A card of Hopper in XLA's words (GpuTargetConfigProto)."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """Chips that work together; no chip stands for the CPU of this machine.

    Attributes:
        chip: of `CHIPS`, or None.
        shape: how many in each direction.
        name: as it was given.
    """

    chip: Chip | None
    shape: tuple[int, ...]
    name: str

    @property
    def size(self) -> int:
        """Number of chips."""
        return math.prod(self.shape)

    @property
    def topology(self) -> dict[str, Any]:
        """Arguments of `jax.experimental.topologies.get_topology_desc`."""
        assert self.chip is not None, "the CPU is here"
        if self.chip.platform == "tpu":
            name = self.name if ":" in self.name else f"{self.name}:1x1"
            return {"platform": "tpu", "topology_name": name}
        numbers = {"bandwidth": int(self.chip.bandwidth), "memory": int(self.chip.memory)}
        card = _CARD.format(title=self.chip.title, **numbers)
        return {"platform": "cuda", "target_config": card, "topology": f"1x1x{self.size}"}


def machine(text: str) -> Machine:
    """The machine that `--on` names: `here`, `here:8` (devices of a CPU), `h100:8`, `v5e:4x4`.

    Raises:
        InputError: no such chip, or another form.
    """
    word, _, shape = text.partition(":")
    if shape and not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
        raise InputError(f"--on {text}: expected a number of chips, or AxB, behind the colon")
    lengths = tuple(int(one) for one in shape.split("x")) if shape else (1,)
    if word == "here":
        return Machine(None, lengths, text)
    if word not in CHIPS:
        raise InputError(
            f"--on {text}: no chip is called {word!r}{suggest(word, ['here', *CHIPS])}"
        )
    chip = CHIPS[word]
    if chip.platform == "cuda" and len(lengths) > 1:
        raise InputError(f"--on {text}: GPUs are a number, such as {word}:8")
    return Machine(chip, lengths, text)
