"""The work of `luperson plan`: compiles a step for a machine and says what it costs there."""

import argparse
import datetime
import json
import os
import subprocess
import sys
from typing import Any

from data_pipeline.errors import InputError
from luperson_jax import config, tasks
from luperson_jax.commands import output
from luperson_jax.measure import chips
from luperson_jax.measure.traffic import Traffic

GIB = 2**30
TIGHT = 0.9
"""Share of the memory beyond which a step is called tight."""
DAY = 86_400
PICTURES = ("images", "people", "cameras", "tracklets")
"""Options that stand for them."""


def run(options: argparse.Namespace) -> int:
    """Compiles and says; the status is 1 where the step does not fit.

    Raises:
        InputError: wrong settings or machine, or what compiles for it is not installed.
    """
    output.check_file(options.json, "--json")
    machine = chips.machine(options.on)
    table = {name: getattr(options, name) for name in PICTURES}
    if min(options.images, options.people, options.cameras, options.tracklets + 1) < 1:
        raise InputError("--images, --people and --cameras must be at least 1, --tracklets 0")
    away = ["eval.dataset=", "train.init_from=", "data.subset=", "data.weights="]
    settings = config.read(options.config, [*options.changes, *away], options=tasks.OPTIONS)
    recipe = config.resolve(settings, tasks.OPTIONS)
    _check_plugin(machine)
    request = {"recipe": config.to_dict(recipe), "on": options.on, "table": table}
    output.say(f"compiling the step of {options.config} for {options.on}")
    found = _answer(request, machine)
    figures = {**found, **_bounds(found, machine)}
    output.say(*_lines(figures, machine))
    if options.json:
        output.write_json(options.json, {**figures, "on": options.on, "config": options.config})
    return 0 if figures["fits"] in (True, None) else 1


def _check_plugin(machine: chips.Machine) -> None:
    if machine.chip is not None and not chips.is_installed(machine.chip.platform):
        extra = chips.PLUGINS[machine.chip.platform][1]
        raise InputError(
            f"--on {machine.name} needs the compiler for {machine.chip.title}, a wheel without "
            f"the machine: pip install 'luperson_jax[{extra}]'"
        )


def _answer(request: dict[str, Any], machine: chips.Machine) -> dict[str, Any]:
    """What `plan_away` says in a process of its own."""
    if machine.chip is None:
        variables = {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={machine.size}",
        }
    else:
        variables = chips.VARIABLES
    done = subprocess.run(
        [sys.executable, "-m", "luperson_jax.commands.plan_away"],
        input=json.dumps(request),
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"the step cannot be compiled for {machine.name}: {last}") from None
    if "error" in answer:
        given = ", ".join(f"--{name}={value}" for name, value in request["table"].items())
        raise InputError(f"{answer['error']}\nthe pictures of a plan: {given}")
    return answer


def _bounds(found: dict[str, Any], machine: chips.Machine) -> dict[str, Any]:
    """What the chips' numbers make of the figures; None where the chip is not known."""
    chip = machine.chip
    names = ("fits", "arithmetic_seconds", "memory_seconds", "link_seconds", "images_per_second")
    if chip is None:
        return dict.fromkeys((*names, "days"))
    kinds = {kind: (number, size) for kind, (number, size) in found["collectives"].items()}
    links = Traffic(found["moved"], kinds).seconds_on_links(found["devices"], chip.link)
    arithmetic = found["flops"] / found["devices"] / chip.peak
    memory = found["moved"] / chip.bandwidth
    seconds = max(arithmetic, memory, links)
    return {
        "fits": found["memory"] <= chip.memory,
        "arithmetic_seconds": arithmetic,
        "memory_seconds": memory,
        "link_seconds": links,
        "images_per_second": found["batch_size"] / seconds,
        "days": found["steps"] * seconds / DAY,
    }


def _lines(figures: dict[str, Any], machine: chips.Machine) -> list[str]:
    devices, chip = figures["devices"], machine.chip
    memory = f"memory        {_digits(figures['memory'] / GIB)} GiB on each of {devices}"
    if chip is not None:
        memory += f", of {chip.memory / GIB:.1f}"
    height, width = figures["canvas"]
    lines = [
        f"{memory}: state and batch {_digits(figures['arguments'] / GIB)}, in a step "
        f"{_digits(figures['temporary'] / GIB)}",
        f"arithmetic    {_digits(figures['flops'] / devices / 1e12)} TFLOP on each, "
        f"{_digits(figures['flops'] / figures['batch_size'] / 1e9)} GFLOP an image",
        f"traffic       {_digits(figures['moved'] / 1e9)} GB through the memory of each",
        f"pictures      on a canvas of {height}x{width} (data.canvas)",
    ]
    for kind, (number, size) in figures["collectives"].items():
        lines.append(f"{kind:13} {number}, {_digits(size / 1e6)} MB on each")
    lines.append(f"compiled in   {figures['compile_seconds']:.0f} s")
    return [*lines, *(_of_chip(figures, chip) if chip is not None else [])]


def _digits(value: float) -> str:
    """Two decimals, or two digits of what is below 1."""
    return f"{value:,.2f}" if value >= 1 else f"{value:.2g}"


def _of_chip(figures: dict[str, Any], chip: chips.Chip) -> list[str]:
    times = {
        "arithmetic": figures["arithmetic_seconds"],
        "memory": figures["memory_seconds"],
        "links": figures["link_seconds"],
    }
    bound = max(times, key=lambda name: times[name])
    each = ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in times.items())
    whole = datetime.timedelta(seconds=round(DAY * figures["days"]))
    lines = [
        f"at most       {figures['images_per_second']:,.0f} images/s, bound by {bound}: {each} "
        "a step",
        f"whole run     {figures['epochs']} epochs, {figures['steps']:,} steps: {whole} at least",
        f"({chip.title}: {chip.source})",
    ]
    if not figures["fits"]:
        lines.append(
            "DOES NOT FIT: raise optim.micro_batches, which leaves the result as it is, lower "
            "data.batch_size, or take more devices"
        )
    elif figures["memory"] > TIGHT * chip.memory:
        lines.append("tight: more than nine tenths of the memory")
    return lines
