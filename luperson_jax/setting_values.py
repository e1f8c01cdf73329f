"""Names and values of settings: values of files are checked strictly, text of a command line takes
the type of its setting, and words of other programs are answered with the name used here."""

import ast
import difflib
import math
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal

from data_pipeline.errors import InputError, suggest

Names = Mapping[str, Collection[str]]
"""The settings of every group."""

SYNONYMS = {
    "model.arch": "backbone network_depth depth net model_name",
    "model.pooling": "pool pool_layer pool_type gem",
    "model.ibn": "with_ibn ibn_a",
    "model.non_local": "with_nl nonlocal",
    "model.last_stride": "stride",
    "model.bn_group_size": "num_groups bn_size ghost_size",
    "model.compute_dtype": "amp fp16 bf16 precision dtype mixed_precision",
    "task.name": "method",
    "task.label_smoothing": "smoothing label_smooth epsilon smooth",
    "task.temperature": "tau temp moco_t nce_t",
    "task.queue_size": "queue moco_k queue_length nce_k",
    "task.momentum": "moco_m ema_momentum",
    "task.feature_dim": "moco_dim dim proj_dim",
    "task.embedding_dim": "embed_dim feat_dim features",
    "data.dataset": "names name dataset_name data_set",
    "data.root": "data_dir datadir dataset_dir data_path data_root path dir folder",
    "data.size": "img_size image_size input_size size_train crop_size resolution",
    "data.batch_size": "batchsize batch bs ims_per_batch images_per_batch batch_size_per_gpu",
    "data.num_instances": "num_instance instances k",
    "data.num_workers": "workers n_workers num_threads worker",
    "augment.recipe": "transforms transform aug augmentation",
    "augment.statistics": "mean std pixel_mean pixel_std normalize stats",
    "optim.optimizer": "optimizer_name opt",
    "optim.lr": "learning_rate base_lr learningrate initial_lr",
    "optim.final_lr": "eta_min eta_min_lr min_lr",
    "optim.weight_decay": "wd decay l2",
    "optim.schedule": "scheduler lr_scheduler sched lr_schedule cos",
    "optim.milestones": "steps step_size lr_steps",
    "optim.warmup_epochs": "warmup warmup_iters warmup_steps",
    "optim.lr_factors": "bias_lr_factor heads_lr_factor bias_lr_multiplier head_lr_multiplier",
    "optim.freeze_epochs": "freeze_iters freeze_backbone_epochs",
    "optim.micro_batches": "accumulate_steps gradient_accumulation_steps grad_accum iter_size",
    "optim.shard_state": "zero zero1 zero_stage fsdp shard_optimizer",
    "optim.clip_norm": "clip_grad grad_clip max_norm clip_gradients max_grad_norm",
    "train.steps_per_epoch": "iters train_iters iters_per_epoch num_iters",
    "train.epochs": "max_epoch max_epochs num_epochs n_epochs epoch",
    "train.seed": "random_seed rng_seed",
    "train.init_from": "pretrained pretrain_path pretrained_path init resume checkpoint_path",
    "train.log_every_steps": "log_period print_freq log_freq log_interval",
    "train.checkpoint_every_epochs": "checkpoint_period save_freq save_every",
    "train.average": "ema swa",
    "eval.every_epochs": "eval_period eval_freq eval_step",
    "eval.flip": "flip_test flip_enabled",
}
"""What other programs call a setting."""
_MEANT = {word: setting for setting, words in SYNONYMS.items() for word in words.split()}

RULES = tuple[tuple[str, float], ...]
"""Patterns for paths of parameters, each with a factor; as text `bias$:2,classifier:10`."""

TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def checked(value: Any, hint: Any, path: str) -> Any:
    """A value of a configuration file or of JSON, as its setting keeps it; nothing is guessed.

    Args:
        value: as given.
        hint: type of the setting.
        path: its name, for messages.

    Raises:
        InputError: another type, or not one of the values that are allowed.
    """
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
        return tuple(checked(item, kind, f"{path}[{i}]") for i, (item, kind) in pairs)
    if hint is float and type(value) in (int, float):
        if not math.isfinite(value):
            raise InputError(f"{path} must be a finite number, not {value!r}")
        return float(value)
    if type(value) is not hint:
        raise InputError(f"{path} must be {hint.__name__}, not {value!r} ({type(value).__name__})")
    return value


def typed(text: str, hint: Any, setting: str) -> Any:
    """The value that a text stands for.

    Args:
        text: as typed: `2024`, `true`, `0.1`, `a word`, `40,90` or `(40, 90)`.
        hint: type of the setting.
        setting: its name, for messages.

    Raises:
        InputError: it is no such value.
    """
    if hint is str or typing.get_origin(hint) is Literal:
        return _unquoted(text)
    if hint == RULES:
        return _rules(text, setting)
    if typing.get_origin(hint) is tuple:
        return _several(text, typing.get_args(hint), setting)
    try:
        return TRUTH[text.strip().lower()] if hint is bool else hint(text)
    except (KeyError, ValueError) as error:
        kinds = {bool: "True or False", int: "a whole number", float: "a number"}
        raise InputError(f"{setting}={text}: expected {kinds[hint]}") from error


def _rules(text: str, setting: str) -> tuple[tuple[str, float], ...]:
    rules = []
    for part in filter(None, (part.strip() for part in text.strip("()[]").split(","))):
        pattern, colon, factor = part.rpartition(":")
        if not colon:
            raise InputError(f"{setting}={text}: expected PATTERN:FACTOR, such as bias$:2")
        rules.append((pattern, typed(factor, float, setting)))
    return tuple(rules)


def _several(text: str, arguments: tuple[Any, ...], setting: str) -> tuple[Any, ...]:
    inner = text.strip()
    if inner[:1] + inner[-1:] in ("()", "[]"):
        inner = inner[1:-1]
    if arguments == (int, int):
        inner = inner.replace("x", ",")  # 256x128
    parts = [part.strip() for part in inner.split(",")]
    if parts[-1] == "":  # "(40,)", or nothing at all
        parts = parts[:-1]
    if arguments[-1] is not Ellipsis and len(parts) != len(arguments):
        raise InputError(f"{setting}={text}: expected {len(arguments)} values, such as 256,128")
    return tuple(typed(part, arguments[0], setting) for part in parts)


def _unquoted(text: str) -> str:
    """Without the quotes of a Python string, where it is one."""
    if text[:1] not in ("'", '"'):
        return text
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
    return value if isinstance(value, str) else text


def suggest_setting(group: str, key: str, names: Names) -> str:
    """Ends a message about an unknown setting: `suggest`, which also knows settings that stand in
    another group and the words of other programs."""
    word = key.lower().replace("-", "_")
    elsewhere = [f"{other}.{word}" for other, known in names.items() if word in known]
    meant = [_MEANT[word]] if word in _MEANT else []
    near = difflib.get_close_matches(word, names[group], n=1)
    if not near:
        close = difflib.get_close_matches(word, _MEANT, n=1, cutoff=0.8)
        meant += [_MEANT[one] for one in close]
    found = [one for one in dict.fromkeys(elsewhere or meant) if _exists(one, names)]
    if not found:
        return suggest(key, names[group])
    return f"; did you mean {' or '.join(repr(_short(one, group)) for one in found)}?"


def _exists(setting: str, names: Names) -> bool:
    group, _, key = setting.partition(".")
    return key in names.get(group, ())


def _short(setting: str, group: str) -> str:
    """The name alone, within its group."""
    return setting.removeprefix(f"{group}.")
