"""Converts random networks of the published sizes from PyTorch and compares both worlds.

    python -m tests.parity.full_width [--only BoT] [--json FILE]
    python -m tests.parity.full_width --timing

Every kind of file is built in PyTorch, converted, and evaluated on noise in both
worlds, of 256x128, or 384x128 where the method takes that; of some a step of training is compared
as well. The difference of an evaluation is the largest of any map or feature, relative to the
largest value there; that of a step is the norm of a tensor's difference relative to the tensor's
norm, the largest of each part.

A unit whose input rounds to the other side of zero passes its gradient in one world and not in the
other, and networks of these sizes always have some, even with the residual branches damped as here.
So beside the gradients stands how far PyTorch's own in float32 are from its own in float64. Where
the optimizer is Adam, whose first step is little more than the sign of a gradient, PyTorch's is
given our gradients, so that `parameters` compares what the optimizers make of them. The exit status
is 0 where nothing differs by more than 1e-4, and gradients by no more than that or a small multiple
of PyTorch's own.

With --timing, `luperson convert` takes a MoCo file of ResNet-152 in a process of its own. Needs the
extra `[torch]`.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import jax
import rich.console
import rich.table
import torch

from data_pipeline import terminal
from data_pipeline.read import atomic
from tests import converted
from tests.parity import cases, comparing, torch_nets

ROOT = pathlib.Path(__file__).resolve().parents[2]

SIZE, HIGH = (256, 128), (384, 128)
BATCH_SIZE = 8  # of a step
LIMIT = 1e-4
FACTOR = 4.0  # how much more than PyTorch's own a difference of gradients may be
SGD = {"optim__optimizer": "sgd", "optim__lr": 0.03, "optim__weight_decay": 1e-4}
ADAM = {"optim__optimizer": "adam", "optim__lr": 3.5e-4, "optim__weight_decay": 5e-4}
CIRCLE = {
    "task__classifier": "circle",
    "task__margin": 0.0,
    "task__triplet_feature": "after",
}
STEPS = {
    "MoCo v2 R50": SGD,
    "BoT R18": ADAM,
    "BoT R50": ADAM,
    "BoT R50 IBN, all parts": ADAM,
    "AGW R50": {**ADAM, "task__mining": "weighted", "task__margin": 0.0},
    "SBS R50": {**ADAM, **CIRCLE},
    "MGN R50": {**ADAM, **CIRCLE},
}
PARTS = ("loss", "gradients", "statistics", "parameters", "key encoder", "queue")
PUBLISHED_QUEUE = 65536
KIB = 1024 if sys.platform != "darwin" else 1  # of getrusage
# Runs a command and prints its seconds and peak memory. In a small process of its own, because what
# a process occupies before it starts another counts as the other's.
MEASURED = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
seconds = time.perf_counter() - began
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


KINDS = cases.CASES | cases.LARGE


def size_of(name: str) -> tuple[int, int]:
    """Height and width of the pictures that the method of a kind of file takes."""
    return HIGH if name.startswith(("SBS", "MGN")) else SIZE


def compare(name: str, width: int) -> dict[str, Any]:
    """The row of one kind of file."""
    case = KINDS[name]
    # The maps of a random network with as many blocks grow beyond float32 unless they are damped.
    twin = cases.make_twin(case, width, trainable=name in cases.LARGE)
    model = cases.convert(case, twin)
    differences = comparing.evaluation_differences(twin, model, size_of(name))
    row: dict[str, Any] = {
        "name": name,
        "family": case.family,
        "network": str(model.spec),
        "matched": len(model.account.matched),
        "required": model.account.required,
        "parameters": model.num_parameters,
        "evaluation": max(differences.values()),
        "outputs": differences,
    }
    return row | ({"step": train(name, width)} if name in STEPS else {})


def train(name: str, width: int) -> dict[str, Any]:
    """The differences of one training step."""
    case = KINDS[name]
    twin = cases.make_twin(case, width, trainable=True)
    model = cases.convert(case, twin)
    recipe = converted.recipe_of(model.spec, **STEPS[name])
    how = {"size": size_of(name), "batch_size": BATCH_SIZE}
    (found,) = comparing.step_differences(twin, model, recipe, **how)
    own = comparing.rounding_of_torch(twin, model, recipe, **how)
    return {"optimizer": recipe.optim.optimizer, "differences": found, "rounding_of_torch": own}


def agrees(row: dict[str, Any]) -> bool:
    """Whether nothing differs by more than rounding."""
    if row["evaluation"] > LIMIT or row["matched"] != row["required"]:
        return False
    if "step" not in row:
        return True
    limits = dict.fromkeys(PARTS, LIMIT)
    limits["gradients"] = max(LIMIT, FACTOR * row["step"]["rounding_of_torch"]["gradients"])
    found = row["step"]["differences"]
    return all(found[part] <= limit for part, limit in limits.items() if part in found)


def tables_of(rows: list[dict[str, Any]], width: int) -> list[rich.table.Table]:
    """Evaluations of all, steps of those that have one."""
    where = f"width {width}, JAX on {jax.devices()[0].device_kind}"
    evaluations = rich.table.Table(title=f"evaluation of converted networks: {where}")
    for column in ("file", "family", "tensors", "size", "pictures", "differs"):
        justify = "left" if column in ("file", "family") else "right"
        evaluations.add_column(column, justify=justify, no_wrap=True)
    for row in rows:
        matched = f"{row['matched']}/{row['required']}"
        parameters = f"{row['parameters'] / 1e6:.1f} M"
        pictures, differs = "x".join(map(str, size_of(row["name"]))), f"{row['evaluation']:.1e}"
        evaluations.add_row(row["name"], row["family"], matched, parameters, pictures, differs)
    trained = [row for row in rows if "step" in row]
    if not trained:
        return [evaluations]
    steps = rich.table.Table("", title=f"a training step of {BATCH_SIZE} images: {where}")
    for row in trained:
        steps.add_column(f"{row['name']} ({row['step']['optimizer']})", justify="right")
    for part in PARTS:
        found = [row["step"]["differences"].get(part) for row in trained]
        if any(value is not None for value in found):
            steps.add_row(part, *("" if value is None else f"{value:.1e}" for value in found))
        if part == "gradients":
            own = [row["step"]["rounding_of_torch"][part] for row in trained]
            steps.add_row("PyTorch's own", *(f"{value:.1e}" for value in own))
    return [evaluations, steps]


def time_command(folder: pathlib.Path, width: int) -> dict[str, Any]:
    """Seconds and memory of `luperson convert` on a MoCo file of ResNet-152."""
    torch.manual_seed(0)
    source, target = folder / "moco_r152.pth", folder / "moco_r152.npz"
    twin = torch_nets.Moco(152, width, queue_size=PUBLISHED_QUEUE)
    state = {f"module.{key}": value for key, value in twin.state_dict().items()}
    torch.save({"epoch": 200, "arch": "resnet152", "state_dict": state}, source)
    del twin, state
    command = [sys.executable, "-m", "luperson_jax.cli", "convert", str(source), str(target)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    said, _, measured = done.stdout.strip().rpartition("\n")
    seconds, peak = measured.split()
    return {
        "command": " ".join(command),
        "said": said,
        "file_bytes": source.stat().st_size,
        "seconds": float(seconds),
        "peak_bytes": int(peak) * KIB,
    }


def main() -> int:
    """Parses the command line and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    parser.add_argument("--width", type=int, default=64, help="channels of the stem")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file")
    parser.add_argument("--timing", action="store_true", help="time the command instead")
    options = parser.parse_args()
    chosen = [name for name in KINDS if options.only in name]
    if not chosen:
        parser.error(f"no kind is called {options.only!r}; there are {'; '.join(KINDS)}")
    console = terminal.console(soft_wrap=False)
    if options.timing:
        with tempfile.TemporaryDirectory() as folder:
            figures = time_command(pathlib.Path(folder), options.width)
        console.print(figures["said"], highlight=False)
        console.print(
            f"{figures['file_bytes'] / 2**20:.0f} MiB in {figures['seconds']:.1f} s, "
            f"peak memory {figures['peak_bytes'] / 2**20:.0f} MiB"
        )
        agreed = True
    else:
        # Otherwise matrix products on a GPU or TPU have fewer bits than float32.
        jax.config.update("jax_default_matmul_precision", "highest")
        jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
        rows = []
        with console.status("") as status:
            for name in chosen:
                status.update(name)
                rows.append(compare(name, options.width))
        for table in tables_of(rows, options.width):
            console.print(table)
        figures, agreed = {"width": options.width, "rows": rows}, all(map(agrees, rows))
    if options.json:
        atomic.write_text(options.json, json.dumps(figures, indent=1) + "\n")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(terminal.run("full_width", main))
