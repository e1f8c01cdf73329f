"""The recipe that a workdir holds: written once, and compared when its run goes on."""

import dataclasses
import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import jax

from data_pipeline.errors import InputError
from data_pipeline.read import atomic, listing
from luperson_jax import folder_kinds, sharding
from luperson_jax.config import Recipe, to_dict
from luperson_jax.workdir import saved_steps

CHANGEABLE_OF_OPTIM = (
    *("lr", "momentum", "weight_decay", "clip_norm", "clip_value", "lr_factors", "decay_factors"),
    *("schedule", "warmup_epochs", "warmup_factor", "milestones", "gamma", "flat_epochs"),
    *("final_lr", "lars_excluded", "lars_decay_twice", "peak_multiplier", "hold_lr_from_epoch"),
    "shard_state",
)
"""The others make another state of the optimizer, or count its updates otherwise."""

MAY_CHANGE = (
    "data.root",
    "task.embedding",
    "data.num_workers",
    "data.worker_kind",
    "data.prefetch",
    *(f"optim.{name}" for name in CHANGEABLE_OF_OPTIM),
    "train.init_from",
    "train.log_every_steps",
    "train.checkpoint_every_epochs",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "eval",
)
"""Settings that may differ when a run is resumed: they do not change its parameters, or are there
to steer it, as the learning rate. The run then says what has changed."""

MAY_CHANGE_IN_EVALUATION = (
    *MAY_CHANGE,
    "table",
    "network",
    "optim",
    "train",
    "task.embedding",
    "augment.recipe",
    "data.dataset",
    "data.split",
    "data.subset",
    "data.ratio",
    "data.subset_list",
    "data.subset_seed",
    "data.repeat",
    "data.camera",
    "data.canvas",
    "data.batch_size",
    "data.sampler",
    "data.num_instances",
    "data.strided_groups",
    "data.unreadable",
)
"""Settings that may differ when a run is evaluated: its features do not depend on them, or, as with
`task.embedding`, the choice is free."""

PLACES = ("data.root", "data.subset_list", "eval.root", "train.init_from")
"""Settings that may differ between the processes of a job, whose machines may keep the same files
in different places."""

RECIPE_FILE = "recipe.json"
FACTS = ("table", "network")
"""Groups of the file that are no settings: which pictures were trained on, and what network."""

FORMER_SETTINGS = {"optim.freeze_backbone_epochs": 0}
"""Settings that files of earlier versions hold and this one has no more, with the value that turned
them off. A run that used one cannot go on: what it asked for is written otherwise."""


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], may_change: Collection[str] = MAY_CHANGE
) -> list[str]:
    """Settings that differ between two recipes as dicts and are not among those that may."""
    lines = []
    for group in sorted({*old, *new}):
        before, after = old.get(group, {}), new.get(group, {})
        for key in sorted({*before, *after}):
            path = f"{group}.{key}"
            if before.get(key) != after.get(key) and not {group, path} & set(may_change):
                lines.append(f"{path}: {before.get(key)!r} there, {after.get(key)!r} here")
    return lines


def check_alike(recipe: Recipe) -> None:
    """Raises InputError where the processes of a job have other settings, names of places apart:
    what lies there is compared when it is read."""
    facts = {}
    for group, settings in to_dict(recipe).items():
        shared = {key: one for key, one in settings.items() if f"{group}.{key}" not in PLACES}
        facts[f"the settings of the group {group}"] = json.dumps(shared, sort_keys=True)
    sharding.check_alike(facts)


def check_workdir(
    recipe: Recipe,
    written: Mapping[str, Any],
    folder: pathlib.Path,
    may_change: Collection[str] = MAY_CHANGE,
) -> None:
    """Raises InputError where the workdir holds checkpoints of another recipe, or of nobody knows
    which.

    A setting that the workdir's recipe lacks, because it was not there yet when the run began,
    counts as its default; one that is no more is passed over where it was off.

    Args:
        recipe: of the run here.
        written: what `write` would write.
        folder: the workdir.
        may_change: settings, or whole groups, that may differ.
    """
    if not saved_steps.of(folder):
        return
    if not listing.is_file(folder / RECIPE_FILE):
        raise InputError(
            f"{folder} holds checkpoints and no {RECIPE_FILE}, so that nobody can tell whether "
            f"they belong to this recipe; put back the {RECIPE_FILE} that was written with them, "
            "or give another --workdir"
        )
    lines = differences(_with_defaults(read(folder), recipe), written, may_change)
    if lines:
        raise InputError(
            f"{folder} belongs to a run with another recipe:\n  " + "\n  ".join(lines) + "\n"
            "give another --workdir, or the configuration that this one was started with"
        )


def changes(recipe: Recipe, written: Mapping[str, Any], folder: pathlib.Path) -> list[str]:
    """Settings that the run which goes on in this workdir has otherwise than so far."""
    if not saved_steps.of(folder):
        return []
    return differences(_with_defaults(read(folder), recipe), written, may_change=())


def _with_defaults(former: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    for field in dataclasses.fields(Recipe):
        defaults = dataclasses.asdict(type(getattr(recipe, field.name))())
        former[field.name] = json.loads(json.dumps(defaults)) | former.get(field.name, {})
    return former


def read(folder: pathlib.Path) -> dict[str, Any]:
    """What a workdir's recipe file holds, without settings that are no more and were off.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / RECIPE_FILE
    listing.check_opens(path)
    try:
        former = json.loads(path.read_text())
    except OSError as error:
        end = folder_kinds.told(folder, "give the folder of a run")
        raise InputError(
            f"{folder} is no workdir: cannot read {path} ({error.strerror}); {end}"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path} is damaged: {error}; put back the file that was written with the checkpoints "
            "(a copy of it, or that of a run started alike), or give another --workdir"
        ) from error
    if not isinstance(former, dict) or not all(isinstance(one, dict) for one in former.values()):
        raise InputError(
            f"{path} holds no groups of settings but {str(former)[:80]!r}; restore it from a copy"
        )
    for name, off in FORMER_SETTINGS.items():
        group, setting = name.split(".")
        if former.get(group, {}).get(setting) == off:
            del former[group][setting]
    return former


def settings(folder: pathlib.Path) -> dict[str, Any]:
    """What a workdir's recipe file holds for `config.resolve`; see `read`."""
    return {group: one for group, one in read(folder).items() if group not in FACTS}


def write(written: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Makes the workdir and writes a recipe to it, whole or not at all: its process may be killed
    meanwhile. Of several processes the first writes.

    Raises:
        InputError: the system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            atomic.write_text(folder / RECIPE_FILE, json.dumps(written, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"cannot write to the workdir {str(folder)!r}: {error}") from error
