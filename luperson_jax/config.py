"""From a configuration file to a frozen, typed recipe.

Nothing behind this door sees a ConfigDict: an unknown key, a wrong type or a value outside the
allowed ones ends here with a message that names the nearest valid one.
"""

import ast
import dataclasses
import json
import pathlib
import runpy
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from ml_collections import ConfigDict

from data_pipeline import atomic
from data_pipeline.errors import InputError, suggest


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Backbone and pooling, shared by all methods."""

    arch: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet50"
    width: int = 64  # channels of the first stage; 64 is the published network
    stem: Literal["imagenet", "small"] = "imagenet"
    last_stride: int = 2
    ibn: bool = False
    pooling: Literal["avg", "max", "gem", "gem_learned"] = "avg"
    bn_group_size: int = 0  # images that share BatchNorm statistics; 0 = the whole batch
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 off the CPU


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What is read and how it is put into batches."""

    dataset: str = "market1501"
    root: str = ""  # one folder, or several separated by commas
    split: int = 0  # which of the published divisions, of sets that have several
    subset: Literal[
        "", "ids", "images", "cmpe_finetune", "cmpe_pretrain", "cmpe_pretrain_published"
    ] = ""  # a part of the training set: few identities, few images, CMPE597's protocol
    ratio: float = 1.0  # share that the subset keeps
    subset_list: str = ""  # file that names it; empty = found beside the data, or drawn
    subset_seed: int = 0  # of the draw; apart from train.seed, so that seeds share a subset
    repeat: int = 1  # how often each image stands in an epoch
    canvas: tuple[int, int] = (256, 128)  # height and width that the host resizes to
    resize: Literal["bicubic", "bilinear"] = "bicubic"
    size: tuple[int, int] = (256, 128)  # height and width that the network sees
    batch_size: int = 64  # images per step, over all devices
    sampler: Literal["shuffled", "pk", "pk_camera"] = "shuffled"
    num_instances: int = 4  # images per identity with the samplers pk and pk_camera
    unreadable: Literal["error", "skip"] = "error"
    num_workers: int = 2
    worker_kind: Literal["threads", "processes"] = "threads"
    prefetch: int = 4  # batches decoded ahead


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Views drawn on the device, by the names of the papers."""

    recipe: str = "finetune"
    statistics: str = "imagenet"  # mean and standard deviation of the pixels


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Optimizer, schedule and what is frozen; all durations in epochs."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["cosine_per_epoch", "step_per_epoch", "warmup_multistep"] = "cosine_per_epoch"
    warmup_epochs: int = 0
    warmup_factor: float = 0.01
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    bias_lr_multiplier: float = 1.0
    freeze_backbone_epochs: int = 0  # fine-tuning: the first epochs train the head alone


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length of the run, what it starts from and what it leaves behind."""

    epochs: int = 200
    seed: int = 0
    init_from: str = ""  # workdir, .npz or PyTorch file whose backbone this run starts from
    log_every_steps: int = 50
    checkpoint_every_epochs: int = 1
    checkpoint_every_steps: int = 0  # 0 = at the ends of epochs only
    keep_checkpoints: int = 2  # the newest ones; the best one by eval mAP is kept besides


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Query and gallery that the run is measured on."""

    dataset: str = ""  # empty = no evaluation
    root: str = ""
    split: int = 0
    every_epochs: int = 0  # 0 = after the last epoch only
    batch_size: int = 64
    metric: Literal["cosine", "euclidean"] = "cosine"
    checkpoint: Literal["last", "best"] = "last"  # what --mode eval reads


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One run, completely. `task` is the `Options` of the method that `task.name` names."""

    model: ModelConfig
    task: Any
    data: DataConfig
    augment: AugmentConfig
    optim: OptimConfig
    train: TrainConfig
    eval: EvalConfig


MAY_CHANGE = (
    "data.root",
    "task.embedding",
    "data.num_workers",
    "data.worker_kind",
    "data.prefetch",
    "train.init_from",
    "train.log_every_steps",
    "train.checkpoint_every_epochs",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "eval",
)
"""Settings that may differ when a run is resumed: they do not change its parameters."""

MAY_CHANGE_IN_EVALUATION = (
    *MAY_CHANGE,
    "table",
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
    "data.canvas",
    "data.resize",
    "data.batch_size",
    "data.sampler",
    "data.num_instances",
    "data.unreadable",
)
"""Settings that may differ when a run is evaluated: its features do not depend on them, or, as with
`task.embedding`, the choice is free."""

RECIPE_FILE = "recipe.json"


AT_LEAST = {
    "model.width": 1,
    "model.bn_group_size": 0,
    "data.batch_size": 1,
    "data.split": 0,
    "data.subset_seed": 0,
    "data.repeat": 1,
    "data.num_instances": 1,
    "data.canvas": 1,
    "data.size": 1,
    "data.num_workers": 0,
    "data.prefetch": 1,
    "optim.lr": 0,
    "optim.weight_decay": 0,
    "optim.warmup_epochs": 0,
    "optim.freeze_backbone_epochs": 0,
    "train.epochs": 1,
    "train.seed": 0,
    "train.log_every_steps": 1,
    "train.checkpoint_every_epochs": 1,
    "train.checkpoint_every_steps": 0,
    "train.keep_checkpoints": 1,
    "eval.every_epochs": 0,
    "eval.batch_size": 1,
    "eval.split": 0,
}
"""The least value of settings that have one; 0 turns a feature off."""


def resolve(config: ConfigDict | Mapping[str, Any], options: Mapping[str, type]) -> Recipe:
    """The recipe that a configuration describes.

    Args:
        config: nested mapping with the groups of `Recipe`; what it leaves out keeps its default.
        options: the `Options` dataclass of every method, by the name that `task.name` may have.

    Raises:
        InputError: unknown key, wrong type, value outside the allowed ones, impossible numbers.
    """
    tree = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    task = dict(tree.pop("task", {}))
    name = task.pop("name", None)
    if name not in options:
        raise InputError(f"task.name is {name!r}{suggest(str(name), options)}")
    groups = {field.name: field.type for field in dataclasses.fields(Recipe)}
    unknown = [key for key in tree if key not in groups]
    if unknown:
        raise InputError(f"unknown configuration group {unknown[0]!r}{suggest(unknown[0], groups)}")
    built = {
        group: _build(typing.cast(type, kind), tree.get(group, {}), group)
        for group, kind in groups.items()
        if group != "task"
    }
    recipe = Recipe(task=_build(options[name], task, "task"), **built)
    _check_numbers(recipe)
    return recipe


def load_file(path: str, argument: str | None = None) -> ConfigDict:
    """The ConfigDict that `get_config()` of a configuration file returns."""
    if not pathlib.Path(path).is_file():
        raise InputError(f"configuration {path!r} does not exist; those shipped are in configs/")
    get_config = runpy.run_path(path)["get_config"]
    return get_config(argument) if argument is not None else get_config()


def read(chosen: str, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The settings of a configuration file with changes.

    Args:
        chosen: FILE, or FILE:ARGUMENT.
        changes: `group.setting=value` each; the value a Python literal or a plain word.

    Raises:
        InputError: no such file, an argument that it does not take, a change without a value.
    """
    path, _, argument = chosen.partition(":")
    try:
        tree = load_file(path, argument or None).to_dict()
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} does not take the argument {argument!r}: {error}") from error
    for change in changes:
        name, equals, text = change.partition("=")
        group, _, setting = name.partition(".")
        if not equals or not setting:
            raise InputError(f"--set {change}: expected GROUP.SETTING=VALUE")
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            value = text  # a plain word
        tree.setdefault(group, {})[setting] = value
    return tree


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as nested dicts that JSON holds; `resolve` reads it back."""
    tree = dataclasses.asdict(recipe)
    tree["task"] = {"name": recipe.task.name, **tree["task"]}
    return json.loads(json.dumps(tree))


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


def check_workdir(
    recipe: Recipe,
    written: Mapping[str, Any],
    folder: pathlib.Path,
    may_change: Collection[str] = MAY_CHANGE,
) -> None:
    """Raises InputError where the workdir holds checkpoints of another recipe.

    A setting that the workdir's recipe lacks, because it was not there yet when the run began,
    counts as its default.

    Args:
        recipe: of the run here.
        written: what `write` would write.
        folder: the workdir.
        may_change: settings, or whole groups, that may differ.
    """
    path = folder / RECIPE_FILE
    if not path.is_file() or not any(folder.glob("checkpoints/[0-9]*")):
        return
    try:
        former = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}; delete it or restore it") from error
    for field in dataclasses.fields(Recipe):
        defaults = dataclasses.asdict(type(getattr(recipe, field.name))())
        former[field.name] = json.loads(json.dumps(defaults)) | former.get(field.name, {})
    lines = differences(former, written, may_change)
    if lines:
        raise InputError(
            f"{folder} belongs to a run with another recipe:\n  " + "\n  ".join(lines) + "\n"
            "give another --workdir, or the configuration that this one was started with"
        )


def write(written: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Writes a recipe to a workdir, whole or not at all: its process may be killed meanwhile."""
    with atomic.replacing(folder / RECIPE_FILE) as part:
        part.write_text(json.dumps(written, indent=2) + "\n")


def _build(kind: type, values: Any, path: str) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"{path} must be a group of settings, not {values!r}")
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in names:
            raise InputError(f"unknown setting {path}.{key}{suggest(key, names)}")
    return kind(
        **{key: _convert(value, hints[key], f"{path}.{key}") for key, value in values.items()}
    )


def _convert(value: Any, hint: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            names = [str(choice) for choice in arguments]
            raise InputError(f"{path} is {value!r}{suggest(str(value), names)}")
        return value
    if origin is tuple:
        if not isinstance(value, tuple | list):
            raise InputError(f"{path} must be a list, not {value!r}")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise InputError(f"{path} must have {len(kinds)} values, not {value!r}")
        pairs = enumerate(zip(value, kinds, strict=True))
        return tuple(_convert(item, kind, f"{path}[{i}]") for i, (item, kind) in pairs)
    if hint is float and type(value) in (int, float):
        return float(value)
    if type(value) is not hint:
        raise InputError(f"{path} must be {hint.__name__}, not {value!r} ({type(value).__name__})")
    return value


def _check_numbers(recipe: Recipe) -> None:
    data, model = recipe.data, recipe.model
    for path, least in AT_LEAST.items():
        group, setting = path.split(".")
        value = getattr(getattr(recipe, group), setting)
        if (min(value) if isinstance(value, tuple) else value) < least:
            raise InputError(f"{path} must be at least {least}, not {value}")
    if model.last_stride not in (1, 2):
        raise InputError(f"model.last_stride must be 1 or 2, not {model.last_stride}")
    if model.bn_group_size and data.batch_size % model.bn_group_size:
        raise InputError(
            f"data.batch_size={data.batch_size} is not divisible by "
            f"model.bn_group_size={model.bn_group_size}: BatchNorm needs groups of equal size; "
            "change one of the two (0 makes the whole batch one group)"
        )
