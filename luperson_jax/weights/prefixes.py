"""What wrappers of other programs put before the names of a network, taken off."""

import itertools
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from data_pipeline.errors import InputError

PREFIXES = ("_orig_mod.", "module.", "model.", "base.", "backbone.", "encoder_q.0.", "network.")
"""Of torch.compile, DataParallel, Lightning, reid-strong-baseline, lightly, encoders in a
`nn.Sequential`, and wrappers around those."""

MAX_DEPTH = 3
ANY_RESNET = re.compile(r"(.+\.)layer1\.0\.conv1\.weight")


def stripped(
    tensors: Mapping[str, Any], recognized: Callable[[Collection[str]], bool]
) -> Mapping[str, Any]:
    """The tensors under the names that remain without the fewest prefixes of `PREFIXES`.

    Args:
        tensors: by name. Those without the prefix, such as heads, keep their names.
        recognized: whether names are those of a known file.

    Returns:
        The tensors as they are where their names, or no shorter ones, are recognized.

    Raises:
        InputError: two names become one.
    """
    for depth in range(MAX_DEPTH + 1):
        for chain in itertools.product(PREFIXES, repeat=depth):
            prefix = "".join(chain)
            if prefix and not any(name.startswith(prefix) for name in tensors):
                continue
            if recognized({name.removeprefix(prefix) for name in tensors}):
                return _without(tensors, prefix) if prefix else tensors
    return tensors


def _without(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, tensor in tensors.items():
        short = name.removeprefix(prefix)
        if short in found:
            raise InputError(
                f"the file holds both {short!r} and {prefix + short!r}, which are one name without "
                f"{prefix!r}; keep one of them"
            )
        found[short] = tensor
    return found


def rename(names: Collection[str]) -> str:
    """The end of a message about unknown names: how to rename them where they hide a ResNet."""
    for name in names:
        if match := ANY_RESNET.fullmatch(name):
            return (
                f"; they hold a ResNet under the prefix {match[1]!r}: take it off with "
                f"torch.save({{k.removeprefix({match[1]!r}): v for k, v in tensors.items()}}, out)"
                ", and give --only-backbone where other parts remain"
            )
    return ""
