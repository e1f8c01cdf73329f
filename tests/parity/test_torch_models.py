"""Layers against PyTorch's; whole networks are compared in test_torch_convert."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from luperson_jax import models
from luperson_jax.models.convolution import Conv

torch = pytest.importorskip("torch", reason="needs the [torch] extra")
nn = torch.nn

from tests.parity import torch_nets  # noqa: E402
from tests.parity.cases import to_nchw, to_nhwc  # noqa: E402


def trees_of(norm):
    """Parameters and statistics of a BatchNorm."""
    state = {name: value.numpy().copy() for name, value in norm.state_dict().items()}
    params = {"scale": state["weight"], "bias": state["bias"]}
    return params, {"mean": state["running_mean"], "var": state["running_var"]}


@pytest.mark.parametrize("group_size", [2, 4])
def test_grouped_norm_is_torchs_norm_of_each_group(group_size):
    x = jax.random.normal(jax.random.key(0), (8, 3, 2, 5)) * 2 + 1
    norm = torch_nets.randomize(nn.BatchNorm2d(5), seed=0)
    params, stats = trees_of(norm)
    module = models.GroupedBatchNorm(group_size)
    got, updated = module.apply(
        {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
    )
    start = {key: value.clone() for key, value in norm.state_dict().items()}
    outputs, running = [], []
    for first in range(0, 8, group_size):
        norm.load_state_dict(start)
        outputs.append(to_nhwc(norm(to_nchw(np.asarray(x[first : first + group_size])))))
        running.append(trees_of(norm)[1])
    np.testing.assert_allclose(got, np.concatenate(outputs), atol=1e-5)
    mean_of_groups = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *running)
    for name, wanted in mean_of_groups.items():
        np.testing.assert_allclose(updated["batch_stats"][name], wanted, 1e-6, 1e-6)


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", [8, 9])
def test_padding_of_convolutions(size, stride, height):
    x = jax.random.normal(jax.random.key(0), (2, height, 6, 3))
    theirs = nn.Conv2d(3, 4, size, stride, size // 2, bias=False)
    kernel = theirs.weight.detach().numpy().transpose(2, 3, 1, 0)
    got = Conv(4, size, stride).apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(got, to_nhwc(theirs(to_nchw(np.asarray(x)))), atol=1e-5)


def test_initial_values_of_the_projection_head_have_torchs_distribution():
    theirs = nn.Linear(256, 512)
    x = jnp.zeros((1, 256))
    ours = models.ProjectionHead(512, 8).init(jax.random.key(0), x, train=False)["params"]["fc_0"]
    for mine, torchs in ((ours["kernel"], theirs.weight), (ours["bias"], theirs.bias)):
        torchs = torchs.detach().numpy()
        np.testing.assert_allclose(np.std(mine), torchs.std(), rtol=0.1)
        np.testing.assert_allclose(np.abs(mine).max(), np.abs(torchs).max(), rtol=0.02)
