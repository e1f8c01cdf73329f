"""From a configuration file to a frozen, typed recipe.

Nothing behind this door sees a ConfigDict: an unknown key, a wrong type or a value outside the
allowed ones ends here with a message that names the nearest valid one.
"""

import dataclasses
import json
import runpy
import traceback
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ml_collections import ConfigDict

from data_pipeline.errors import InputError, suggest
from luperson_jax import recipe_checks, shipped
from luperson_jax.setting_values import Names, checked, suggest_setting, typed


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Backbone and pooling, shared by all methods."""

    arch: str = "resnet50"  # one of models.ARCHITECTURES
    width: int = 64  # channels of the first stage; 64 is the published network
    stem: Literal["imagenet", "small"] = "imagenet"
    last_stride: int = 2
    strides: Literal["torchvision", "slim"] = "torchvision"  # slim: as TensorFlow-slim's ResNets
    ibn: bool = False
    non_local: bool = False  # non-local blocks, as AGW and SBS have them
    pooling: Literal["avg", "max", "gem", "gem_learned"] = "avg"
    bn_group_size: int = 0  # images that share BatchNorm statistics; 0 = the whole batch
    bn_momentum: float = 0.1  # weight of a batch in the running statistics of the backbone
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
    camera: int = -1  # only its images; -1 = those of all cameras
    canvas: tuple[int, int] = (256, 128)  # height, width that the host resizes to; (0, 0) = chosen
    resize: Literal["bicubic", "bilinear", "bilinear_tf1"] = "bicubic"
    size: tuple[int, int] = (256, 128)  # height and width that the network sees
    batch_size: int = 64  # images per step, over all devices
    weights: tuple[float, ...] = ()  # of several: ratio of their images; empty = all in turn
    sampler: Literal["shuffled", "tracklets", "pk", "pk_camera", "pk_across"] = "shuffled"
    num_instances: int = 4  # images per identity with the samplers pk
    strided_groups: bool = False  # pk: a BatchNorm group holds every n-th image, not a run of them
    unreadable: Literal["error", "skip"] = "error"
    num_workers: int = 2
    worker_kind: Literal["threads", "processes"] = "threads"
    prefetch: int = 4  # batches decoded ahead


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Views drawn on the device, by the names of the papers."""

    recipe: str = "finetune"
    statistics: str = "imagenet"  # mean and deviation of the pixels; of several data sets, with +


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Optimizer, schedule and what is frozen; durations in epochs but where they say steps."""

    optimizer: Literal["sgd", "adam", "lars", "rmsprop"] = "sgd"
    lr: float = 0.3
    momentum: float = 0.9  # of sgd, lars and rmsprop
    nesterov: bool = False  # of sgd: the step looks ahead by the momentum
    weight_decay: float = 1e-4
    schedule: Literal[
        "cosine_per_epoch",
        "step_per_epoch",
        "warmup_multistep",
        "flat_cosine",
        "multistep_after_warmup",
        "flat_cosine_per_epoch",
    ] = "cosine_per_epoch"
    warmup_epochs: int = 0
    warmup_steps: int = 0  # in place of warmup_epochs, for schedules that warm up by step
    warmup_factor: float = 0.01
    peak_multiplier: float = 1.0  # of the two per epoch: what the rate warms up to, over lr
    hold_lr_from_epoch: int = 0  # where the rate stops to move, as in LARS runs that were resumed
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    flat_epochs: int = 0  # of flat_cosine: where the cosine begins, from the start of the run
    final_lr: float = 0.0  # of flat_cosine
    # Of the parameters whose path a regular expression is found in; factors of several multiply.
    lr_factors: tuple[tuple[str, float], ...] = ()
    decay_factors: tuple[tuple[str, float], ...] = ()  # of weight_decay; not of lars
    lars_excluded: str = "(^|/)(scale|bias|p)$"  # neither decayed nor adapted: normalization, GeM
    lars_decay_twice: bool = True  # as LUPerson's code has it; False = the paper's rule
    freeze: tuple[str, ...] = ("^backbone/",)  # paths of parameters, as in lr_factors
    freeze_epochs: int = 0  # how long these stand still at the start
    freeze_steps: int = 0  # in place of freeze_epochs
    freeze_statistics: bool = True  # BatchNorm of frozen parts stands still as well
    micro_batches: int = 1  # parts in which a batch is encoded, to save memory; the result stays
    shard_state: bool = False  # each device holds a part of the moments; the result stays
    clip_norm: float = 0.0  # largest norm of the whole gradient; 0 = not clipped
    clip_value: float = 0.0  # of sgd and rmsprop: largest entry, after the decay; 0 = not clipped


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length of the run, what it starts from and what it leaves behind."""

    epochs: int = 200
    steps_per_epoch: int = 0  # 0 = training images / data.batch_size, rounded down
    seed: int = 0
    init_from: str = ""  # workdir, .npz or PyTorch file whose backbone this run starts from
    log_every_steps: int = 50
    checkpoint_every_epochs: int = 1
    checkpoint_every_steps: int = 0  # 0 = at the ends of epochs only
    keep_checkpoints: int = 2  # the newest ones; the best one is kept besides
    best: str = ""  # figure that the best one has the highest of; empty = mAP of eval.dataset
    average: Literal["", "ema", "swa"] = ""  # of the weights and statistics, kept beside them
    ema_decay: float = 0.999  # what an exponential average keeps of itself; less at the start
    swa_start_epoch: int = 0  # epochs before the first whose end is averaged


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
    weights: Literal["online", "average"] = "online"  # average: that of train.average
    flip: bool = False  # mean of the features of a picture and of its mirror image
    probes: tuple[Literal["knn", "collapse", "trapezoid"], ...] = ()  # measured beside the ranking
    pool: Literal["auto", "mean", "max", "none"] = "auto"  # of frames; auto: mean of each tracklet


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
    kinds = _kinds(name, options)
    for group in tree:
        _check_group(group, kinds)
    names = {group: _hints(kind) for group, kind in kinds.items()}
    tree["task"] = task
    built = {
        group: _build(kind, tree.get(group, {}), group, names) for group, kind in kinds.items()
    }
    recipe = Recipe(**built)
    recipe_checks.check(recipe)
    return recipe


def override(tree: Mapping[str, Any], change: str, options: Mapping[str, type]) -> dict[str, Any]:
    """The settings with one of them changed by text, as a command line gives it.

    Args:
        tree: nested mapping with the groups of `Recipe`; it stays as it is.
        change: `group.setting=value`; the value takes the type of the setting, so that `2024` is a
            text for `data.root` and a number for `train.epochs`. Several values are separated by
            commas, in brackets or not.
        options: as for `resolve`.

    Raises:
        InputError: no such setting, or a value of another type.
    """
    setting, equals, text = change.partition("=")
    group, _, key = setting.partition(".")
    if not equals or not key:
        raise InputError(f"{change}: expected GROUP.SETTING=VALUE, such as optim.lr=0.1")
    settings = dict(tree.get(group, {}))
    if setting == "task.name":
        return {**tree, group: settings | {key: text}}
    kinds = _kinds(tree.get("task", {}).get("name"), options)
    _check_group(group, kinds)
    names = {one: _hints(kind) for one, kind in kinds.items()}
    _check_key(key, group, names)
    return {**tree, group: settings | {key: typed(text, names[group][key], setting)}}


def load_file(path: str, argument: str | None = None) -> ConfigDict:
    """The ConfigDict that `get_config()` of a configuration file returns.

    Raises:
        InputError: no such file, one that fails, or an argument that it does not take.
    """
    path = shipped.find(path)
    given = [] if argument is None else [argument]
    try:
        return runpy.run_path(path)["get_config"](*given)
    except InputError:
        raise
    except Exception as error:  # a configuration is a program and may raise anything
        lines = [
            at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == path
        ]
        if argument is not None and (not lines or isinstance(error, ValueError)):
            raise InputError(f"{path} does not take the argument {argument!r}: {error}") from error
        where = f" in line {lines[-1]}" if lines else ""
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"configuration {path} fails{where} ({reason}); expected a Python file with a function "
            "get_config()"
        ) from error


def read(
    chosen: str, changes: Sequence[str] = (), *, options: Mapping[str, type]
) -> dict[str, Any]:
    """The settings of a configuration file with changes.

    Args:
        chosen: FILE or FILE:ARGUMENT; a shipped one by its name alone.
        changes: `group.setting=value` each; see `override`.
        options: as for `resolve`.

    Raises:
        InputError: no such file, an argument that it does not take, a wrong change.
    """
    path, _, argument = chosen.partition(":")
    tree = load_file(path, argument or None).to_dict()
    for change in changes:
        tree = override(tree, change, options)
    return tree


def best_figure(recipe: Recipe) -> str:
    """The name of the figure by which a checkpoint is the best; empty where nothing is measured."""
    return recipe.train.best or (f"{recipe.eval.dataset}/mAP" if recipe.eval.dataset else "")


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as nested dicts that JSON holds; `resolve` reads it back."""
    tree = dataclasses.asdict(recipe)
    tree["task"] = {"name": recipe.task.name, **tree["task"]}
    return json.loads(json.dumps(tree))


def _kinds(task: Any, options: Mapping[str, type]) -> dict[str, type]:
    """The dataclass of every group, where the method is `task`."""
    if task not in options:
        raise InputError(f"task.name is {task!r}{suggest(str(task), options)}")
    groups = {field.name: typing.cast(type, field.type) for field in dataclasses.fields(Recipe)}
    return groups | {"task": options[task]}


def _hints(kind: type) -> dict[str, Any]:
    """The type of every setting of a group."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _check_group(group: str, kinds: Mapping[str, type]) -> None:
    if group not in kinds:
        raise InputError(f"unknown configuration group {group!r}{suggest(group, kinds)}")


def _check_key(key: str, group: str, names: Names) -> None:
    if key not in names[group]:
        raise InputError(f"unknown setting {group}.{key}{suggest_setting(group, key, names)}")


def _build(kind: type, values: Any, path: str, names: Mapping[str, Mapping[str, Any]]) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"{path} must be a group of settings, not {values!r}")
    for key in values:
        _check_key(key, path, names)
    return kind(
        **{key: checked(value, names[path][key], f"{path}.{key}") for key, value in values.items()}
    )
