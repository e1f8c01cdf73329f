"""The work of `luperson doctor`: versions, devices, extras, and a self-test."""

import argparse
import importlib.metadata
import importlib.util
import io
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from PIL import Image

from data_pipeline.read import decode
from luperson_jax import __version__
from luperson_jax.commands import output
from luperson_jax.retrieval import neighbors
from luperson_jax.run import programs

PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets"),
    *("numpy", "scipy", "scikit-learn", "pillow", "pyarrow"),
)
EXTRAS = {
    "torch": ("torch", "PyTorch's own files of weights"),
    "lmdb": ("lmdb", "LUPerson and LUPerson-NL in LMDB"),
    "mat": ("h5py", "Matlab files of version 7.3"),
    "video": ("av", "crops from videos"),
    "export": ("onnxruntime", "networks for ONNX Runtime and trackers, luperson export"),
    "infomap": ("infomap", "task.clustering=infomap"),
    "ui": ("starlette", "the page of `luperson serve`"),
    "hub": ("huggingface_hub", "models of Hugging Face"),
}
"""By the name of the extra: its module, and what it is for."""
GIB = 2**30


def run(options: argparse.Namespace) -> int:
    """Says everything; the status is 1 where the self-test fails."""
    output.check_file(options.json, "--json")
    about = {
        "luperson_jax": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "memory_gib": round(_memory() / GIB, 1),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": [_device(one) for one in jax.local_devices()],
        "cache": str(programs.folder() or "off"),
        "missing": {
            extra: use
            for extra, (module, use) in EXTRAS.items()
            if importlib.util.find_spec(module) is None
        },
        "tests": [_tested(*one) for one in TESTS],
    }
    output.say(*_lines(about))
    if options.json:
        output.write_json(options.json, about)
    return 0 if all(one["passed"] for one in about["tests"]) else 1


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def _device(device: Any) -> dict[str, Any]:
    stats = device.memory_stats() or {}
    return {
        "kind": device.device_kind,
        "platform": device.platform,
        "memory_gib": round(stats.get("bytes_limit", 0) / GIB, 1),
    }


def _lines(about: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    lines = [
        f"luperson_jax {about['luperson_jax']}, Python {about['python']}, {about['system']}",
        f"{about['cores']} cores, {about['memory_gib']} GiB of memory",
        versions,
    ]
    for one in about["devices"]:
        memory = f", {one['memory_gib']} GiB" if one["memory_gib"] else ""
        lines.append(f"device: {one['kind']} ({one['platform']}){memory}")
    lines.append(f"compiled programs: {about['cache']}")
    for extra, use in about["missing"].items():
        lines.append(f"not installed: {use}; pip install 'luperson_jax[{extra}]'")
    for one in about["tests"]:
        verdict = "works" if one["passed"] else f"FAILS: {one['reason']}"
        lines.append(f"{one['name']}: {verdict} ({one['seconds']:.1f} s)")
    return lines


def _tested(name: str, test: Callable[[], str]) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        reason = test()
    except Exception as error:  # whatever is wrong with an installation
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    seconds = time.perf_counter() - began
    return {"name": name, "passed": not reason, "reason": reason, "seconds": seconds}


def _pictures() -> str:
    """What is wrong with decoding and resizing; empty where nothing is."""
    stream = io.BytesIO()
    Image.new("RGB", (32, 64), (200, 100, 50)).save(stream, "JPEG", quality=95)
    canvas = decode.to_canvas(decode.decode(stream.getvalue(), "drawn"), (128, 64))
    far = np.abs(canvas.astype(int) - [200, 100, 50]).max()
    return "" if canvas.shape == (128, 64, 3) and far <= 4 else f"colors are {far} levels off"


def _gradient() -> str:
    """What is wrong with a compiled convolution and its gradient, beside a difference quotient."""
    images, kernel, way = (
        jax.random.normal(jax.random.key(number), shape)
        for number, shape in enumerate([(2, 16, 8, 3), (3, 3, 3, 4), (3, 3, 3, 4)])
    )

    def loss(kernel: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(images, kernel, (2, 2), "SAME", dimension_numbers=layout)
        return jax.nn.relu(x).mean()

    slope = jax.jit(jax.grad(loss))(kernel)
    value, small = jax.jit(loss), 1e-2
    quotient = (value(kernel + small * way) - value(kernel - small * way)) / (2 * small)
    far = abs(float((slope * way).sum() - quotient))
    return "" if far < 0.05 else f"a gradient is {far:.1e} off"


def _ranking() -> str:
    """What is wrong with the nearest neighbors, beside plain NumPy."""
    features = np.random.default_rng(0).standard_normal((300, 32)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    distance = 1 - unit @ unit.T
    found = neighbors.nearest(features, features.copy(), 5)
    expected = np.sort(distance, axis=1)[:, :5]
    far = float(np.abs(found.distance - expected).max())
    return "" if far < 1e-5 else f"distances are {far:.1e} off"


TESTS = (
    ("pictures", _pictures),
    ("a gradient", _gradient),
    ("nearest neighbors", _ranking),
)
"""What is tried, in order."""
