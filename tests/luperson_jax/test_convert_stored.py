"""Converted networks against what PyTorch made of the same tensors; needs no PyTorch.

`tests/parity/store_arrays.py` writes the stored arrays and says when to.
"""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from luperson_jax.weights import translate
from luperson_jax.weights.rules import KEY_NETWORK
from tests import converted

PATH = pathlib.Path(__file__).parent / "stored" / "conversion.npz"
SETTINGS = {"optim__optimizer": "sgd", "optim__lr": 0.1, "optim__weight_decay": 5e-4}
OUTPUTS = {
    "fastreid": {"before", "after", "unit", "logits"},
    "moco": {"pooled", "projection", "key pooled", "key projection"},
    "cluster_contrast": {"unit"},
}


@pytest.fixture(scope="module")
def stored():
    with np.load(PATH) as archive:
        return dict(archive)


def model_of(stored, name):
    about = json.loads(str(stored[f"{name}/about"]))
    values, tensors, first = stored[f"{name}/values"], {}, 0
    for key, shape, kind in about["tensors"]:
        last = first + int(np.prod(shape))
        tensors[key] = values[first:last].reshape(shape).astype(kind)
        first = last
    assert first == len(values)
    model = translate.from_torch(tensors)
    assert model.account.complete
    assert model.family == about["family"]
    return model


@pytest.mark.parametrize("name", OUTPUTS)
def test_evaluation(stored, name):
    """Every feature, to 1e-4 of its largest value."""
    images = converted.floats(stored[f"{name}/images"])
    model = model_of(stored, name)
    found = converted.outputs(model, images)
    if name == "moco":
        keys = converted.outputs(model, images, KEY_NETWORK)
        found |= {f"key {key}": array for key, array in keys.items()}
    assert {key for key in stored if key.startswith(f"{name}/out/")} == {
        f"{name}/out/{output}" for output in OUTPUTS[name]
    }
    for output in OUTPUTS[name]:
        wanted = stored[f"{name}/out/{output}"]
        assert found[output].shape == wanted.shape
        assert np.abs(found[output] - wanted).max() < 1e-4 * np.abs(wanted).max(), output


def test_one_step(stored):
    """Loss, running statistics and the norm of every gradient, to 1e-4 of themselves."""
    model = model_of(stored, "fastreid")
    recipe = converted.recipe_of(model.spec, **SETTINGS)
    batch = converted.make_batch(stored["fastreid/images"][None], stored["fastreid/labels"])
    done = converted.first_step(model, recipe)(batch)
    np.testing.assert_allclose(done.loss, stored["fastreid/loss"], rtol=1e-4)

    about = json.loads(str(stored["fastreid/about_step"]))
    _, tensors = translate.to_torch(done.model)
    statistics, first = stored["fastreid/statistics"], 0
    for key in about["statistics"]:
        wanted = statistics[first : first + len(tensors[key])]
        first += len(wanted)
        error = np.linalg.norm(tensors[key] - wanted) / np.linalg.norm(wanted)
        assert error < 1e-4, (key, error)
    assert first == len(statistics)
    _, slopes = translate.to_torch(dataclasses.replace(model, tensors=done.gradients))
    for key, wanted in zip(about["slopes"], stored["fastreid/slopes"], strict=True):
        np.testing.assert_allclose(np.linalg.norm(slopes[key]), wanted, rtol=1e-4, err_msg=key)
