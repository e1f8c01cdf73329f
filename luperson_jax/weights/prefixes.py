"""What wrappers of other programs put before the names of a network, taken off."""

import itertools
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from data_pipeline.errors import InputError

PREFIXES = ("_orig_mod.", "module.", "model.", "base.", "backbone.", "encoder_q.0.", "network.")
"""Of torch.compile, DataParallel, Lightning, reid-strong-baseline, lightly, encoders in a
`nn.Sequential`, and wrappers around those."""

PARALLEL = "module."  # torch.nn.DataParallel puts it before every name
COMPILED = re.compile(r"(^|\.)_orig_mod\.")  # torch.compile, before those of the compiled part
MAX_DEPTH = 3
ANY_RESNET = re.compile(r"(.+\.)layer1\.0\.conv1\.weight")


def unwrapped(tensors: Mapping[str, Any], path: object) -> dict[str, Any]:
    """The tensors of a file without what PyTorch itself puts before names, or into them.

    Raises:
        InputError: two names become one; it names `path`.
    """

    def shorten(name: str) -> str:
        name = COMPILED.sub(r"\1", name)
        while name.startswith(PARALLEL):
            name = name.removeprefix(PARALLEL)
        return name

    return _renamed(tensors, shorten, PARALLEL, str(path))


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
    return _renamed(tensors, lambda name: name.removeprefix(prefix), prefix, "the file")


def _renamed(
    tensors: Mapping[str, Any], shorten: Callable[[str], str], prefix: str, where: str
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name, tensor in tensors.items():
        short = shorten(name)
        if short in found:
            first, second = sorted((origin[short], name), key=len)
            raise InputError(
                f"{where} holds both {first!r} and {second!r}, which are one name without "
                f"{prefix!r}; keep one of them"
            )
        found[short], origin[short] = tensor, name
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
