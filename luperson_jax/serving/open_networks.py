"""Networks that were read, ready to embed: a run's, or that of a file of weights."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
from jax.sharding import Mesh

from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import Table
from luperson_jax import config, folder_kinds, models, sharding, tasks, weights
from luperson_jax.augment import recipes
from luperson_jax.measure import streaming, tracklet_pooling
from luperson_jax.run import eval_mode
from luperson_jax.setting_values import typed
from luperson_jax.structs import Batch, EmbeddingSet, TrainState, Tree
from luperson_jax.tasks import base
from luperson_jax.vectors import l2_normalize
from luperson_jax.weights import packed, translate
from luperson_jax.workdir import recipe_file

PERSON_SIZE = (256, 128)
"""Height and width for weights of another subject: ImageNet's squares distort a person."""

FEATURES = {
    "backbone": "pooled",
    "moco": "projected",
    "simclr": "projected",
    "pnl": "pooled",
    "parts": "of all parts",
}
"""What a kind of network embeds with; the others with what comes behind their neck."""


@dataclasses.dataclass(frozen=True)
class EmbeddingNetwork:
    """A network that was read, ready to embed.

    Attributes:
        origin: what it was read from, as messages name it.
        recipe: its own, with the settings of `eval` that the command changed; of a file of weights
            its input and `eval` alone.
        embedder: computes features with `params` and `extra` of `state`.
        facts: what results say about it.
        notes: lines for the user.
    """

    origin: str
    recipe: config.Recipe
    embedder: base.Embedder
    mesh: Mesh
    state: TrainState
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()

    def embed(self, table: Table, pool: str = tracklet_pooling.FRAMES) -> EmbeddingSet:
        """Features of every row of a table, in its order, or with `pool` of its tracklets.

        Raises:
            InputError: a picture cannot be read, or the checkpoint holds another network.
        """
        recipe = self.recipe
        try:
            how = {"flip": recipe.eval.flip, "pool": pool}
            return streaming.embed_table(self.embedder, self.state, table, recipe, self.mesh, **how)
        except models.MISFIT as error:
            raise InputError(
                f"{self.origin} does not hold the network of its recipe: {error}"
            ) from error


def read_recipe(workdir: pathlib.Path, changes: Mapping[str, Any]) -> config.Recipe:
    """The recipe that a workdir holds, with changes to its group `eval`.

    Raises:
        InputError: no workdir, or a recipe that this version does not read.
    """
    settings = recipe_file.settings(workdir)
    settings["eval"] = {**settings.get("eval", {}), **changes}
    return config.resolve(settings, tasks.OPTIONS)


def open_workdir(workdir: str, changes: Mapping[str, Any]) -> EmbeddingNetwork:
    """Reads recipe and checkpoint of a run.

    Args:
        workdir: its folder.
        changes: to the group `eval` of its recipe.

    Raises:
        InputError: no workdir or no checkpoint, or devices that cannot share `eval.batch_size`.
    """
    recipe = read_recipe(pathlib.Path(workdir), changes)
    mesh = _mesh(recipe)
    task = tasks.TASKS[recipe.task.name].build(recipe, None)
    state = eval_mode.restore(recipe, workdir, mesh)
    step, settings = int(state.step), recipe.eval
    facts = {"step": step, "workdir": workdir, "checkpoint": settings.checkpoint}
    facts |= {"average": settings.weights == "average", "flip": settings.flip}
    return EmbeddingNetwork(f"step {step} of {workdir}", recipe, task, mesh, state, facts)


@dataclasses.dataclass(frozen=True)
class FileEmbedder:
    """Embeds with the network of a file of weights."""

    spec: models.NetworkSpec
    network: Any
    views: base.Views

    def embed(self, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
        """Features [B, D] float32; those of a pre-training, which compares them by angle, of unit
        norm."""
        images = self.views.plain(batch)
        outputs, _ = models.apply(self.network, params, extra["stats"], images, train=False)
        features = self.spec.feature(outputs)
        return l2_normalize(features) if self.spec.kind in models.ENCODERS else features


@dataclasses.dataclass(frozen=True)
class NoMethod:
    """The group `task` of a recipe that trains nothing."""

    name: ClassVar[str] = ""


def open_weights(
    path: str,
    changes: Mapping[str, Any],
    *,
    size: str | None = None,
    statistics: str | None = None,
    pooling: str | None = None,
) -> EmbeddingNetwork:
    """Reads a file of weights: of PyTorch, safetensors, or a model file.

    Args:
        path: the file, or a packed folder.
        changes: to the group `eval` of its recipe.
        size: HEIGHTxWIDTH of the input; None = as the file or its family has it.
        statistics: name of mean and deviation of the pixels, or six numbers; None = as the file or
            its family has them.
        pooling: kind of pooling; None = as the file has it, else the average.

    Raises:
        InputError: no such file, no network of this program, a file that does not tell its
            statistics where none are given, or devices that cannot share `eval.batch_size`.
    """
    if listing.is_folder(path) and not packed.is_packed(path):
        end = folder_kinds.told(path, "a run is given as --workdir DIR")
        raise InputError(f"--weights is the folder {path} and no file of weights: {end}")
    model = weights.load(path, skip_classifier=True)
    spec = model.spec
    if pooling and "gem_learned" in (pooling, spec.pooling) and pooling != spec.pooling:
        raise InputError(
            f"--pooling is {pooling}, and {path} is {spec}; the exponent of "
            "gem_learned is among the tensors, and of no other pooling: leave --pooling out"
        )
    if pooling:
        spec = dataclasses.replace(spec, pooling=pooling)
    own_size = PERSON_SIZE if _is_of_imagenet(model) else model.size
    settings = {
        "task": {"name": NoMethod.name},
        "data": {"size": typed(size, tuple[int, int], "--size") if size else own_size}
        | {"batch_size": 1, "resize": model.resize},
        "augment": {"statistics": statistics or _statistics(model, path)},
        "eval": dict(changes),
    }
    recipe = config.resolve(settings, {NoMethod.name: NoMethod})
    mesh = _mesh(recipe)
    network = spec.build(compute_dtype=recipe.model.compute_dtype)
    embedder = FileEmbedder(spec, network, base.Views.build(recipe, 0))
    state = eval_mode.placed(model, mesh)
    facts = {"weights": path, "size": list(recipe.data.size), "flip": recipe.eval.flip}
    facts |= {"statistics": recipe.augment.statistics}
    notes = _notes(path, model, recipe, (size, statistics, pooling))
    return EmbeddingNetwork(path, recipe, embedder, mesh, state, facts, notes)


def _mesh(recipe: config.Recipe) -> Mesh:
    mesh = sharding.make_mesh()
    sharding.check_batch_size(recipe.eval.batch_size, mesh.size, "eval.batch_size")
    return mesh


def _is_of_imagenet(model: weights.Model) -> bool:
    """Whether a file comes from classifying ImageNet, on squares."""
    return model.account is not None and model.size == (224, 224)


def _statistics(model: weights.Model, path: str) -> str:
    if model.pixels is None:
        raise InputError(
            f"{path} does not tell the mean and deviation of the pixels that its weights expect: "
            "name them with --statistics: lup for weights of LUPerson, lmdb_200_20 for "
            "LUPerson-NL, imagenet for torchvision's, or six numbers with commas in 0..1, "
            "means first"
        )
    return ",".join(repr(float(value)) for values in model.pixels for value in values)


def _notes(
    path: str, model: weights.Model, recipe: config.Recipe, given: tuple[str | None, ...]
) -> tuple[str, ...]:
    """What was read, and where each assumption comes from."""
    size, statistics, pooling = given
    spec, ours = model.spec, model.account is None
    feature = FEATURES.get(spec.kind, "after the neck")
    origin = "the model file" if ours else f"family {model.family}"
    told = origin if ours or translate.family_named(model.family).statistics else "the file"
    shape = "persons stand" if _is_of_imagenet(model) else f"{origin} has it"
    height, width = recipe.data.size
    numbers = recipes.statistics(recipe.augment.statistics)
    pixels = " ".join(f"{value:.4f}" for values in numbers for value in values)
    lines = [
        f"{path}: {translate.KINDS[spec.kind]} ({spec}), features {feature}",
        f"input {height}x{width}, as {'given' if size else shape + '; else --size'}",
        f"mean and deviation {pixels}, as "
        + ("given" if statistics else f"{told} has them; else --statistics"),
    ]
    if statistics and model.other_pixels(numbers):
        lines.append(f"note: {path} itself names another mean and deviation")
    if not pooling and spec.pooling == "avg" and not ours:
        lines.append("pooling is not in the file, so taken as avg; else --pooling")
    return tuple(lines)
