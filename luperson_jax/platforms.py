"""Which kind of device a program is written for: that of its mesh, which need not be here."""

import importlib.util
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jax.sharding import Mesh

PLUGINS = ("jax_plugins", "libtpu")
"""Packages of which one is there where JAX may find an accelerator."""


def of(mesh: "Mesh") -> str:
    """Of the devices of a mesh: "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def current() -> str:
    """Of the mesh that is set (`jax.set_mesh`), also while a program is traced; of this machine
    where none is. A step can so be compiled for an accelerator on a machine that has none."""
    import jax  # late, as `only_cpu` can often tell without it

    mesh = jax.sharding.get_abstract_mesh()
    device = None if mesh.empty else mesh.abstract_device
    return jax.default_backend() if device is None else device.platform


def only_cpu() -> bool:
    """Whether programs run on the CPU here. JAX is imported only where it must be asked."""
    if "jax" not in sys.modules and (
        os.environ.get("JAX_PLATFORMS") == "cpu"
        or not any(importlib.util.find_spec(name) for name in PLUGINS)
    ):
        return True
    return current() == "cpu"
