"""Which kind of device a program is written for: that of its mesh, which need not be here."""

import functools
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from jaxtyping import Array

KEPT_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}
"""Options of XLA with which the barriers of a program hold on a CPU as well. It would else drop
them before it decides what to compute in one loop, and compute maps again for each use."""

NEW_LIBRARY = {
    "xla_cpu_experimental_ynn_fusion_type": ",".join(
        f"LIBRARY_FUSION_TYPE_{kind}" for kind in ("DOT", "REDUCE")
    )
}
"""What XLA's newer library for CPUs, YNNPACK, computes: sums, and products together with what
stands beside them, but no convolutions and no products alone. In JAX 0.10 it takes one core for
those, and is slow in their gradients; Eigen takes all."""

PLUGINS = ("jax_plugins", "libtpu")
"""Packages of which one is there where JAX may find an accelerator."""


def of(mesh: "Mesh") -> str:
    """Of the devices of a mesh: "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def compiler_options(platform: str) -> dict[str, str]:
    """What the compiler of that kind of device is told."""
    if platform != "cpu":
        return {}
    return {**KEPT_BARRIERS, **(NEW_LIBRARY if _is_known(*NEW_LIBRARY.items()) else {})}


@functools.cache
def _is_known(*options: tuple[str, str]) -> bool:
    """Whether this JAX takes these options: what is experimental may go with the next one."""
    import jax

    try:
        jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def current() -> str:
    """Of the mesh that is set (`jax.set_mesh`), also while a program is traced; of this machine
    where none is. A step can so be compiled for an accelerator on a machine that has none."""
    import jax  # late, as `only_cpu` can often tell without it

    mesh = jax.sharding.get_abstract_mesh()
    device = None if mesh.empty else mesh.abstract_device
    return jax.default_backend() if device is None else device.platform


def computed_once(values: "Array") -> "Array":
    """The same, of which a CPU does not compute anything again for a second use, as its compiler
    likes to; others weigh that better by themselves (`compiler_options` must be obeyed)."""
    import jax

    return jax.lax.optimization_barrier(values) if current() == "cpu" else values


def only_cpu() -> bool:
    """Whether programs run on the CPU here. JAX is imported only where it must be asked."""
    return surely_only_cpu() or current() == "cpu"


def surely_only_cpu() -> bool:
    """Whether `only_cpu` can be told without JAX, which is not imported yet."""
    return "jax" not in sys.modules and (
        os.environ.get("JAX_PLATFORMS") == "cpu"
        or not any(importlib.util.find_spec(name) for name in PLUGINS)
    )
