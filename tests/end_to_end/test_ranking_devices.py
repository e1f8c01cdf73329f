"""The number of devices never changes a ranking."""

import pathlib
import subprocess
import sys

import numpy as np

from tests.end_to_end.commands import ROOT, environment

PROGRAM = """
import sys
import jax
import numpy as np
from luperson_jax.retrieval import ranking, tiles
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
    execution = tiles.Execution(tiles.TileShape(16, 64), tiles.local_mesh())
    report = ranking.rank(query, gallery, metric=metric, execution=execution)
    top = ranking.top_matches(query, gallery, k=20, metric=metric, execution=execution)
    results |= {f"{metric}_{name}": value for name, value in vars(report).items()}
    results |= {f"{metric}_{name}": value for name, value in top._asdict().items()}
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
    assert 0 < one["cosine_mAP"] < 0.5
    # Sixty vectors stand for 1500 images: nearly all of a list is tied.
    assert (np.diff(one["cosine_distance"], axis=1) == 0).mean() > 0.5
