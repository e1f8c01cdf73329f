"""Compiled programs: kept between runs, and said when one has to be made.

XLA compiles a program once for every network, size and device, which takes longer than many small
jobs work. JAX keeps what it compiled in a folder, if it is told one.
"""

import hashlib
import os
import pathlib
import platform

import jax

VARIABLE = "LUPERSON_CACHE"
OFF = "off"
MAX_BYTES = 2 << 30
"""The programs used longest ago make room beyond it; a ResNet-50's training step takes about 20
MB. With a limit JAX also locks the folder, so that processes may share it."""

SECONDS = {
    "mobilenet_v1": 20,
    "resnet18": 20,
    "resnet34": 30,
    "resnet50": 30,
    "resnet101": 60,
    "resnet152": 90,
}
"""To compile a training step on two idle cores, roughly; measured in docs/benchmarks.md. Embedding
takes a tenth of it."""


def folder() -> pathlib.Path | None:
    """Where programs are kept: what LUPERSON_CACHE names, else `luperson_jax` in the user's folder
    for caches; None where it is "off".

    Programs for a CPU hold its instructions, so each kind of CPU has a folder in it.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen == OFF:
        return None
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path("~/.cache").expanduser()
    place = pathlib.Path(chosen) if chosen else pathlib.Path(home, "luperson_jax")
    return place.absolute() / f"jax-{jax.__version__}-{_cpu()}"


def keep() -> None:
    """Has JAX keep its programs, unless it was told a folder already or ours cannot be used: a home
    that cannot be written is no reason not to work."""
    if getattr(jax.config, "jax_compilation_cache_dir", None):
        return
    place = folder()
    if place is None:
        return
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(place, os.R_OK | os.W_OK | os.X_OK):
        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
        jax.config.update("jax_compilation_cache_dir", str(place))


def compiling(arch: str, platform: str) -> str:
    """The line before a training step is compiled, which looks like standing still."""
    on_cpu = platform == "cpu"
    how_long = f"about {SECONDS[arch]} s on two cores" if on_cpu else "a minute or more"
    return f"compiling the step ({how_long} the first time)"


def _cpu() -> str:
    """A name for the instructions of this CPU."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    known = f"{platform.machine()} {platform.processor()} {flags}"
    return hashlib.blake2b(known.encode(), digest_size=4).hexdigest()
