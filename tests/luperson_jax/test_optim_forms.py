"""Moments of a run that begins or ends to clip, or to have rates by part."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import optim, trees
from luperson_jax.config import OptimConfig
from luperson_jax.optim import forms

PARAMS = {"backbone": {"kernel": jnp.ones((2, 2))}, "neck": {"bias": jnp.ones(2)}}
WRAPPED = [
    {"clip_norm": clip, "bias_lr_multiplier": rate} for clip in (0.0, 1.0) for rate in (1.0, 2.0)
]


def moments(options, num_steps=0):
    optimizer, _ = optim.build(options, PARAMS, epochs=4, steps_per_epoch=4)
    state = optimizer.init(PARAMS)
    for _ in range(num_steps):
        _, state = optimizer.update(PARAMS, state, PARAMS)
    names = [name.replace("/", ".") for name in trees.path_names(state)]
    return dict(zip(names, jax.tree.leaves(state), strict=True))


@pytest.mark.parametrize("changes", [{}, {"freeze_epochs": 1}])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_moments_are_taken_over_between_all_forms(optimizer, changes):
    steps = 4
    plain = OptimConfig(optimizer=optimizer, lr=0.1, **changes)
    for one, two in itertools.permutations(WRAPPED, 2):
        first, second = (dataclasses.replace(plain, **wrapped) for wrapped in (one, two))
        found, like = moments(first, steps), moments(second)
        assert found.keys() in [form.keys() for form in forms.others(like, second)]
        taken = forms.take_over(found, like, second, steps)
        assert taken.keys() == like.keys()
        # Gradients below the norm: clipping changes nothing but counts.
        if not (first.clip_norm or second.clip_norm):
            wanted = moments(second, steps)
            for name, leaf in wanted.items():
                np.testing.assert_array_equal(taken[name], leaf, err_msg=name)
        counts = [int(leaf) for name, leaf in taken.items() if name.endswith("0.count")]
        assert counts == [int(leaf) for name, leaf in moments(second, steps).items()
                          if name.endswith("0.count")]  # fmt: skip
