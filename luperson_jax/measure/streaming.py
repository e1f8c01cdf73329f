"""Features of the rows of a table, as a stream: no more than a batch of them is on a device."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float

from data_pipeline.read.decode import filter_of_evaluation
from data_pipeline.read.loader import Loader, LoaderOptions
from data_pipeline.table import samplers
from data_pipeline.table.records import Table
from luperson_jax import config, platforms, setting_names, sharding
from luperson_jax.measure import tracklet_pooling
from luperson_jax.structs import Batch, EmbeddingSet, TrainState, Tree
from luperson_jax.tasks.base import Embedder


def stream(
    task: Embedder,
    state: TrainState,
    table: Table,
    recipe: config.Recipe,
    mesh: Mesh,
    *,
    flip: bool = False,
) -> Iterator[Float[np.ndarray, "b d"]]:
    """Features of every row of a table, in its order, on every process, batch by batch.

    Pictures are brought straight to the size that the network sees, by the filter that
    `decode.filter_of_evaluation` gives. With `flip` a feature is the mean of those of the picture
    and of its mirror image, before the metric normalizes it. A batch is fetched while the device
    works on the one after it.

    Yields:
        [b, D] float32, `eval.batch_size` rows and in the end what is left.
    """
    left = len(table)
    with (
        setting_names.named(canvas="data.size", batch_size="eval.batch_size"),
        _loader(table, recipe) as loader,
        jax.set_mesh(mesh),
    ):
        last = None
        for arrays in loader:
            batch = sharding.put_batch(arrays, mesh)
            following = _embedding(platforms.of(mesh))(task, flip, state.params, state.extra, batch)
            if last is not None:
                yield np.asarray(last)
                left -= len(last)
            last = following
        if last is not None:
            yield np.asarray(last)[:left]


def _loader(table: Table, recipe: config.Recipe) -> Loader:
    options = LoaderOptions(
        canvas=recipe.data.size,
        resize=filter_of_evaluation(recipe.data.resize),
        num_workers=recipe.data.num_workers,
        worker_kind=recipe.data.worker_kind,
        prefetch=recipe.data.prefetch,
    )
    indices = samplers.sequential(len(table), recipe.eval.batch_size)
    index, count = jax.process_index(), jax.process_count()
    return Loader(table, indices, options, process_index=index, process_count=count)


def embed_canvases(
    task: Embedder,
    state: TrainState,
    canvases: np.ndarray,
    sizes: np.ndarray,
    recipe: config.Recipe,
    mesh: Mesh,
) -> Float[np.ndarray, "n d"]:
    """Features of pictures that are at hand, at most `eval.batch_size` of them.

    Args:
        task: what embeds.
        state: with the weights.
        canvases: [n, H, W, 3] uint8, of the size that the network sees.
        sizes: [n, 2] int32 height and width of the originals.
        recipe: of the network.
        mesh: its devices.

    Returns:
        [n, D] float32; the batch is filled up, so that few programs serve any n.
    """
    num, size = len(canvases), rows_for(len(canvases), recipe.eval.batch_size, mesh.size)
    lacking, numbers = size - num, np.zeros(size, np.int32)
    arrays = {
        "images": np.pad(canvases, ((0, lacking), (0, 0), (0, 0), (0, 0))),
        "size": np.pad(sizes, ((0, lacking), (0, 0)), constant_values=1),
        **{name: numbers for name in ("label", "camera", "index")},
        "mask": np.arange(size) < num,
    }
    with jax.set_mesh(mesh):
        batch = sharding.put_batch(arrays, mesh)
        features = _embedding(platforms.of(mesh))(
            task, recipe.eval.flip, state.params, state.extra, batch
        )
    return np.asarray(features)[:num]


def rows_for(num: int, batch_size: int, num_devices: int) -> int:
    """Rows of a batch for few pictures: of the whole one, a quarter, a sixteenth and so on the
    smallest that holds them and that the devices can share."""
    rows = batch_size
    while rows % (4 * num_devices) == 0 and rows // 4 >= num:
        rows //= 4
    return rows


def embed_table(
    task: Embedder,
    state: TrainState,
    table: Table,
    recipe: config.Recipe,
    mesh: Mesh,
    *,
    flip: bool = False,
    pool: str = tracklet_pooling.FRAMES,
) -> EmbeddingSet:
    """The features of `stream` in one array; or with `pool` "mean" or "max" those of every
    tracklet, named after its first row, without keeping those of the frames."""
    parts = stream(task, state, table, recipe, mesh, flip=flip)
    if pool == tracklet_pooling.FRAMES:
        features = np.concatenate(list(parts))
        return EmbeddingSet(features, table.pid, table.camera, tuple(table.media))
    of_tracklets, number = tracklet_pooling.table_of(table)
    found = tracklet_pooling.pooled(parts, number, pool)
    names = (of_tracklets.pid, of_tracklets.camera, tuple(of_tracklets.media))
    media = tuple(table.media)
    frames = tuple(tuple(media[row] for row in rows if row >= 0) for rows in found.frames)
    return EmbeddingSet(found.features, *names, frames)


@functools.cache
def _embedding(platform: str) -> Any:
    """`_embed`, compiled."""
    options = platforms.compiler_options(platform)
    return jax.jit(_embed, static_argnums=(0, 1), compiler_options=options)


def _embed(task: Embedder, flip: bool, params: Tree, extra: Tree, batch: Batch) -> jax.Array:
    batch.check()
    features = task.embed(params, extra, batch)
    if flip:
        mirrored = dataclasses.replace(batch, images=jnp.flip(batch.images, axis=2))
        features = (features + task.embed(params, extra, mirrored)) / 2
    return jax.lax.with_sharding_constraint(features, PartitionSpec())
