"""Writes the arrays that `tests/luperson_jax/test_convert_stored.py` compares without PyTorch.

    python -m tests.parity.store_arrays

To be run again where a case is added here or its layout changes, and then only after the tests of
this folder pass. Never because the comparison fails: files with these names and these outputs are
out in the world, and a converter that reads them otherwise is wrong.

The file holds for every case `about`, a JSON of the family and of [name, shape, type] of every
tensor; `values`, all of them in that order; `images` [B, h, w, 3] uint8, see `converted.floats`;
`out/NAME`, what `converted.outputs` must give (`out/key NAME`: of the key encoder). For the case
that trains also `labels`, and of one step with `SETTINGS` the `loss`, the running `statistics`
after it and the norms of its `slopes`, the latter two as `about_step` lists them.
"""

import json
import pathlib
from typing import Any

import numpy as np

from tests import converted
from tests.luperson_jax.test_convert_stored import PATH, SETTINGS
from tests.parity import cases, comparing, torch_nets, torch_reid

SIZE = (33, 17)
BATCH_SIZE = 8
MOST_BYTES = 250_000
TRAINED = "fastreid"
CASES = {
    TRAINED: cases.Case(
        "fastreid",
        lambda width: torch_reid.FastReid(
            18,
            width,
            "gem_learned",
            embedding_dim=8,
            extra_bn=True,
            num_classes=cases.NUM_CLASSES,
        ),
    ),
    "moco": cases.Case(
        "moco", lambda width: torch_nets.Moco(18, width, feature_dim=6, queue_size=10)
    ),
    "cluster_contrast": cases.Case(
        "cluster_contrast", lambda width: torch_reid.ClusterContrast(50, width, ibn=True)
    ),
}
WIDTH = 2


def store(path: pathlib.Path) -> None:
    """Writes all cases to one file."""
    arrays: dict[str, np.ndarray] = {}
    for name, case in CASES.items():
        arrays |= {f"{name}/{key}": value for key, value in _arrays_of(name, case).items()}
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    size = path.stat().st_size
    assert size <= MOST_BYTES, f"{path} has {size} bytes; expected {MOST_BYTES} or less"


def _arrays_of(name: str, case: cases.Case) -> dict[str, Any]:
    twin = cases.make_twin(case, WIDTH, trainable=name == TRAINED)
    for key, value in twin.state_dict().items():
        if value.is_floating_point() and not key.startswith("pixel_"):
            value.copy_(value.bfloat16())  # half of the bits are 0, and take no room
    tensors = cases.arrays_of(twin)
    about = [(key, array.shape, array.dtype.name) for key, array in tensors.items()]
    values = [array.ravel().astype(np.float32) for array in tensors.values()]
    views = converted.make_views(0, 1, BATCH_SIZE, SIZE)
    images = converted.floats(views[0])
    outputs = comparing.twin_outputs(twin, images)
    if case.family == "moco":
        keys = comparing.twin_outputs(twin, images, "encoder_k")
        outputs |= {f"key {key}": array for key, array in keys.items()}
    found: dict[str, Any] = {
        "about": json.dumps({"family": case.family, "tensors": about}),
        "values": np.concatenate(values),
        "images": views[0],
        **{f"out/{key}": array for key, array in outputs.items() if array.ndim == 2},
    }
    if name == TRAINED:
        labels = np.arange(BATCH_SIZE) % cases.NUM_CLASSES
        recipe = converted.recipe_of(cases.convert(case, twin).spec, **SETTINGS)
        done = comparing.twin_step(twin, recipe, views, labels)
        running = {key: array for key, array in done.tensors.items() if ".running_" in key}
        found |= {
            "labels": labels,
            "loss": np.float32(done.loss),
            "about_step": json.dumps({"statistics": [*running], "slopes": [*done.gradients]}),
            "statistics": np.concatenate(list(running.values())),
            "slopes": np.array([np.linalg.norm(array) for array in done.gradients.values()]),
        }
    return found


if __name__ == "__main__":
    store(PATH)
