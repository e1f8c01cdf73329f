"""What the anchors of uPMnet cost beside its network, and the memory of embedding many frames.

    python scripts/benchmark_video.py --tracklets 2196 --frames 20000 100000

The first part compiles the network of `configs/upmnet.py`, a ResNet-50 with local features, forward
and backward, and, with the tracklets of DukeMTMC-VideoReID, the new anchors, alone and with the
losses and their gradient. XLA counts operations and bytes; a share is that of part and network. The
second embeds tracklets of so many frames with a small network and pools them by the maximum, each
number in a process of its own: what its memory grows by beyond the features of the tracklets is
what the stream keeps.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
from typing import Any

import benchmark_start
import jax
import jax.numpy as jnp
import numpy as np
import rich.table

from data_pipeline import terminal
from data_pipeline.table.paths import Paths
from data_pipeline.table.records import Table
from luperson_jax import config, models, sharding, tasks
from luperson_jax.losses import association
from luperson_jax.measure import streaming
from luperson_jax.structs import TrainState

BATCH, SIZE = 64, (256, 128)
FRAMES_OF_A_TRACKLET = 20
MEBI = 2**20


def cost_of(function: Any, *arguments: Any, donated: tuple[int, ...] = ()) -> dict[str, float]:
    """Operations and bytes of a compiled function, by XLA's count."""
    program = jax.jit(function, donate_argnums=donated).lower(*arguments).compile()
    analysis = program.cost_analysis() or {}
    return {"flops": analysis["flops"], "bytes": analysis["bytes accessed"]}


def learner(parts: int, tracklets: int, width: int) -> dict[str, dict[str, float]]:
    """Of a batch: new anchors in place of the old, and these with losses and gradient by feature,
    where XLA copies the banks once more."""
    bank = jax.ShapeDtypeStruct((parts, tracklets, width), jnp.float32)
    features = jax.ShapeDtypeStruct((BATCH, parts, width), jnp.float32)
    row, camera = (jax.ShapeDtypeStruct((num,), jnp.int32) for num in (BATCH, tracklets))

    def move(features: Any, intra: Any, cross: Any, row: Any, camera: Any) -> Any:
        return association.move_banks(intra, cross, features, row, camera, jnp.array(True))

    def both(features: Any, intra: Any, cross: Any, row: Any, camera: Any) -> Any:
        def loss(features: Any) -> Any:
            return association.association_loss(features, intra, cross, row, camera)[0]

        return jax.value_and_grad(loss)(features), move(features, intra, cross, row, camera)

    given = (features, bank, bank, row, camera)
    functions = {"new anchors": move, "losses and new anchors": both}
    return {name: cost_of(one, *given, donated=(1, 2)) for name, one in functions.items()}


def network(parts: int) -> dict[str, float]:
    """Of the network forward and backward on a batch."""
    module = models.NetworkSpec("parts", "resnet50", num_parts=parts).build()
    images = jax.ShapeDtypeStruct((BATCH, *SIZE, 3), jnp.float32)

    def start(images: Any) -> Any:
        return models.init(module, jax.random.key(0), images)

    params, stats = jax.eval_shape(start, images)

    def loss(params: Any, stats: Any, images: Any) -> Any:
        outputs, _ = models.apply(module, params, stats, images, train=True)
        return sum(jnp.sum(leaf) for leaf in outputs.values())

    return cost_of(jax.value_and_grad(loss), params, stats, images)


def embed(frames: int, home: str) -> dict[str, Any]:
    """Memory before and after embedding so many frames, all of them one small picture."""
    picture = pathlib.Path(home, "picture.jpg")
    picture.write_bytes(benchmark_start.small_picture())
    paths = Paths.of([str(picture)] * frames)
    track = np.arange(frames) // FRAMES_OF_A_TRACKLET
    table = Table(paths, track, np.zeros(frames, np.int64), track)
    settings = {
        "task": {"name": "upmnet", "parts": 1, "relation_dim": 8},
        "model": {"arch": "resnet18", "width": 4},
        "data": {"size": (32, 16), "canvas": (32, 16), "num_workers": 2},
        "eval": {"batch_size": 256},
    }
    recipe = config.resolve(settings, tasks.OPTIONS)
    task = tasks.TASKS["upmnet"].build(recipe)
    images = jnp.zeros((1, 32, 16, 3))
    params, stats = models.init(task.network, jax.random.key(0), images)
    state = TrainState(0, params, {"stats": stats}, {}, None)
    mesh = sharding.make_mesh()
    few = np.arange(2000)
    streaming.embed_table(task, state, table.take(few), recipe, mesh, pool="max")
    before = _peak()
    found = streaming.embed_table(task, state, table, recipe, mesh, pool="max")
    after = _peak()
    names = sum(len(frame) for frames in found.frames for frame in frames)
    return {
        "frames": frames,
        "grown": after - before,
        "features": found.features.nbytes,
        "names": names,
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tracklets", type=int, default=2196)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--frames", type=int, nargs="*", default=[20_000, 100_000])
    parser.add_argument("--embed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.embed:
        with tempfile.TemporaryDirectory() as home:
            sys.stdout.write(json.dumps(embed(options.embed, home)))
        return 0
    step = network(options.parts)
    table = rich.table.Table(title=f"a step of {BATCH} frames, {options.tracklets} tracklets")
    for column in ("", "GFLOP", "GB", "share of operations", "share of bytes"):
        table.add_column(column, justify="right" if column else "left")
    for name, one in learner(options.parts, options.tracklets, 2048).items():
        shares = (f"{100 * one[key] / (one[key] + step[key]):.1f} %" for key in ("flops", "bytes"))
        table.add_row(name, f"{one['flops'] / 1e9:.1f}", f"{one['bytes'] / 1e9:.2f}", *shares)
    table.add_row("network", f"{step['flops'] / 1e9:.1f}", f"{step['bytes'] / 1e9:.2f}", "", "")
    terminal.say(table)
    for frames in options.frames:
        command = [sys.executable, __file__, "--embed", str(frames)]
        one = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        )
        terminal.say(
            f"{frames} frames: memory grew by {one['grown'] / MEBI:.0f} MiB, of which features of "
            f"tracklets {one['features'] / MEBI:.1f} and names of frames {one['names'] / MEBI:.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("benchmark_video", main))
