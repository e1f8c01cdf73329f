"""Files of weights: fresh models to write, and files that are not read."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import models, trees
from luperson_jax.augment import recipes
from luperson_jax.models import NetworkSpec
from luperson_jax.weights import files
from luperson_jax.weights import model as model_file
from luperson_jax.weights.model import Model
from luperson_jax.weights.rules import KEY_NETWORK, NETWORK
from tests.helpers import SIZE

BOT = NetworkSpec("reid", "resnet18", 4, last_stride=1)
LARGE = (96, 32)  # enough for the parts of an MGN


def refused(path, *words) -> str:
    """The message with which a file is refused; it names the file and holds the words."""
    with pytest.raises(InputError) as raised:
        files.read(path)
    message = str(raised.value)
    for word in (str(path), *words):
        assert word in message, message
    assert "\033" not in message
    return message


def model_of(network: NetworkSpec, size: tuple[int, int] = SIZE) -> Model:
    """Fresh weights whose running statistics are not those of the start."""
    params, stats = models.init(
        network.build(), jax.random.key(0), jnp.zeros((1, *LARGE, 3), jnp.float32)
    )
    stats = jax.tree.map(lambda one: one + 0.1, stats)
    places = {NETWORK.params: params, NETWORK.stats: stats}
    if network.queue_size:
        places |= {KEY_NETWORK.params: params, KEY_NETWORK.stats: stats}
    tensors = {
        f"{place}/{name}": np.asarray(leaf)
        for place, tree in places.items()
        for name, leaf in trees.by_name(tree).items()
    }
    if network.queue_size:
        shape = (network.queue_size, network.feature_dim)
        tensors |= {"extra/queue": np.ones(shape, np.float32)}
        tensors |= {"extra/queue_pointer": np.array(0, np.int32)}
    return Model(tensors, network, "luperson_jax", recipes.statistics("lup"), size)


def write_bot(path: pathlib.Path) -> pathlib.Path:
    """A model file of `BOT`."""
    model_file.save(model_of(BOT), path)
    return path
