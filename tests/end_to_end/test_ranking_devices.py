"""Devices, threads and the order of a gallery never change a ranking."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from luperson_jax.retrieval import inputs
from tests.end_to_end.commands import ROOT, environment

PROGRAM = """
import dataclasses
import sys
import jax
import numpy as np
from luperson_jax.retrieval import ranking, tiles
from luperson_jax.retrieval.execution import ANYHOW, Execution, TileShape
from luperson_jax.structs import EmbeddingSet

generator = np.random.default_rng(0)
kinds = generator.standard_normal((60, 32)).astype(np.float32)

def embed(num):
    features = kinds[generator.integers(0, 60, num)]
    columns = generator.integers(0, 9, num), generator.integers(0, 3, num)
    return EmbeddingSet(features, *columns, ("",) * num)

query, gallery = embed(70), embed(1500)
results = {"devices": jax.device_count()}
for metric in ("cosine", "euclidean"):
    execution = Execution(TileShape(16, 64), tiles.local_mesh())
    report = ranking.rank(query, gallery, metric=metric, execution=execution)
    top = ranking.top_matches(query, gallery, k=20, metric=metric, execution=execution)
    results |= {f"{metric}_{name}": value for name, value in vars(report).items()}
    results |= {f"{metric}_{name}": value for name, value in top._asdict().items()}
    close = [
        dataclasses.replace(
            one, features=one.features + 3e-7 * generator.standard_normal(one.features.shape)
        )
        for one in (query, gallery)
    ]
    for name, how in (("mesh", execution), ("host", ANYHOW)):
        report = ranking.rank(*close, metric=metric, execution=how)
        results |= {f"{metric}_close_{name}_{part}": value for part, value in vars(report).items()}
np.savez(sys.argv[1], **results)
"""


def test_eight_devices_rank_like_one(tmp_path: pathlib.Path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / f"{devices}.npz")],
            env=environment(devices),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for devices in (1, 8)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    one, eight = (np.load(tmp_path / f"{devices}.npz") for devices in (1, 8))
    assert (one["devices"], eight["devices"]) == (1, 8)
    assert one.files == eight.files
    for name in set(one.files) - {"devices"}:
        np.testing.assert_array_equal(eight[name], one[name], err_msg=name)
        np.testing.assert_array_equal(
            one[name.replace("_mesh_", "_host_")], one[name], err_msg=name
        )
    assert 0 < one["cosine_mAP"] < 0.5
    # Sixty vectors stand for 1500 images: nearly all of a list is tied.
    assert (np.diff(one["cosine_distance"], axis=1) == 0).mean() > 0.5


@pytest.mark.parametrize("metric", inputs.METRICS)
def test_threads_and_the_order_of_the_gallery_change_no_byte(metric, tmp_path):
    generator = np.random.default_rng(2)
    kinds = generator.standard_normal((3, 256)) + 1

    def columns(num):
        near = kinds[generator.integers(0, 3, num)] + 3e-7 * generator.standard_normal((num, 256))
        pid, camera = generator.integers(0, 40, num), generator.integers(0, 3, num)
        return {"features": near.astype(np.float32), "pid": pid, "camera": camera}

    query, gallery = columns(200), columns(2000)
    order = generator.permutation(2000)
    shuffled = {name: column[order] for name, column in gallery.items()}
    found = []
    for threads, some in ((1, gallery), (3, gallery), (1, shuffled)):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        np.savez(folder / "q.npz", **query)
        np.savez(folder / "g.npz", **some)
        command = "metrics --query q.npz --gallery g.npz --json out.json --metric"
        subprocess.run(
            [sys.executable, "-m", "luperson_jax.cli", *command.split(), metric],
            env=environment(1) | {"OPENBLAS_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)},
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        found.append((folder / "out.json").read_bytes())
    assert len(set(found)) == 1
    assert 0 < json.loads(found[0])["mAP"] < 0.5
