"""What `benchmark_train.py` measures, and how.

Everything that is compared takes turns of a few steps in one process: a machine that slows down
slows all of them. A turn is timed from an idle device to an idle device, after a warm-up.

    memory        the step on one batch of noise that is on the device already
    loader        the loop of a run: read, place, step, report
    loader_alone  reading without stepping
    plain         as memory without random views: pictures of the network's size, normalized only
    torch         the step of torch_moco.py on views that are floats on the device already

So `plain` and `torch` do the same work, and `memory` less `plain` is what augmentation costs
inside the compiled step; views compiled alone would not share their passes with the network.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import math
import os
import pathlib
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read.loader import Loader
from luperson_jax import config, platforms, sharding, tasks
from luperson_jax.augment import recipes
from luperson_jax.models.convolution import compute_type
from luperson_jax.run import setup
from luperson_jax.run.reporter import Reporter
from luperson_jax.run.step import train_step
from luperson_jax.structs import Batch
from luperson_jax.workdir import recipe_file

REST_SECONDS = 0.5
WARM_UP_STEPS = 2
DECODED_PICTURES = 64
COUNTING = (
    "XLA counts 2 for each multiply-add of a convolution or a matrix product and 1 for each "
    "element of other arithmetic, with views, key encoder, backward pass and optimizer; the body "
    "of a loop once. `as_written` is the program before, `compiled` after XLA's optimizations, "
    "which compute some values twice and may hide operations in calls of libraries."
)

Turn = Callable[[int], float]
"""Takes a number of steps; gives the seconds they took, from idle to idle."""


class Stopwatch:
    """Seconds of every call by name: on the wall, and of the calling thread alone, which leaves
    out waiting for the device and the work of other threads."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {}
        self.thread: dict[str, list[float]] = {}

    def time(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        wall, thread = time.perf_counter(), time.thread_time()
        result = function(*arguments)
        self.thread.setdefault(name, []).append(time.thread_time() - thread)
        self.wall.setdefault(name, []).append(time.perf_counter() - wall)
        return result

    def forget(self) -> None:
        self.wall.clear()
        self.thread.clear()


class Trainer:
    """The state of a run, which the steps in all their forms move on. A step donates the state
    that it is given, so there is one owner."""

    def __init__(self, current: setup.Run):
        self.current = current
        self.state = setup.initial_state(current)

    def turn(self, step: setup.Step, batch: Batch, stopwatch: Stopwatch, num_steps: int) -> float:
        """Steps on one batch."""
        jax.block_until_ready((self.state, batch))
        began = time.perf_counter()
        for _ in range(num_steps):
            self.state, _ = stopwatch.time("step", step, self.state, batch)
        jax.block_until_ready(self.state)
        return time.perf_counter() - began

    def loop(
        self, step: setup.Step, reporter: Reporter, stopwatch: Stopwatch, num_steps: int
    ) -> float:
        """Steps as `train.run` takes them."""
        with open_batches(self.current, num_steps) as batches:
            jax.block_until_ready(self.state)
            began = time.perf_counter()
            for number in range(1, num_steps + 1):
                arrays = stopwatch.time("wait_for_batch", next, batches)
                batch = stopwatch.time("put_batch", sharding.put_batch, arrays, self.current.mesh)
                self.state, metrics = stopwatch.time("step", step, self.state, batch)
                stopwatch.time("report", reporter.step, number, len(batch.mask), metrics)
            reporter.flush()
            jax.block_until_ready(self.state)
            return time.perf_counter() - began


@contextlib.contextmanager
def open_batches(current: setup.Run, num_steps: int) -> Iterator[Iterator[dict[str, np.ndarray]]]:
    """Batches of a loader under way. What it had read ahead is drawn off, so that the first steps
    find no stock, and it has more to read when the last one is taken."""
    options = setup.loader_options(current.recipe)
    ahead = 1 + max(options.prefetch, options.num_workers)
    wanted = num_steps + 2 * ahead
    epochs = range(math.ceil(wanted / current.steps_per_epoch))
    rows = [current.task.sampler(current.table, epoch, current.steps_per_epoch) for epoch in epochs]
    with Loader(current.table, np.concatenate(rows)[:wanted], options) as loader:
        batches = iter(loader)
        for _ in range(ahead):
            next(batches)
        yield batches


def read_only(current: setup.Run, num_steps: int) -> float:
    """The loader with nobody who computes meanwhile; over more steps than were asked for, as many
    as the readers' stock does not matter to."""
    options = setup.loader_options(current.recipe)
    num_read = max(num_steps, 5 * (options.prefetch + options.num_workers))
    with open_batches(current, num_read) as batches:
        began = time.perf_counter()
        for _ in range(num_read):
            next(batches)
        return (time.perf_counter() - began) * num_steps / num_read


def decoding_time(current: setup.Run) -> float:
    """Seconds of one core for reading, decoding and resizing one picture."""
    rows = np.resize(np.arange(len(current.table)), (2, DECODED_PICTURES))
    options = dataclasses.replace(setup.loader_options(current.recipe), num_workers=0)
    batches, stopwatch = iter(Loader(current.table, rows, options)), Stopwatch()
    next(batches)
    stopwatch.time("read", next, batches)
    return stopwatch.thread["read"][0] / DECODED_PICTURES


def noise_batch(current: setup.Run, canvas: tuple[int, int]) -> Batch:
    """The first batch of a run with noise for pictures, on the device."""
    rows = current.task.sampler(current.table, 0, current.steps_per_epoch)[0]
    num = len(rows)
    shape = (num, *canvas, 3)
    arrays = {
        "images": np.random.default_rng(0).integers(0, 256, shape, np.uint8),
        "size": np.tile(np.array(canvas, np.int32), (num, 1)),
        "label": current.table.pid[rows].astype(np.int32),
        "camera": current.table.camera[rows].astype(np.int32),
        "index": rows.astype(np.int32),
        "mask": np.ones(num, bool),
    }
    return sharding.put_batch(arrays, current.mesh)


def without_views(current: setup.Run) -> setup.Run:
    """The same run with the augmentation `test`."""
    views = dataclasses.replace(current.task.views, law=recipes.recipe("test"))
    return dataclasses.replace(current, task=dataclasses.replace(current.task, views=views))


def analyse(current: setup.Run, state: Any, batch: Batch) -> dict[str, Any]:
    """Compiles the step for its figures: time, operations, memory."""
    whole, cut = sharding.replicated(current.mesh), sharding.over_batch(current.mesh)
    jitted = jax.jit(
        functools.partial(train_step, current.task, current.optimizer, current.schedule),
        in_shardings=(whole, cut),
        out_shardings=(whole, whole),
        donate_argnums=0,
        compiler_options=platforms.compiler_options(platforms.of(current.mesh)),
    )
    began = time.perf_counter()
    with jax.set_mesh(current.mesh):
        lowered = jitted.lower(state, batch)
        traced = time.perf_counter()
        compiled = lowered.compile()
    seconds = {"trace": traced - began, "compile": time.perf_counter() - traced}
    num = len(batch.mask)
    # For one device: where a program is written for several, some of it is one device's part.
    one = sharding.make_mesh(list(current.mesh.devices.flat[:1]))
    place, method = str(current.workdir), type(current.task)
    alone = setup.build(current.recipe, place, method, one, current.table)
    written: Any = setup.lowered_step(alone).cost_analysis()
    optimized: Any = compiled.cost_analysis()
    sizes: Any = compiled.memory_analysis()
    needed = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    flops = {
        "as_written": written["flops"] / num,
        # The compiled program is that of one device.
        "compiled": optimized["flops"] * current.mesh.size / num,
    }
    return {
        "seconds": seconds,
        "flops_per_image": {**flops, "counting": COUNTING},
        "program_bytes": needed - sizes.alias_size_in_bytes,
    }


def product_rate(compute_dtype: str, num: int = 5) -> float:
    """Operations per second of a product of two square matrices on one device, the best of a few:
    what the device can do, measured in the same run."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    matrix = jax.random.normal(jax.random.key(0), (size, size), compute_dtype)
    product = jax.jit(lambda a: a @ a).lower(matrix).compile()
    seconds = []
    for _ in range(num + 1):
        began = time.perf_counter()
        jax.block_until_ready(product(matrix))
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds[1:])


def peak_memory(program_bytes: int) -> dict[str, Any]:
    """Of one device, and of this process. Read before another step than the measured one ran."""
    stats = jax.local_devices()[0].memory_stats() or {}
    measured = stats.get("peak_bytes_in_use")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "device_bytes": measured or program_bytes,
        "source": "memory_stats" if measured else "memory_analysis of the program, not measured",
        "process_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


def alternate(
    turns: Mapping[str, Turn], rounds: int, num_steps: int, first: Mapping[str, str] | None = None
) -> dict[str, list[float]]:
    """Seconds of each turn, round by round.

    Each begins with a step that is not counted, as the turn before has taken the memory: by
    another turn where `first` names one. Then it rests, as threads of the turn before spin.
    """
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            turns[(first or {}).get(name, name)](1)
            time.sleep(REST_SECONDS)
            seconds[name].append(turn(num_steps))
    return seconds


def speed(seconds: Sequence[float], num_steps: int, batch_size: int) -> dict[str, float]:
    """Median and spread over the rounds."""
    rates = [num_steps * batch_size / each for each in seconds]
    return {
        "images_per_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "ms_per_step": 1e3 * statistics.median(seconds) / num_steps,
    }


def host_time(memory: Stopwatch, looped: Stopwatch, step_ms: float) -> dict[str, Any]:
    """Milliseconds of the thread that drives the device."""
    thread = {
        name: 1e3 * statistics.median(looped.thread[name])
        for name in ("put_batch", "step", "report")
    }
    return {
        "call_of_step_ms": 1e3 * statistics.median(memory.wall["step"]),
        "thread_ms": thread,
        "thread_ms_per_step": sum(thread.values()),
        "share_of_step": sum(thread.values()) / step_ms,
        "wait_for_batch_ms": 1e3 * statistics.mean(looped.wall["wait_for_batch"]),
    }


def measure(
    recipe: config.Recipe, workdir: pathlib.Path, steps: int, rounds: int, with_torch: bool = False
) -> dict[str, Any]:
    """The whole report.

    Args:
        recipe: what is trained, with `data.root` filled in.
        workdir: an empty folder.
        steps: length of a turn.
        rounds: turns of each contestant.
        with_torch: also measure the step of torch_moco.py.
    """
    current = setup.build(recipe, str(workdir), tasks.TASKS[recipe.task.name])
    make_turn = find_torch(recipe, current) if with_torch else None
    trainer = Trainer(current)
    batch = noise_batch(current, current.recipe.data.canvas)
    figures = analyse(current, trainer.state, batch)
    memory, looped, unused = Stopwatch(), Stopwatch(), Stopwatch()
    step = setup.compile_step(current)
    turns: dict[str, Turn] = {"memory": functools.partial(trainer.turn, step, batch, memory)}
    turns["memory"](WARM_UP_STEPS)
    peak = peak_memory(figures.pop("program_bytes"))

    plain_step = setup.compile_step(without_views(current))
    plain_batch = noise_batch(current, recipe.data.size)
    turns["loader_alone"] = functools.partial(read_only, current)
    turns["plain"] = functools.partial(trainer.turn, plain_step, plain_batch, unused)
    if make_turn is not None:
        turns["torch"] = make_turn(trainer.state)
    recipe_file.write(current.written, current.workdir)
    with contextlib.closing(Reporter(workdir, sys.maxsize, sys.maxsize)) as reporter:
        turns["loader"] = functools.partial(trainer.loop, step, reporter, looped)
        for turn in turns.values():
            turn(WARM_UP_STEPS)
        memory.forget()
        looped.forget()
        # Workers are started for the turn that is timed alone.
        first = {"loader": "memory", "loader_alone": "memory"}
        seconds = alternate(turns, rounds, steps, first)

    batch_size = recipe.data.batch_size
    speeds = {name: speed(each, steps, batch_size) for name, each in seconds.items()}
    rate, step_ms = speeds["memory"]["images_per_second"], speeds["memory"]["ms_per_step"]
    figures["flops_per_second"] = figures["flops_per_image"]["as_written"] * rate
    attainable = product_rate(type_of(current)) * current.mesh.size
    figures["share_of_a_product"] = figures["flops_per_second"] / attainable
    decoding = decoding_time(current)
    return {
        **surroundings(current),
        "recipe": config.to_dict(current.recipe),
        "batch_size": batch_size,
        "steps": steps,
        "rounds": rounds,
        "speed": speeds,
        "augmentation_share": 1 - speeds["plain"]["ms_per_step"] / step_ms,
        **figures,
        "host": host_time(memory, looped, step_ms),
        "decoding_ms_per_image": 1e3 * decoding,
        "decoding_cores_needed": decoding * rate,
        "peak_memory": peak,
    }


def find_torch(recipe: config.Recipe, current: setup.Run) -> Callable[[Any], Turn]:
    """What makes PyTorch's turn from the state of a run.

    Raises:
        InputError: no PyTorch, or it cannot do what is asked.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError("--torch needs PyTorch; install the extra [torch] or leave --torch out")
    if current.mesh.size > 1:
        raise InputError(
            f"--torch compares on one device, JAX has {current.mesh.size}; set "
            "CUDA_VISIBLE_DEVICES=0 or leave --torch out"
        )
    torch_moco = importlib.import_module("torch_moco")
    torch_moco.settings_of(recipe)
    device = torch_moco.device_like(jax.default_backend())
    mixed = type_of(current) == "bfloat16"
    return functools.partial(torch_moco.make_turn, recipe, device, mixed)


def type_of(current: setup.Run) -> str:
    """What the network of a run computes with on this device."""
    return jnp.dtype(compute_type(current.task.network.backbone.compute_dtype)).name


def surroundings(current: setup.Run) -> dict[str, Any]:
    """Machine and versions."""
    device = jax.devices()[0]
    names = ("jax", "jaxlib", "flax", "numpy", "grain", "torch")
    known = {name for name in names if importlib.util.find_spec(name) is not None}
    return {
        "device": {"kind": device.device_kind, "platform": device.platform},
        "num_devices": current.mesh.size,
        "cores": os.cpu_count(),
        "compute_dtype": type_of(current),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in names if name in known},
        },
    }
