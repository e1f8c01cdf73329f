"""The mesh, where arrays live on it, and what the processes of a job have to agree on."""

import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from data_pipeline.errors import InputError
from luperson_jax.structs import Batch
from luperson_jax.trees import map_with_path

DATA_AXIS = "data"


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """One axis over the given devices; over all devices of all processes by default."""
    if devices is None:
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    # Not `jax.make_mesh`: it may order devices by topology, and the slices of the processes must
    # follow each other in the global batch.
    return Mesh(np.array(devices), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The leading axis cut into equal parts, one a device."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def check_alike(facts: Mapping[str, str]) -> None:
    """Raises InputError where the processes of a job do not agree on every fact.

    Otherwise each would train on pictures or with settings of its own, or wait for ever for a step
    that another one does not make.

    Args:
        facts: what each is called in the message, and all of it as text. All processes have to
            give as many, in the same order.
    """
    digests = [hashlib.blake2b(text.encode(), digest_size=32).digest() for text in facts.values()]
    mine = np.frombuffer(b"".join(digests), np.uint8).reshape(len(facts), -1)
    everywhere = np.asarray(multihost_utils.process_allgather(mine))
    differs = np.any(everywhere.reshape(-1, *mine.shape) != mine, axis=(0, 2))
    if np.any(differs):
        names = [name for name, other in zip(facts, differs, strict=True) if other]
        raise InputError(
            f"process {jax.process_index()} of the job differs from others in "
            f"{' and '.join(names)}; all of them must be started with the same settings and read "
            "the same data"
        )


def anywhere(flag: bool) -> bool:
    """Whether a flag is set in any process of the job. All of them must ask."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array([flag]))))


def check_batch_size(batch_size: int, num_devices: int, setting: str) -> None:
    """Raises InputError where the global batch cannot be cut into equal parts."""
    if batch_size % num_devices:
        raise InputError(
            f"{setting}={batch_size} is not divisible by the {num_devices} devices; "
            f"use a multiple of {num_devices}"
        )


def put_batch(arrays: dict[str, np.ndarray], mesh: Mesh) -> Batch:
    """The global batch of which this process holds `arrays` (its slice of every field)."""
    placed = over_batch(mesh)
    put = functools.partial(jax.make_array_from_process_local_data, placed)
    return Batch(**{name: put(array) for name, array in arrays.items()})


def placed(shapes: Any, rules: Mapping[str, int], mesh: Mesh) -> Any:
    """A tree of `jax.ShapeDtypeStruct` with the sharding of each leaf.

    Args:
        shapes: of a state.
        rules: by the end of a leaf's path, a regular expression such as `classifier/kernel`, the
            axis of it that is cut over the devices. They hold for the moments and averages of a
            parameter as well. What no rule names is whole on every device, and so is an axis that
            cannot be cut into equal parts.
        mesh: the devices.
    """

    def place(path: str, leaf: Any) -> jax.ShapeDtypeStruct:
        axes = [None] * leaf.ndim
        for ending, axis in rules.items():
            if re.search(f"(^|/)(?:{ending})$", path) and leaf.shape[axis] % mesh.size == 0:
                axes[axis] = DATA_AXIS
        where = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

    return map_with_path(place, shapes)


def cut_evenly(shapes: Any, mesh: Mesh) -> Any:
    """The same tree, each leaf that is whole on every device cut over them along its longest axis
    of those that have equal parts; one that has none stays whole."""

    def place(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        lengths = [(num, axis) for axis, num in enumerate(leaf.shape) if num % mesh.size == 0]
        if not leaf.sharding.is_fully_replicated or not lengths:
            return leaf
        axes = [None] * leaf.ndim
        axes[max(lengths)[1]] = DATA_AXIS
        return leaf.update(sharding=NamedSharding(mesh, PartitionSpec(*axes)))

    return jax.tree.map(place, shapes)


def own(tree: Any, where: Any) -> Any:
    """The same arrays where a tree of shardings says, in memory of their own, leaf by leaf: no two
    whole trees at a time, where the caller keeps none. The step donates its state, and what was
    read from files may belong to the library that read it."""
    leaves, structure = jax.tree.flatten(tree)
    places = jax.tree.leaves(where)
    del tree
    for number, place in enumerate(places):
        leaves[number] = jax.device_put(leaves[number], place, may_alias=False)
    return jax.tree.unflatten(structure, leaves)


def put(tree: Any, where: Any) -> Any:
    """Every leaf of a host's tree where a tree of shardings says; shares no memory with it."""
    copy = jax.jit(
        lambda leaves: jax.tree.map(lambda leaf: leaf.copy(), leaves), out_shardings=where
    )
    return copy(tree)


def on_host(array: jax.Array) -> np.ndarray:
    """The whole of an array on every process, also where it is cut over their devices. All of them
    must ask."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return multihost_utils.process_allgather(array, tiled=True)


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Every leaf whole on every device. The result never shares memory with `tree`: the step
    donates its state, and a buffer that is donated twice is an error."""
    place = replicated(mesh)
    return jax.jit(
        lambda leaves: jax.tree.map(lambda leaf: leaf.copy(), leaves), out_shardings=place
    )(tree)


def constrain_to_batch(array: jax.Array, axis: int = 0) -> jax.Array:
    """Inside a jitted step: keeps an axis, the leading one by default, cut over the devices.

    A gather with a random permutation would otherwise leave the whole batch on every device, and
    each of them would run the network on all of it. Outside of a mesh nothing happens.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return array
    return jax.lax.with_sharding_constraint(array, PartitionSpec(*[None] * axis, DATA_AXIS))


def num_own(batch: int) -> int | None:
    """How many of `batch` images each device of the mesh holds, all of them outside of a mesh; None
    where the devices do not divide them."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return batch
    return None if batch % mesh.size else batch // mesh.size


def on_own_images(
    function: Callable[..., jax.Array],
    images: Any,
    *parameters: jax.Array | np.ndarray | None,
) -> jax.Array:
    """Inside a jitted step: `function(images, *parameters)`, by every device of its own images.

    Gradients of the parameters are then summed over the devices in the parameters' type. Left to
    itself the compiler sums where a gradient is made, before `function`'s casts are undone, in
    bfloat16 where that is what it computes with. Outside of a mesh, and where devices do not divide
    the images, `function` is called as it is.

    Args:
        function: of each image by itself.
        images: [B, ...], or a tree of such arrays.
        parameters: whole on every device; None stays None.
    """
    batch = jax.tree.leaves(images)[0].shape[0]  # a symbol where a program is exported
    if num_own(batch) in (None, batch):
        return function(images, *parameters)

    def local(images: Any, *parameters: Any) -> jax.Array:
        own = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, DATA_AXIS, to="varying"), parameters)
        return function(images, *own)

    cut, whole = PartitionSpec(DATA_AXIS), PartitionSpec()
    return jax.shard_map(local, in_specs=(cut, *[whole] * len(parameters)), out_specs=cut)(
        images, *parameters
    )
