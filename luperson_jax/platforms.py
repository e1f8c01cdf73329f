"""Which kind of device a program is written for: that of its mesh, which need not be here."""

import jax
from jax.sharding import Mesh


def of(mesh: Mesh) -> str:
    """Of the devices of a mesh: "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def current() -> str:
    """Of the mesh that is set (`jax.set_mesh`), also while a program is traced; of this machine
    where none is. A step can so be compiled for an accelerator on a machine that has none."""
    mesh = jax.sharding.get_abstract_mesh()
    device = None if mesh.empty else mesh.abstract_device
    return jax.default_backend() if device is None else device.platform
