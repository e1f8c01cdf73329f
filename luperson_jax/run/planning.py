"""What a step costs on a machine that need not be here, by the program compiled for it."""

import os
import tempfile
import time
from typing import Any

import jax
import numpy as np

from data_pipeline import datasets
from data_pipeline.errors import InputError
from data_pipeline.table.paths import Paths
from data_pipeline.table.records import Table
from luperson_jax import config, sharding
from luperson_jax.measure import chips, traffic
from luperson_jax.run import setup, training_table
from luperson_jax.tasks.base import Task

FRAMES_OF_A_TRACKLET = 8
NOWHERE = f"{os.devnull}/{{}}.jpg"
"""A picture that cannot be there."""


def drawn_table(images: int, people: int, cameras: int, tracklets: int = 0) -> Table:
    """A table of so many pictures that are not there. Each tracklet is of one person and camera; 0
    of them = one for each person and camera, or for every `FRAMES_OF_A_TRACKLET` pictures."""
    tracklets = tracklets or max(people * cameras, images // FRAMES_OF_A_TRACKLET)
    track = np.arange(images) % tracklets
    names = Paths.of([NOWHERE.format(row) for row in range(images)])
    return Table(names, track % people, track // people % cameras, track)


def planned(
    recipe: config.Recipe, task_class: type[Task], machine: chips.Machine, table: Table
) -> dict[str, Any]:
    """The figures of a step, compiled for every device of a machine.

    Returns:
        `canvas`, height and width; `epochs` and `steps` of the whole run; `flops` of a step, as XLA
        counts the program as it is written; `arguments`, `temporary`, `memory`: bytes on each
        device; `moved`: bytes that each moves through its memory; `collectives`: by kind, number
        and bytes; `compile_seconds`.

    Raises:
        InputError: settings that do not fit each other or the devices.
    """
    if recipe.data.dataset != training_table.SEVERAL:
        datasets.find(recipe.data.dataset)
    setup.check_parts(recipe, machine.size)  # before so many devices are made
    mesh = sharding.make_mesh(devices_of(machine))
    with tempfile.TemporaryDirectory() as workdir:
        one = sharding.make_mesh(jax.devices("cpu")[:1])
        alone = setup.build(recipe, workdir, task_class, one, table)
        flops = (setup.lowered_step(alone).cost_analysis() or {}).get("flops", 0.0)
        lowered = setup.lowered_step(setup.build(recipe, workdir, task_class, mesh, table))
    began = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - began
    memory = compiled.memory_analysis()
    assert memory is not None, "XLA plans memory for every device"
    found = traffic.of_text(compiled.as_text() or "")
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    parts = (memory.argument_size_in_bytes, memory.temp_size_in_bytes, outputs)
    return {
        "devices": mesh.size,
        "batch_size": recipe.data.batch_size,
        "canvas": list(alone.recipe.data.canvas),
        "epochs": recipe.train.epochs,
        "steps": alone.total_steps,
        "flops": flops,
        "arguments": parts[0],
        "temporary": parts[1],
        "memory": sum(parts),
        "moved": found.memory,
        "collectives": {kind: list(pair) for kind, pair in found.collectives.items()},
        "compile_seconds": seconds,
    }


def devices_of(machine: chips.Machine) -> list[Any]:
    """Its devices, described where they are not here.

    Raises:
        InputError: no such topology.
    """
    if machine.chip is None:
        return jax.devices("cpu")[: machine.size]
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(**machine.topology).devices)
    except Exception as error:  # the plugin's own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"--on {machine.name} cannot be described: {reason}") from error
