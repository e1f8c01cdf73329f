"""From named torch tensors to a model of ours and back, by the table of a family."""

import collections
import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from data_pipeline.errors import InputError, shorten, suggest
from luperson_jax.augment import recipes
from luperson_jax.augment.recipes import Statistics
from luperson_jax.models import ENCODERS, NetworkSpec
from luperson_jax.weights import momentum, prefixes
from luperson_jax.weights.account import Account, Shape
from luperson_jax.weights.families import FAMILIES, FOREIGN
from luperson_jax.weights.families.slim import averaged
from luperson_jax.weights.model import CLASSIFIER, Model, backbone_path, describe, shapes_of
from luperson_jax.weights.rules import COUNTER, Family

AUTO = "auto"
NUM_SHOWN_KEYS = 6
NOT_ASKED = "not asked for"
WRITES = {
    "backbone": ("luperson",),
    "moco": ("moco",),
    "simclr": ("simclr",),
    "pnl": ("pnl",),
    "reid": ("fastreid", "cluster_contrast", "strong_baseline"),
    "mgn": ("mgn",),
    "parts": ("luperson",),
}
"""The families that take a whole network of ours, the usual one first; of parts none does, and its
backbone is taken, as all others do."""

KINDS = {
    "backbone": "a backbone",
    "moco": "the encoders of MoCo",
    "simclr": "the encoder of SimCLR or SupCont",
    "pnl": "the encoders of PNL",
    "reid": "a re-ID network",
    "mgn": "an MGN",
    "parts": "a network of parts",
}


def family_named(name: str) -> Family:
    """The family of that name, as `--from` and `--to` give it.

    Raises:
        InputError: there is none.
    """
    if name not in FAMILIES:
        raise InputError(f"no family of files is called {name!r}{suggest(name, FAMILIES)}")
    return FAMILIES[name]


def detect(keys: Mapping[str, Any], name: str = AUTO) -> Family:
    """The family that keys belong to.

    Args:
        keys: names of the tensors, without wrapper and `module.`.
        name: the family that the user says it is; "auto" = whichever recognizes them.

    Raises:
        InputError: no family has such names, or another one than the user says, or one whose
            network this program does not have.
    """
    known = [family for family in (*FOREIGN, *FAMILIES.values()) if family.recognizes(keys)]
    if name != AUTO:
        chosen = family_named(name)
        if chosen in known:
            known = [*(one for one in known if one in FOREIGN), chosen]
        else:
            found = f"it looks like {known[0].title}" if known else "its names are unknown"
            raise InputError(
                f"the file is not {chosen.title}: {found} ({_names(keys)}); leave out --from"
                + (f", or give --from {known[0].name}" if known and known[0] not in FOREIGN else "")
            )
    if not known:
        raise InputError(
            f"the names of the {len(keys)} tensors belong to no family of files known here "
            f"({_names(keys)}); known are {', '.join(FAMILIES)}{prefixes.rename(keys)}"
        )
    for expression, reason in known[0].refused:
        if any(re.search(expression, key) for key in keys):
            raise InputError(f"the file is {known[0].title}: {reason}; nothing was converted")
    return known[0]


def without_prefixes(tensors: Mapping[str, np.ndarray], name: str = AUTO) -> Mapping[str, Any]:
    """The tensors without what wrappers put before their names, as far as a family knows them then.

    Args:
        tensors: by torch name.
        name: as in `detect`.
    """
    tensors = averaged(tensors)
    families = (*FOREIGN, *FAMILIES.values()) if name == AUTO else (family_named(name),)

    def recognized(keys: Collection[str]) -> bool:
        return any(family.recognizes(keys) for family in families)

    return prefixes.stripped(tensors, recognized)


def from_torch(
    tensors: Mapping[str, np.ndarray],
    family: str = AUTO,
    *,
    only_backbone: bool = False,
    skip_classifier: bool = False,
    allow_partial: bool = False,
    facts: Mapping[str, Any] | None = None,
    optimizer: Any = None,
) -> Model:
    """Converts the tensors of a file.

    Args:
        tensors: by torch name, without wrapper and `module.`; float32 and integers. What else
            stands before the names is taken off (`prefixes.PREFIXES`).
        family: a name of `FAMILIES`, or "auto".
        only_backbone: leave out everything behind the trunk.
        skip_classifier: leave out the classifier over identities.
        allow_partial: accept missing tensors and unknown keys.
        facts: what else the file told, kept with the model.
        optimizer: `state_dict()` of torch.optim.SGD, with arrays in place of tensors.

    Returns:
        The model, with the account of every tensor and the momentum of a pre-training.

    Raises:
        InputError: an unknown family, a network that this program does not have, or, unless
            `allow_partial`, any tensor missing, unknown or of another shape.
    """
    tensors = without_prefixes(tensors, family)
    chosen = detect(tensors, family)
    found, unknown, left_out, transforms = _apply(chosen, tensors)
    kept = _kept(found, only_backbone, skip_classifier)
    left_out += [(path, NOT_ASKED) for path in found if path not in kept]
    if only_backbone:
        left_out += [(key, NOT_ASKED) for key in unknown if not key.startswith(chosen.trunk)]
        unknown = [key for key in unknown if key.startswith(chosen.trunk)]
    transforms = {kept[path]: name for path, name in transforms.items() if path in kept}
    found = {kept[path]: array for path, array in found.items() if path in kept}
    shapes = {path: array.shape for path, array in found.items()}
    kind = "backbone" if only_backbone else chosen.network
    spec = dataclasses.replace(describe(shapes, kind, chosen.last_stride), strides=chosen.strides)
    account = _account(chosen, spec, shapes, unknown, left_out, transforms)
    if not account.complete and not allow_partial:
        raise InputError(_incomplete(account, spec, chosen))
    goes_on = kind in ENCODERS
    return Model(
        tensors={path: found[path] for path in account.matched},
        spec=spec,
        family=chosen.name,
        pixels=_statistics(chosen, tensors),
        size=chosen.size,
        resize=chosen.resize,
        absent=(*account.missing, *(path for path, *_ in account.reshaped)),
        facts={**(facts or {}), **_counter(tensors)},
        momentum=momentum.read(chosen, tensors, optimizer) if goes_on else {},
        sgd=momentum.settings(optimizer) if goes_on else {},
        source=tensors,
        account=account,
    )


def _kept(paths: Collection[str], only_backbone: bool, skip_classifier: bool) -> dict[str, str]:
    """The path in the model of each tensor that is asked for."""
    if only_backbone:
        return {path: one for path in paths if (one := backbone_path(path))}
    return {path: path for path in paths if not (skip_classifier and path.startswith(CLASSIFIER))}


def to_torch(model: Model, family: str = AUTO) -> tuple[Family, dict[str, np.ndarray]]:
    """Names the tensors of a model as a family does.

    Args:
        model: any; a family that holds backbones only takes its backbone.
        family: a name of `FAMILIES`; "auto" = the one for this kind of network.

    Returns:
        The family, and float32 arrays by torch name, among them PyTorch's batch counters.

    Raises:
        InputError: the family holds another kind of network.
    """
    if model.absent:
        raise InputError(
            "the model lacks tensors that a partial conversion left out, and only a whole one can "
            f"be written ({len(model.absent)} missing):\n  " + "\n  ".join(shorten(model.absent))
        )
    whole = WRITES[model.spec.kind]
    chosen = family_named(whole[0] if family == AUTO else family)
    if chosen.network == "backbone":
        model = model.backbone()
    elif chosen.name not in whole:
        valid = dict.fromkeys((*whole, "luperson", "torchvision"))
        raise InputError(
            f"{chosen.title} cannot hold {KINDS[model.spec.kind]}; expected --to "
            f"{' or '.join(valid)}"
        )
    return chosen, named(model, chosen)


def named(model: Model, family: Family) -> dict[str, np.ndarray]:
    """The tensors of a model, or of a part of one, under the names of a family.

    Raises:
        InputError: the family has no name for some.
    """
    written: dict[str, np.ndarray] = {}
    homeless: list[str] = []
    for path, array in model.tensors.items():
        match = family.name_of(path, model.tensors)
        if match is None:
            homeless.append(path)
        else:
            rule, key = match
            written[key] = np.ascontiguousarray(rule.transform.to_torch(array))
    if homeless:
        raise InputError(
            f"{family.title} has no place for {len(homeless)} tensors:\n  "
            + "\n  ".join(shorten(homeless))
        )
    counter = np.array(model.facts.get(COUNTER, 0), np.int64)
    for key in list(written):
        if key.endswith(".running_mean"):
            written[f"{key.removesuffix('running_mean')}{COUNTER}"] = counter
    written |= _pixels(family, model.pixels)
    return {key: written[key] for key in sorted(written, key=momentum.registered)}


def num_identical(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> tuple[int, int]:
    """How many of the floating tensors that both have agree bit for bit, and how many they are."""
    shared = [key for key in first if key in second and first[key].dtype.kind == "f"]
    same = sum(
        first[key].shape == second[key].shape
        and first[key].tobytes() == second[key].astype(first[key].dtype).tobytes()
        for key in shared
    )
    return same, len(shared)


def _apply(
    family: Family, tensors: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str], list[tuple[str, str]], dict[str, str]]:
    found: dict[str, np.ndarray] = {}
    origin: dict[str, str] = {}
    unknown: list[str] = []
    left_out: list[tuple[str, str]] = []
    transforms: dict[str, str] = {}
    for key, array in tensors.items():
        match = family.place_of(key, array.ndim)
        if match is None:
            reason = _reason(family, key, tensors)
            unknown += [] if reason else [f"{key} {array.shape}"]
            left_out += [(key, reason)] if reason else []
            continue
        rule, path = match
        if path in found:
            raise InputError(f"{key} and {origin[path]} are both {path}; remove one of them")
        found[path], origin[path] = rule.transform.from_torch(array), key
        transforms[path] = rule.transform.name
    return found, unknown, left_out, transforms


def _account(
    family: Family,
    spec: NetworkSpec,
    shapes: Mapping[str, Shape],
    unknown: list[str],
    left_out: list[tuple[str, str]],
    transforms: dict[str, str],
) -> Account:
    expected = shapes_of(spec)
    matched = tuple(path for path in expected if shapes.get(path) == expected[path])
    return Account(
        title=family.title,
        required=len(expected),
        matched=matched,
        missing=tuple(path for path in expected if path not in shapes),
        reshaped=tuple(
            (path, shapes[path], shape)
            for path, shape in expected.items()
            if path in shapes and shapes[path] != shape
        ),
        unknown=(*unknown, *(path for path in shapes if path not in expected)),
        left_out=tuple(left_out),
        transformed=dict(collections.Counter(transforms[path] for path in matched)),
    )


def _incomplete(account: Account, spec: NetworkSpec, family: Family) -> str:
    filled = f"{len(account.matched)} of {account.required} tensors of that network"
    more = f"{len(account.unknown)} tensors of the file have no place in it"
    trunk = any(backbone_path(path) for path in account.missing)
    if spec.kind == "backbone":
        trunk |= bool(account.reshaped) or any(
            key.startswith(family.trunk) for key in account.unknown
        )
    hint = "" if trunk else "; --only-backbone takes the trunk alone"
    return (
        f"the file is {account.title} ({spec}); it fills {filled}, and {more}:\n  "
        + "\n  ".join(shorten(account.problems()))
        + "\n"
        f"only a whole model is taken; luperson convert --allow-partial keeps what fits{hint}"
    )


def _reason(family: Family, key: str, tensors: Mapping[str, np.ndarray]) -> str:
    """Why a complete conversion leaves a tensor behind; empty where it should not."""
    parent, _, leaf = key.rpartition(".")
    if leaf == COUNTER and f"{parent}.running_mean" in tensors:
        return "batch counters of PyTorch"
    return next((why for expression, why in family.left_out if re.search(expression, key)), "")


def _counter(tensors: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The batch counter of the file, where all its normalizations agree."""
    # Older SyncBN and InPlace-ABN write them with shape [1].
    found = (array for key, array in tensors.items() if key.endswith(f".{COUNTER}"))
    counts = {int(array.reshape(())) for array in found if array.size == 1}
    return {COUNTER: counts.pop()} if len(counts) == 1 else {}


def _statistics(family: Family, tensors: Mapping[str, np.ndarray]) -> Statistics | None:
    if "pixel_mean" in tensors and "pixel_std" in tensors:
        mean, std = (
            tuple(float(value) / 255 for value in tensors[name].ravel())
            for name in ("pixel_mean", "pixel_std")
        )
        return Statistics(mean, std)  # type: ignore[arg-type]
    return recipes.statistics(family.statistics) if family.statistics else None


def _pixels(family: Family, statistics: Statistics | None) -> dict[str, np.ndarray]:
    """FastReID keeps the statistics in the model, in 0..255."""
    if not family.pixels or statistics is None:
        return {}
    return {
        f"pixel_{name}": (np.array(values) * 255).astype(np.float32).reshape(1, 3, 1, 1)
        for name, values in zip(("mean", "std"), statistics, strict=True)
    }


def _names(keys: Mapping[str, Any]) -> str:
    shown = list(keys)[:NUM_SHOWN_KEYS]
    return ", ".join(shown) + (", ..." if len(keys) > len(shown) else "")


__all__ = ["AUTO", "detect", "family_named", "from_torch", "num_identical", "to_torch"]
