"""Seconds to compile a program and to run it, with XLA's usual effort and with less.

    python scripts/benchmark_compile.py --networks resnet50 --pictures 48 --batch_size 16
    python scripts/benchmark_compile.py --networks resnet18,resnet50 --training

The first embeds pictures in batches of the given size; the second makes one MoCo step.
"""

import functools
import time

import jax
import jax.numpy as jnp
from absl import app, flags

from data_pipeline.table import records
from luperson_jax import config, optim, tasks
from luperson_jax.optim.averaging import Averaging
from luperson_jax.run import states, step
from luperson_jax.structs import Batch

NETWORKS = flags.DEFINE_list("networks", ["resnet50"], "Names of networks.")
PICTURES = flags.DEFINE_integer("pictures", 48, "To embed.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Pictures at once.")
TRAINING = flags.DEFINE_bool("training", False, "A MoCo step in place of embedding.")
WIDTH = flags.DEFINE_integer("width", 64, "Channels of the first stage.")

EFFORTS = {
    "usual": {},
    "less": {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
}


def make_batch(num: int) -> Batch:
    """Gray pictures of 256x128."""
    whole = jnp.zeros(num, jnp.int32)
    images = jnp.full((num, 256, 128, 3), 100, jnp.uint8)
    size = jnp.full((num, 2), 128, jnp.int32)
    return Batch(images, size, whole, whole, whole, jnp.ones(num, bool))


def measure(network: str) -> list[str]:
    """A line for each effort."""
    settings = {
        "task": {"name": "moco", "queue_size": 4096, "embedding": "backbone"},
        "model": {"arch": network, "width": WIDTH.value},
        "data": {"batch_size": BATCH_SIZE.value},
        "augment": {"recipe": "ori", "statistics": "lup"},
    }
    recipe = config.resolve(settings, tasks.OPTIONS)
    task = tasks.TASKS["moco"].build(recipe)
    table, key = records.empty_table(), jax.random.key(0)
    params, extra = jax.jit(functools.partial(states.init, task, recipe, table))(key)
    batch = make_batch(BATCH_SIZE.value)
    if TRAINING.value:
        optimizer, schedule = optim.build(recipe.optim, params, epochs=200, steps_per_epoch=100)
        state = states.begin(task, recipe, table, optimizer, Averaging(), key)
        program = jax.jit(
            lambda state, batch: step.train_step(task, optimizer, schedule, state, batch)
        )
        arguments, times = (state, batch), 1
    else:
        program = jax.jit(task.embed)
        arguments, times = (params, extra, batch), -(-PICTURES.value // BATCH_SIZE.value)
    lines = []
    for name, options in EFFORTS.items():
        lowered = program.lower(*arguments)
        start = time.perf_counter()
        compiled = lowered.compile(compiler_options=options)
        compiling = time.perf_counter() - start
        jax.block_until_ready(compiled(*arguments))
        start = time.perf_counter()
        for _ in range(times):
            jax.block_until_ready(compiled(*arguments))
        running = time.perf_counter() - start
        lines.append(f"{network:10} {name:6} compiling {compiling:6.1f} s  work {running:6.1f} s")
    return lines


def main(_) -> None:
    for network in NETWORKS.value:
        print("\n".join(measure(network)), flush=True)


if __name__ == "__main__":
    app.run(main)
