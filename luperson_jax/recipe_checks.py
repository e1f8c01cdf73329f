"""What the numbers of a recipe must be, and be to each other."""

from typing import Any

from data_pipeline.errors import InputError

AT_LEAST = {
    "model.width": 1,
    "model.bn_group_size": 0,
    "data.batch_size": 1,
    "data.split": 0,
    "data.subset_seed": 0,
    "data.repeat": 1,
    "data.num_instances": 1,
    "data.canvas": 0,
    "data.size": 1,
    "data.num_workers": 0,
    "data.prefetch": 1,
    "optim.lr": 0,
    "optim.weight_decay": 0,
    "optim.warmup_epochs": 0,
    "optim.warmup_steps": 0,
    "optim.peak_multiplier": 0,
    "optim.hold_lr_from_epoch": 0,
    "optim.flat_epochs": 0,
    "optim.final_lr": 0,
    "optim.freeze_epochs": 0,
    "optim.freeze_steps": 0,
    "optim.micro_batches": 1,
    "optim.clip_norm": 0,
    "optim.clip_value": 0,
    "train.epochs": 1,
    "train.steps_per_epoch": 0,
    "train.seed": 0,
    "train.log_every_steps": 1,
    "train.checkpoint_every_epochs": 1,
    "train.checkpoint_every_steps": 0,
    "train.keep_checkpoints": 1,
    "train.ema_decay": 0,
    "train.swa_start_epoch": 0,
    "eval.every_epochs": 0,
    "eval.batch_size": 1,
    "eval.split": 0,
}
"""The least value of settings that have one; 0 turns a feature off."""


def check(recipe: Any) -> None:
    """Raises InputError where the numbers of a `config.Recipe` cannot be meant."""
    data, model = recipe.data, recipe.model
    for path, least in AT_LEAST.items():
        group, setting = path.split(".")
        value = getattr(getattr(recipe, group), setting)
        if (min(value) if isinstance(value, tuple) else value) < least:
            raise InputError(f"{path} must be at least {least}, not {value}")
    if 0 in data.canvas and any(data.canvas):
        raise InputError(
            f"data.canvas={data.canvas} must have a height and a width above 0, or be (0, 0): then "
            "it follows from the sizes of the training pictures"
        )
    if min(data.weights, default=1) <= 0:
        raise InputError(f"data.weights={data.weights} must be above 0")
    if model.last_stride not in (1, 2):
        raise InputError(f"model.last_stride must be 1 or 2, not {model.last_stride}")
    if not 0 < model.bn_momentum <= 1:
        raise InputError(
            f"model.bn_momentum={model.bn_momentum} must be above 0 and at most 1: the weight of a "
            "batch, PyTorch's sense (0.003 where TensorFlow's decay is 0.997)"
        )
    if model.bn_group_size and data.batch_size % model.bn_group_size:
        raise InputError(
            f"data.batch_size={data.batch_size} is not divisible by "
            f"model.bn_group_size={model.bn_group_size}: BatchNorm needs groups of equal size; "
            "change one of the two (0 makes the whole batch one group)"
        )
    _check_micro_batches(recipe)
    _check_rules(recipe.optim)
    _check_schedule(recipe.optim, recipe.train.epochs)
    _check_average(recipe.train)


def _check_rules(optim: Any) -> None:
    for name in ("lr_factors", "decay_factors"):
        for pattern, factor in getattr(optim, name):
            if factor < 0:
                raise InputError(f"optim.{name}: the factor of {pattern!r} is {factor}, below 0")
    if optim.clip_value and optim.optimizer not in ("sgd", "rmsprop"):
        raise InputError(
            f"optim.clip_value={optim.clip_value} with optim.optimizer={optim.optimizer}, which "
            "cuts no entries; set optim.clip_norm"
        )
    if optim.nesterov and optim.optimizer != "sgd":
        raise InputError(f"optim.nesterov=True is for sgd, not {optim.optimizer}")
    if optim.optimizer == "lars" and optim.decay_factors:
        raise InputError(
            "optim.decay_factors with optim.optimizer=lars, whose optim.lars_excluded says what is "
            "not decayed; leave optim.decay_factors empty"
        )


def _check_micro_batches(recipe: Any) -> None:
    num, batch, group = (
        recipe.optim.micro_batches,
        recipe.data.batch_size,
        recipe.model.bn_group_size,
    )
    if num > 1 and (batch % num or not group or batch // num % group):
        raise InputError(
            f"optim.micro_batches={num} cuts data.batch_size={batch} into parts that must be equal "
            f"and hold whole groups of model.bn_group_size={group} images (0 is the whole batch, "
            "which cannot be cut)"
        )


def _check_schedule(optim: Any, epochs: int) -> None:
    flat = optim.schedule in ("flat_cosine", "flat_cosine_per_epoch")
    if flat and not optim.warmup_epochs <= optim.flat_epochs < epochs:
        raise InputError(
            f"optim.flat_epochs={optim.flat_epochs} must be at least "
            f"optim.warmup_epochs={optim.warmup_epochs} and less than train.epochs={epochs}: "
            f"{optim.schedule} warms up, stays, and falls from there to the last epoch"
        )
    if optim.warmup_steps and optim.schedule in ("cosine_per_epoch", "step_per_epoch"):
        raise InputError(
            f"optim.warmup_steps={optim.warmup_steps} with {optim.schedule}, which warms up by "
            "epoch; set optim.warmup_epochs"
        )
    if optim.peak_multiplier != 1 and optim.schedule not in ("cosine_per_epoch", "step_per_epoch"):
        raise InputError(
            f"optim.peak_multiplier={optim.peak_multiplier} with {optim.schedule}, whose peak is "
            "optim.lr itself; multiply that"
        )
    for name in ("warmup", "freeze"):
        epochs, steps = (getattr(optim, f"{name}_{unit}") for unit in ("epochs", "steps"))
        if epochs and steps:
            raise InputError(
                f"optim.{name}_epochs={epochs} and optim.{name}_steps={steps} are two lengths of "
                "one thing; set one of them to 0"
            )
    if (optim.freeze_epochs or optim.freeze_steps) and not optim.freeze:
        raise InputError(
            f"optim.freeze_epochs={optim.freeze_epochs} and optim.freeze_steps="
            f"{optim.freeze_steps} with an empty optim.freeze; name what to freeze, as "
            "('^backbone/',), or set both to 0"
        )


def _check_average(train: Any) -> None:
    if train.ema_decay >= 1:
        raise InputError(f"train.ema_decay={train.ema_decay} must be from 0 to below 1")
    if train.average == "swa" and train.swa_start_epoch >= train.epochs:
        raise InputError(
            f"train.swa_start_epoch={train.swa_start_epoch} must be less than "
            f"train.epochs={train.epochs}, or nothing is averaged"
        )
