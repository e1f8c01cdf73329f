"""Networks to export: every number of them drawn, and small."""

import dataclasses

import numpy as np

from luperson_jax.models import NetworkSpec
from luperson_jax.weights.model import Model
from tests import weight_files

SIZE = (96, 32)
SPECS = {
    "bot": NetworkSpec("reid", "resnet18", 4, last_stride=1, extra_bn=True),
    "mgn": NetworkSpec(
        *("mgn", "resnet18", 4), ibn=True, extra_bn=True, pooling="gem_learned", embedding_dim=4
    ),
    "parts": NetworkSpec(
        *("parts", "resnet18", 4),
        non_local=True,
        last_stride=1,
        num_parts=3,
        part_head="fused",
        hidden=4,
    ),
    "simclr": NetworkSpec(
        *("simclr", "resnet18", 4), stem="small", pooling="max", head="mlp_bn", feature_dim=8
    ),
}
"""Between them they have whatever a network can have, but for `OTHER_TRUNKS`."""
OTHER_TRUNKS = {
    "slim": NetworkSpec("backbone", "resnet50", 4, strides="slim"),
    "mobilenet": NetworkSpec("backbone", "mobilenet_v1", 8, last_stride=1),
}
RANGES = {"scale": (0.5, 1.5), "bias": (-0.2, 0.2), "mean": (-0.2, 0.2), "var": (0.5, 1.5)}
"""Of numbers that a fresh network has at 0 or 1."""


def drawn(spec: NetworkSpec, size: tuple[int, int] = SIZE) -> Model:
    """A network without any number that could be left out unseen."""
    fresh, numbers = weight_files.model_of(spec, size), np.random.default_rng(0)
    tensors = {
        path: numbers.uniform(*RANGES[kind], array.shape).astype(np.float32)
        if (kind := path.rpartition("/")[2]) in RANGES
        else array
        for path, array in fresh.tensors.items()
    }
    return dataclasses.replace(fresh, tensors=tensors)
