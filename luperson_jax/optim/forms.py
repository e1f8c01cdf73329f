"""One optimizer's state under the names that other settings give it.

Clipping, and rates for parts of the parameters, wrap the optimizer, and each wrapping puts a word
in front of the names of its moments. A run may begin or end to use them while it goes on: the
moments are the same.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from luperson_jax.config import OptimConfig

CLIPPED, BY_PART = "1.", "0."
COUNT = "0.count"
"""Of the updates that clipping has seen."""


def others(moments: Mapping[str, Any], options: OptimConfig) -> list[dict[str, Any]]:
    """The same moments as runs with the other choices of clipping and of rates by part name them.

    Args:
        moments: [name] -> array or shape, of an optimizer of these options.
        options: the group `optim`.
    """
    count = next(leaf for name, leaf in moments.items() if name.endswith("count"))
    return [
        {other: moments[own] for own, other in names.items()} | dict.fromkeys(added, count)
        for names, added in _renamings(moments, options)
    ]


def take_over(
    found: Mapping[str, Any], like: Mapping[str, Any], options: OptimConfig, num_updates: int
) -> dict[str, Any]:
    """Moments in the form of these options.

    Args:
        found: in this form, or in one of `others`.
        like: names of this form.
        options: the group `optim`.
        num_updates: how many there were.
    """
    if found.keys() == like.keys():
        return dict(found)
    for names, added in _renamings(like, options):
        if found.keys() == {*names.values(), *added}:
            taken = {own: found[other] for own, other in names.items()}
            return dict.fromkeys(like, np.int32(num_updates)) | taken
    raise AssertionError(f"moments of another optimizer: {sorted(found)[:3]}")


def _renamings(
    names: Iterable[str], options: OptimConfig
) -> list[tuple[dict[str, str], tuple[str, ...]]]:
    """For each other form: [name here] -> name there, and the names that only it has."""
    by_part = options.bias_lr_multiplier != 1 or options.head_lr_multiplier != 1
    own = (bool(options.clip_norm), by_part)
    start = _start(*own)
    kept = [name for name in names if not (own[0] and name == COUNT)]
    forms = [(clipped, parted) for clipped in (False, True) for parted in (False, True)]
    return [
        (
            {
                name: _start(*form) + name[len(start) :] if name.startswith(start) else name
                for name in kept
            },
            (COUNT,) if form[0] else (),
        )
        for form in forms
        if form != own
    ]


def _start(clipped: bool, by_part: bool) -> str:
    return (CLIPPED if clipped else "") + (BY_PART if by_part else "")
