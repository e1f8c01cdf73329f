"""Strict numerics, two simulated devices and one compile cache for the whole suite."""

import gc
import os
import pathlib
import signal

from tests import simulated_devices

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Small networks take most of their time to compile: less than half of it this way. Processes that
# tests start inherit it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["XLA_FLAGS"] = simulated_devices.flags(2)

# A suite that was started in the background was told to ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Processes that tests start leave no programs in the user's folder.
os.environ["LUPERSON_CACHE"] = "off"

import jax
import jaxtyping
import pytest

# Traced programs are millions of objects that live: to look through all of them is often in vain.
gc.set_threshold(100_000, 20, 1000)

# Every annotated shape and type below is checked at every call that a test makes.
for room in ("augment", "clustering", "losses", "models", "optim", "retrieval", "tasks", "vectors"):
    jaxtyping.install_import_hook(f"luperson_jax.{room}", "beartype.beartype")

ROOT = pathlib.Path(__file__).resolve().parents[1]

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# A worker each: a program that another one is just writing could be read in part.
CACHE = ROOT / ".cache" / "jax" / os.environ.get("PYTEST_XDIST_WORKER", "")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _outside(variable: str, default: str) -> pathlib.Path:
    path = pathlib.Path(os.environ.get(variable, ROOT / ".." / "shared" / default))
    if not path.is_dir():
        pytest.skip(f"{variable} is not set and {path} does not exist")
    return path.resolve()


@pytest.fixture(scope="session")
def golden() -> pathlib.Path:
    """Folder of stored reference values."""
    return _outside("LUPERSON_GOLDEN", "golden")


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """Folder of real pedestrian pictures."""
    return _outside("LUPERSON_REAL_DATA", "data")


@pytest.fixture(scope="session")
def labelled_world(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A drawn world in the Market-1501 layout: 6 people to train on, 6 to test on, 2 cameras."""
    from data_pipeline.synthetic import layouts

    root = tmp_path_factory.mktemp("world") / "labelled"
    size = {"height": 32, "width": 16, "cameras": 2}
    layouts.make("market1501", root, identities=12, images_per_camera=3, **size)
    return root


@pytest.fixture(scope="session")
def mars(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Drawn video in the layout of MARS."""
    from tests.video_sets import Worlds

    return Worlds(tmp_path_factory.mktemp("video"))("mars")


@pytest.fixture(scope="session")
def unlabelled_world(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A drawn world without labels: 64 pictures in a folder."""
    from data_pipeline.synthetic import layouts

    root = tmp_path_factory.mktemp("world") / "unlabelled"
    size = {"height": 32, "width": 16, "cameras": 2}
    layouts.make("folder", root, identities=16, tracklets=2, frames=2, **size)
    return root


@pytest.fixture(scope="session")
def pretrained(
    tmp_path_factory: pytest.TempPathFactory, unlabelled_world: pathlib.Path
) -> pathlib.Path:
    """The workdir of an epoch of MoCo on `unlabelled_world`: to be read, or copied."""
    from tests.helpers import run, tiny

    workdir = tmp_path_factory.mktemp("pretrained") / "run"
    run(tiny("moco", unlabelled_world, train__epochs=1), workdir)
    return workdir
