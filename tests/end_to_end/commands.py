"""The programs as a user starts them, on recipes small enough for a test."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax

from luperson_jax import main
from luperson_jax.workdir.metrics_file import METRICS_FILE
from tests import simulated_devices

ROOT = pathlib.Path(__file__).resolve().parents[2]

_SMALL = (
    "--config.model.width=8",
    "--config.model.bn_group_size=8",
    "--config.data.canvas=32,16",
    "--config.data.size=32,16",
    "--config.data.batch_size=16",
    "--config.data.num_workers=0",
    "--config.eval.batch_size=16",
    "--config.train.epochs=1",
    "--config.train.log_every_steps=1",
)

PRETRAIN = (
    f"--config={ROOT / 'configs' / 'demo.py'}:pretrain",
    *_SMALL,
    "--config.task.queue_size=40",
    "--config.task.feature_dim=16",
)

FINETUNE = (
    f"--config={ROOT / 'configs' / 'demo.py'}:finetune",
    *_SMALL,
    "--config.optim.milestones=(1,)",
    "--config.optim.warmup_epochs=1",
)


def run_here(*arguments: str) -> int:
    """`python -m luperson_jax.main` without the start of a process; returns its exit status."""
    return main.main(arguments)


def environment(devices: int) -> dict[str, str]:
    """Variables of a process with so many simulated devices and the compile cache of the tests."""
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": simulated_devices.flags(devices),
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }


def start(
    *arguments: str, devices: int = 2, program: str = "luperson_jax.main"
) -> subprocess.Popen[str]:
    """A process of its own: `python -m luperson_jax.main`, or another program."""
    return subprocess.Popen(
        [sys.executable, "-m", program, *arguments],
        env=environment(devices),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def losses(workdir: pathlib.Path) -> dict[int, float]:
    """The loss of every step that a run has reported."""
    lines = map(json.loads, (workdir / METRICS_FILE).read_text().splitlines())
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}


def digests(folder: pathlib.Path) -> dict[str, Any]:
    """Every file below a folder by its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
