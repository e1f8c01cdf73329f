"""The momentum of SGD in PyTorch's optimizer, whose parameters have numbers and no names.

A number is the place of a parameter in the order in which its network registers them, which is
also the order of the names in a state dict without the buffers.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.weights.rules import NETWORK, Family

_BUFFER = re.compile(
    r"(^|\.)(running_mean|running_var|num_batches_tracked|queue|queue_id|queue_ptr|prototypes)$"
)
_ORDER = (
    *(
        "pixel_mean",
        "pixel_std",
        "queue",
        "queue_id",
        "queue_ptr",
        "prototypes",
        "encoder_q",
        "encoder_k",
        "backbone",
        "base",
    ),
    *("heads_extra_bn", "heads", "pool_layer", "bottleneck", "gap", "feat_bn", "IN", "BN"),
    *("weight", "bias", "running_mean", "running_var", "num_batches_tracked"),
)

_AFTER_THE_TRUNK = ("fc", "embed_fc", "classifier", "fc1", "fc2")


def read(
    family: Family, tensors: Mapping[str, np.ndarray], optimizer: Any
) -> dict[str, np.ndarray]:
    """The momentum of each parameter.

    Args:
        family: of the file.
        tensors: of the file, in its order.
        optimizer: `state_dict()` of torch.optim.SGD, with arrays in place of tensors.

    Returns:
        [path of the parameter] -> array of its shape; empty where the optimizer has none, or has
        several groups of parameters (LARS): its numbers then follow the groups, not the network.

    Raises:
        InputError: it belongs to other tensors.
    """
    if not isinstance(optimizer, Mapping) or len(optimizer.get("param_groups", ())) != 1:
        return {}
    states = optimizer.get("state", {})
    numbered = dict(enumerate(name for name in tensors if not _BUFFER.search(name)))
    found: dict[str, np.ndarray] = {}
    for number, state in states.items():
        momentum = state.get("momentum_buffer")
        if momentum is None:
            continue
        name = numbered.get(int(number), "")
        match = family.place_of(name, momentum.ndim)
        if match is None or momentum.shape != tensors[name].shape:
            raise InputError(
                f"the optimizer has momentum {momentum.shape} for parameter {number} ({name!r}); "
                "optimizer and tensors of the file do not belong together; --only-backbone leaves "
                "the optimizer out"
            )
        rule, path = match
        found[path] = rule.transform.from_torch(np.asarray(momentum, np.float32))
    return found


def settings(optimizer: Any) -> dict[str, float]:
    """`lr`, `momentum` and `weight_decay` of the first group of an optimizer, where it has them."""
    groups = optimizer.get("param_groups") if isinstance(optimizer, Mapping) else None
    first = groups[0] if groups else {}
    return {
        name: float(first[name]) for name in ("lr", "momentum", "weight_decay") if name in first
    }


def write(
    family: Family, names: Iterable[str], momentum: Mapping[str, np.ndarray], sgd: Mapping
) -> dict[str, Any]:
    """`state_dict()` of torch.optim.SGD over all parameters of a file.

    Args:
        family: of the file.
        names: of its tensors, in the order that `registered` gives.
        momentum: as `read` returns it.
        sgd: `lr`, `momentum` and `weight_decay`.
    """
    numbered = [name for name in names if not _BUFFER.search(name)]
    states = {}
    for path, array in momentum.items():
        match = family.name_of(path, momentum)
        assert match is not None, path
        rule, name = match
        value = np.ascontiguousarray(rule.transform.to_torch(array))
        states[numbered.index(name)] = {"momentum_buffer": value}
    group = {"dampening": 0.0, "nesterov": False, **sgd}
    return {"state": states, "param_groups": [{**group, "params": list(range(len(numbered)))}]}


def registered(name: str) -> list[tuple[int, int, str]]:
    """Sorting key: names of a ResNet and its heads in the order in which PyTorch has them."""
    return [_rank(part) for part in name.split(".")]


def _rank(part: str) -> tuple[int, int, str]:
    if part.isdigit():
        return 0, int(part), ""
    if part in _ORDER:
        return 1, _ORDER.index(part), ""
    if match := re.fullmatch(r"(conv|bn)(\d)", part):
        return 2, 2 * int(match[2]) + (match[1] == "bn"), ""
    return 3, _AFTER_THE_TRUNK.index(part) if part in _AFTER_THE_TRUNK else -1, part


def path_of_moment(name: str) -> str | None:
    """The parameter that a leaf of our optimizer's state is the momentum of; None for others."""
    _, found, path = name.partition(".trace.")
    return f"{NETWORK.params}/{path.replace('.', '/')}" if found else None
