"""Converted networks against PyTorch: evaluation, one step of training, and the way back.

What is compared stands in `comparing`; the limit of nearly everything is 1e-4.
"""

import re
import statistics

import pytest

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

from luperson_jax.weights import translate  # noqa: E402
from luperson_jax.weights.rules import COUNTER  # noqa: E402
from tests import converted  # noqa: E402
from tests.parity import cases, comparing  # noqa: E402

LIMIT = 1e-4
USUAL = (8, (65, 33))  # width and size; odd at every stage, so that each padding matters
OTHERS = {
    "torchvision R34": (8, (96, 47)),
    "torchvision R50": (64, (256, 128)),
    "torchvision R101": (16, (384, 128)),
    "IBN-Net R50": (64, (256, 128)),
    "MoCo v1 R50": (16, (256, 128)),
    "MoCo v2 R50": (64, (256, 128)),
    "BoT R50, learned GeM": (16, (384, 128)),
    "BoT R50 IBN, all parts": (64, (256, 128)),
    "AGW R50": (32, (256, 128)),
    "SBS R50": (16, (384, 128)),
    "MGN R50": (16, (384, 128)),
    "CALR R50 IBN": (16, (256, 128)),
}


@pytest.mark.parametrize("name", cases.CASES)
def test_evaluation(name):
    """The map after every stage and all features, by their largest difference."""
    width, size = OTHERS.get(name, USUAL)
    case = cases.CASES[name]
    twin = cases.make_twin(case, width)
    model = cases.convert(case, twin)
    found = comparing.evaluation_differences(twin, model, size)
    assert {f"layer{i}" for i in range(1, 5)} <= {output.split()[1] for output in found}
    assert max(found.values()) < LIMIT, found


SGD = {"optim__optimizer": "sgd", "optim__lr": 0.5, "optim__weight_decay": 5e-4}
ADAM = {"optim__optimizer": "adam", "optim__lr": 3.5e-4, "optim__weight_decay": 5e-4}
MOCO = {**SGD, "task__momentum": 0.7, "task__temperature": 0.2}
AGW = {"task__mining": "weighted", "task__margin": 0.0}
SBS = {"task__classifier": "circle", "task__margin": 0.0, "task__triplet_feature": "after"}
LIMIT_OF_CHANGES = 1e-3  # they are small against the parameters and known to the rounding of those
NUM_DRAWS = 3
BATCH_SIZE = 16


@pytest.mark.parametrize(
    ("name", "width", "size", "changes"),
    [
        ("BoT R18 IBN, all parts", 8, (65, 33), ADAM),
        ("BoT R18 IBN, all parts", 8, (65, 33), SGD),
        ("BoT R50 IBN, all parts", 4, (33, 17), ADAM),
        ("AGW R18", 8, (65, 33), {**ADAM, **AGW}),
        ("SBS R18", 8, (65, 33), {**ADAM, **SBS}),
        ("SBS R18", 8, (65, 33), {**SGD, **SBS}),
        ("MGN R18 IBN", 4, (65, 33), {**ADAM, **SBS}),
        ("MoCo v1 R18", 8, (65, 33), MOCO),
        ("MoCo v2 R50", 4, (33, 17), MOCO),
    ],
)
def test_one_step(name, width, size, changes):
    """Loss, gradients, statistics, parameters, and MoCo's key encoder and queue.

    The networks are small because a unit whose input rounds to the other side of zero passes its
    gradient in one world and not in the other, in two runs of PyTorch as well. The more units, the
    likelier that is; at these sizes it is rare. So of several batches the median counts. What Adam
    makes of the gradients is compared on the same ones, see `comparing.step_differences`.
    """
    case = cases.CASES[name]
    twin = cases.make_twin(case, width, trainable=True)
    model = cases.convert(case, twin)
    recipe = converted.recipe_of(model.spec, **changes)
    seeds = range(NUM_DRAWS)
    draws = [*comparing.step_differences(twin, model, recipe, size, BATCH_SIZE, seeds)]
    found = {part: statistics.median(draw[part] for draw in draws) for part in draws[0]}
    parts = {"loss", "gradients", "statistics", "parameters", "changes"}
    assert found.keys() == parts | ({"key encoder", "queue"} if model.spec.queue_size else set())
    assert found.pop("changes") < LIMIT_OF_CHANGES, draws
    assert max(found.values()) < LIMIT, draws


LEFT_OUT = {
    "torchvision": r"fc\.",
    "cluster_contrast": r"domain_classifier\.",
}


@pytest.mark.parametrize("name", cases.CASES)
def test_strict_loading_into_another_network(name):
    """Back under the names of the file: every name is taken, and every bit is as it was."""
    case = cases.CASES[name]
    twin = cases.make_twin(case, 8)
    for key, value in twin.state_dict().items():
        if key.endswith(COUNTER):
            value.fill_(57)
    model = cases.convert(case, twin)
    tensors = {key: torch.tensor(a) for key, a in translate.to_torch(model, case.family)[1].items()}
    fresh = cases.make_twin(case, 8, seed=5)
    left_out = LEFT_OUT.get(case.family, "(?!)")
    kept = {k: value for k, value in fresh.state_dict().items() if re.match(left_out, k)}
    assert not kept.keys() & tensors.keys()
    fresh.load_state_dict({**tensors, **kept}, strict=True)
    loaded, wanted = cases.arrays_of(fresh), cases.arrays_of(twin)
    for key in wanted.keys() - kept.keys():
        assert loaded[key].dtype == wanted[key].dtype, key
        assert loaded[key].tobytes() == wanted[key].tobytes(), key
