"""MGN: sizes, parts, branches, freezing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax import models, trees
from luperson_jax.models.mgn import part_sizes
from tests.luperson_jax.test_models_networks import (
    changed,
    draw,
    evaluation,
    quick_jit,
    training_step,
)

BACKBONE = models.ResNet(depth=18, width=4, stem="small", bn_group_size=4)
MGN = models.MGN(BACKBONE, extra_bn=True, embedding_dim=6)
BRANCHES = ("b1", "b2", "b3")


@pytest.fixture(scope="module")
def images() -> jax.Array:
    """Their map is 5 rows high: the parts are 3 + 2 and 2 + 2 + 1 of them."""
    return jax.random.normal(jax.random.key(3), (8, 20, 8, 3))


def shapes_of(module, height=384):
    images = jax.ShapeDtypeStruct((1, height, 128, 3), jnp.float32)
    return jax.eval_shape(functools.partial(models.init, module), jax.random.key(0), images)


@pytest.mark.parametrize(
    ("depth", "tensors", "parameters"),
    [(50, 699, 70_358_088), (101, 1617, 127_334_472), (152, 2391, 172_024_904)],
)
def test_published_sizes(depth, tensors, parameters):
    """With extra normalization and 751 identities. A file of PyTorch has besides our tensors the
    batch counter of every normalization and the mean and deviation of the pixels."""
    module = models.MGN(models.ResNet(depth=depth), extra_bn=True)
    params, stats = shapes_of(module)
    kernel = jax.ShapeDtypeStruct((256, 751), jnp.float32)
    params = {**params, "classifier": {head: {"kernel": kernel} for head in module.heads}}
    counters = sum(name.endswith("/mean") for name in trees.by_name(stats))
    assert len(jax.tree.leaves((params, stats))) + counters + 2 == tensors
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


def test_tree():
    params, stats = shapes_of(models.MGN(models.ResNet(depth=50, ibn=True), extra_bn=True))
    trunk = {f"layer{stage}_{i}" for stage, n in ((1, 3), (2, 4), (3, 1)) for i in range(n)}
    assert set(params["backbone"]) == {"conv1", "bn1"} | trunk
    heads = {f"{name}_head" for name in models.MGN.heads}
    extra = {f"extra_bn_{branch}" for branch in BRANCHES}
    assert set(params) == {"backbone", *BRANCHES} | heads | extra
    for branch in BRANCHES:
        assert set(params[branch]) == {f"layer3_{i}" for i in range(1, 6)} | {
            f"layer4_{i}" for i in range(3)
        }
        assert set(params[branch]["layer3_1"]["bn1"]) == {"IN", "BN"}
        assert params[branch]["layer4_0"]["downsample_0"]["kernel"].shape == (1, 1, 1024, 2048)
    for head in heads:
        assert {name: set(tree) for name, tree in params[head].items()} == {
            "pool": {"p"},
            "reduction": {"kernel"},
            "bn": {"scale", "bias"},
        }
        assert params[head]["reduction"]["kernel"].shape == (2048, 256)
    assert set(stats) == set(params)
    assert not any(name.startswith("extra_bn") for name in shapes_of(models.MGN(BACKBONE))[0])


@pytest.mark.parametrize(("stem", "last_stride"), [("imagenet", 2), ("small", 1)])
def test_the_branches_keep_the_resolution(stem, last_stride):
    module = models.MGN(BACKBONE.clone(stem=stem, last_stride=last_stride))
    images = jax.ShapeDtypeStruct((4, 48, 32, 3), jnp.float32)
    params, stats = jax.eval_shape(
        functools.partial(models.init, module), jax.random.key(0), images
    )
    maps = {"imagenet": 3, "small": 12}

    def run(params, stats, images):
        variables = {"params": params, "batch_stats": stats}
        return module.apply(
            variables, images, train=False, capture_intermediates=True, mutable=["intermediates"]
        )[1]["intermediates"]

    captured = jax.eval_shape(run, params, stats, images)
    for branch in BRANCHES:
        assert captured[branch]["__call__"][0].shape[1] == maps[stem]


def test_parts_are_those_of_chunk():
    published = {(24, 2): [12, 12], (24, 3): [8, 8, 8], (16, 2): [8, 8], (16, 3): [6, 6, 4]}
    for (height, number), sizes in published.items():
        assert part_sizes(height, number) == sizes
    for height in range(1, 40):
        for number in (2, 3):
            sizes = part_sizes(height, number)
            assert sum(sizes) == height
            assert len(set(sizes[:-1])) <= 1
            assert 0 < sizes[-1] <= sizes[0] == int(np.ceil(height / number))


def test_averages_of_parts_make_the_average_of_the_whole(images):
    module = MGN.clone(pooling="avg")
    before, after = evaluation(module)(*draw(module, images), images)
    assert set(before) == set(after) == set(module.heads)
    assert {value.shape for value in after.values()} == {(8, 6)}
    assert {value.shape for value in before.values()} == {(8, BACKBONE.num_features)}
    halves = (3 * before["b21"] + 2 * before["b22"]) / 5
    thirds = (2 * before["b31"] + 2 * before["b32"] + before["b33"]) / 5
    np.testing.assert_allclose(halves, before["b2"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(thirds, before["b3"], rtol=1e-4, atol=1e-5)
    assert not np.allclose(before["b31"], before["b32"], rtol=0.05)
    assert not np.allclose(before["b21"], before["b31"], rtol=0.05)


def test_every_branch_is_a_baseline_of_its_own(images):
    """Trunk, branch, extra normalization and head, put together as the tree of a ReidNet."""
    params, stats = draw(MGN, images)
    baseline = models.ReidNet(BACKBONE.clone(last_stride=1), "gem_learned", True, 6)
    before, after = evaluation(MGN)(params, stats, images)
    for branch in BRANCHES:

        def assembled(tree, branch=branch):
            neck = dict(tree[f"{branch}_head"])
            return {
                "backbone": {**tree["backbone"], **tree[branch]},
                "extra_bn": tree[f"extra_bn_{branch}"],
                "pool": neck.pop("pool", {}),
                "neck": neck,
            }

        wanted = evaluation(baseline)(assembled(params), assembled(stats), images)
        np.testing.assert_allclose(before[branch], wanted[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(after[branch], wanted[1], rtol=1e-4, atol=1e-4)
    assert not np.allclose(before["b1"], before["b2"], rtol=0.05)


def test_training_moves_every_statistic_and_reaches_every_parameter(images):
    params, stats = draw(MGN, images)
    gradient, one, updated = training_step(MGN)(params, stats, images, False)
    assert all(changed(updated, stats))
    for name, leaf in trees.by_name(gradient).items():
        assert bool(jnp.any(leaf != 0)) != name.endswith("_head/bn/bias"), name
    other = training_step(MGN)(params, stats, images.at[4:].set(images[4:] ** 2), False)[1]
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a[:4], b[:4], rtol=1e-5, atol=1e-5)
        assert not np.allclose(a[4:], b[4:])


def test_freezing_reaches_trunk_and_branches_alone(images):
    params, stats = draw(MGN, images)
    _, outputs, updated = training_step(MGN)(params, stats, images, True)
    for part in ("backbone", *BRANCHES):
        jax.tree.map(np.testing.assert_array_equal, updated[part], stats[part])
    for part in stats.keys() - {"backbone", *BRANCHES}:
        assert all(changed(updated[part], stats[part])), part
    for head, value in outputs[1].items():  # the necks still normalize each group of the batch
        bias = params[f"{head}_head"]["bn"]["bias"]
        means = np.asarray(value).reshape(2, 4, 6).mean(1)
        np.testing.assert_allclose(means, [bias, bias], atol=1e-4)


def test_branches_start_equal_in_memory_of_their_own(images):
    module = MGN.clone(backbone=BACKBONE.clone(width=2))
    build = quick_jit(functools.partial(models.init, module))
    params, _ = build(jax.random.key(0), images)
    for branch in ("b2", "b3"):
        jax.tree.map(np.testing.assert_array_equal, params[branch], params["b1"])
    places = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(params)]
    assert len(set(places)) == len(places)
    kernels = [np.asarray(params[f"{head}_head"]["reduction"]["kernel"]) for head in module.heads]
    assert len({kernel.tobytes() for kernel in kernels}) == len(module.heads)


@pytest.mark.parametrize(
    ("stem", "height", "words"),
    [
        ("imagenet", 64, r"images of 64 rows.*map of 4.*3 parts.*\[2, 2\].*data\.size 80 pixels"),
        ("imagenet", 16, r"map of 1,.*2 parts.*data\.size 32 pixels"),
        ("imagenet", 17, r"map of 2,.*3 parts.*data\.size 48 pixels"),
        ("small", 16, r"map of 4,.*data\.size 20 pixels"),
    ],
)
def test_a_height_that_leaves_an_empty_part(stem, height, words):
    module = models.MGN(BACKBONE.clone(stem=stem))
    with pytest.raises(InputError, match=words) as caught:
        shapes_of(module, height)
    said = int(str(caught.value).partition("data.size ")[2].split()[0])
    assert height < said < height + 49
    if "3 parts" in words:
        shapes_of(module, said)


def test_non_local_blocks_are_refused():
    with pytest.raises(InputError, match=r"model\.non_local"):
        shapes_of(models.MGN(BACKBONE.clone(non_local=True)))


def test_bfloat16_computes_half_and_stores_float32(images):
    module = MGN.clone(backbone=BACKBONE.clone(compute_dtype=jnp.bfloat16))
    params, stats = draw(module, images)
    result = jax.eval_shape(training_step(module), params, stats, images, False)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, stats, result))} == {
        jnp.dtype("float32")
    }
