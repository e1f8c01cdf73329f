"""Tables, detection and the account of a conversion, on tensors without a file."""

import dataclasses
import re

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax.models import NetworkSpec
from luperson_jax.weights import translate
from luperson_jax.weights.families import FAMILIES, FOREIGN
from luperson_jax.weights.model import Model, shapes_of
from luperson_jax.weights.rules import COUNTER

BACKBONE = NetworkSpec("backbone", "resnet18", 4)
MOCO = NetworkSpec("moco", "resnet18", 4, hidden=8, feature_dim=6, queue_size=10)
MOCO_V1 = dataclasses.replace(MOCO, head="linear", hidden=0)
SIMCLR = NetworkSpec("simclr", "resnet18", 4, head="mlp_bn", hidden=8, feature_dim=6)
PNL = dataclasses.replace(MOCO, kind="pnl", embedding_dim=7, num_classes=5)
BOT = NetworkSpec("reid", "resnet18", 4, last_stride=1, extra_bn=True, num_classes=5)
REDUCED = dataclasses.replace(BOT, embedding_dim=7, pooling="gem_learned")
IBN = NetworkSpec("reid", "resnet50", 4, ibn=True, last_stride=1, pooling="gem_learned")
AGW = dataclasses.replace(BOT, extra_bn=False, non_local=True)
SBS = NetworkSpec("reid", "resnet50", 4, non_local=True, last_stride=1, pooling="gem_learned")
MGN = NetworkSpec(
    "mgn",
    "resnet18",
    4,
    last_stride=1,
    pooling="gem_learned",
    extra_bn=True,
    embedding_dim=6,
    num_classes=5,
)
MGN_IBN = NetworkSpec("mgn", "resnet50", 4, ibn=True, last_stride=1)

WHOLE = [
    ("luperson", BACKBONE),
    ("torchvision", dataclasses.replace(BACKBONE, arch="resnet101")),
    ("moco", MOCO),
    ("moco", MOCO_V1),
    ("simclr", SIMCLR),
    ("simclr", dataclasses.replace(SIMCLR, head="mlp")),
    ("simclr", dataclasses.replace(SIMCLR, head="linear", hidden=0)),
    ("pnl", PNL),
    ("pnl", dataclasses.replace(PNL, embedding_dim=0)),
    ("fastreid", BOT),
    ("fastreid", REDUCED),
    ("fastreid", AGW),
    ("fastreid", SBS),
    ("mgn", MGN),
    ("mgn", MGN_IBN),
    ("cluster_contrast", IBN),
    ("strong_baseline", AGW),
    ("strong_baseline", IBN),
    ("numbered", BACKBONE),
    ("mobilenet_v1_slim", NetworkSpec("backbone", "mobilenet_v1", 4)),
    ("resnet_v1_50_slim", NetworkSpec("backbone", "resnet50", 4, strides="slim")),
]


def model_of(network: NetworkSpec) -> Model:
    """Every tensor different from every other, so that none can take another's place."""
    tensors = {
        path: np.random.default_rng(number).normal(size=shape).astype(np.float32)
        for number, (path, shape) in enumerate(sorted(shapes_of(network).items()))
    }
    if "extra/queue_pointer" in tensors:
        tensors["extra/queue_pointer"] = np.array(3, np.int32)
    if "extra/queue_id" in tensors:
        tensors["extra/queue_id"] = np.arange(-1, network.queue_size - 1, dtype=np.int32)
    return Model(tensors, network, "luperson_jax", facts={COUNTER: 12})


def torch_of(family: str, network: NetworkSpec) -> dict[str, np.ndarray]:
    tensors = translate.to_torch(model_of(network), family)[1]
    if family == "torchvision":
        tensors |= {"fc.weight": np.ones((3, 8), np.float32), "fc.bias": np.ones(3, np.float32)}
    return tensors


@pytest.mark.parametrize(("family", "network"), WHOLE)
def test_there_and_back_without_a_changed_bit(family, network):
    tensors = torch_of(family, network)
    model = translate.from_torch(tensors)
    assert model.account.complete
    assert model.family == family
    assert model.spec == network
    start = model_of(network).tensors
    assert model.tensors.keys() == start.keys()
    for path, array in start.items():
        np.testing.assert_array_equal(model.tensors[path], array, err_msg=path)
    again = translate.to_torch(model, family)[1]
    assert again.keys() == tensors.keys() - {"fc.weight", "fc.bias"}
    for key, array in again.items():
        assert array.dtype == tensors[key].dtype, key
        np.testing.assert_array_equal(array, tensors[key], err_msg=key)


SPELLED = {
    "moco": (
        MOCO,
        {
            "encoder_q.conv1.weight": ("params/backbone/conv1/kernel", (4, 3, 7, 7)),
            "encoder_q.bn1.running_var": ("extra/stats/backbone/bn1/var", (4,)),
            "encoder_k.layer2.0.downsample.0.weight": (
                "extra/key_params/backbone/layer2_0/downsample_0/kernel",
                (8, 4, 1, 1),
            ),
            "encoder_k.layer2.0.downsample.1.running_mean": (
                "extra/key_stats/backbone/layer2_0/downsample_1/mean",
                (8,),
            ),
            "encoder_q.fc.0.weight": ("params/head/fc_0/kernel", (8, 32)),
            "encoder_q.fc.2.bias": ("params/head/fc_2/bias", (6,)),
            "queue": ("extra/queue", (6, 10)),
            "queue_ptr": ("extra/queue_pointer", (1,)),
        },
    ),
    "fastreid": (
        REDUCED,
        {
            "backbone.layer4.1.bn2.weight": ("params/backbone/layer4_1/bn2/scale", (32,)),
            "heads_extra_bn.running_mean": ("extra/stats/extra_bn/mean", (32,)),
            "heads.pool_layer.p": ("params/pool/p", (1,)),
            "heads.bottleneck.0.weight": ("params/neck/reduction/kernel", (7, 32, 1, 1)),
            "heads.bottleneck.1.running_var": ("extra/stats/neck/bn/var", (7,)),
            "heads.classifier.weight": ("params/classifier/kernel", (5, 7)),
        },
    ),
    "fastreid, non-local": (
        AGW,
        {
            "backbone.NL_2.0.theta.weight": (
                "params/backbone/NL_2_0/theta/kernel",
                (4, 8, 1, 1),
            ),
            "backbone.NL_2.0.g.bias": ("params/backbone/NL_2_0/g/bias", (4,)),
            "backbone.NL_3.0.W.0.weight": ("params/backbone/NL_3_0/W_0/kernel", (16, 8, 1, 1)),
            "backbone.NL_3.0.W.1.running_var": ("extra/stats/backbone/NL_3_0/W_1/var", (16,)),
        },
    ),
    "mgn": (
        MGN_IBN,
        {
            "backbone.0.weight": ("params/backbone/conv1/kernel", (4, 3, 7, 7)),
            "backbone.1.bias": ("params/backbone/bn1/bias", (4,)),
            "backbone.4.2.conv1.weight": ("params/backbone/layer1_2/conv1/kernel", (4, 16, 1, 1)),
            "backbone.6.bn1.IN.weight": ("params/backbone/layer3_0/bn1/IN/scale", (8,)),
            "backbone.6.downsample.1.running_mean": (
                "extra/stats/backbone/layer3_0/downsample_1/mean",
                (64,),
            ),
            "b1.0.0.conv2.weight": ("params/b1/layer3_1/conv2/kernel", (16, 16, 3, 3)),
            "b3.0.4.bn3.running_var": ("extra/stats/b3/layer3_5/bn3/var", (64,)),
            "b2.1.0.downsample.0.weight": (
                "params/b2/layer4_0/downsample_0/kernel",
                (128, 64, 1, 1),
            ),
            "b22_head.bottleneck.0.weight": ("params/b22_head/bn/scale", (128,)),
        },
    ),
    "mgn, with all parts": (
        MGN,
        {
            "b33_head.pool_layer.p": ("params/b33_head/pool/p", (1,)),
            "b21_head.bottleneck.0.weight": ("params/b21_head/reduction/kernel", (6, 32, 1, 1)),
            "b1_head.bottleneck.1.running_mean": ("extra/stats/b1_head/bn/mean", (6,)),
            "b32_head.classifier.weight": ("params/classifier/b32/kernel", (5, 6)),
            "heads_extra_bn_b2.weight": ("params/extra_bn_b2/scale", (32,)),
        },
    ),
    "cluster_contrast": (
        IBN,
        {
            "base.0.weight": ("params/backbone/conv1/kernel", (4, 3, 7, 7)),
            "base.1.weight": ("params/backbone/bn1/scale", (4,)),
            "base.4.0.bn1.IN.weight": ("params/backbone/layer1_0/bn1/IN/scale", (2,)),
            "base.6.5.bn1.BN.running_mean": ("extra/stats/backbone/layer3_5/bn1/BN/mean", (8,)),
            "base.7.2.conv3.weight": ("params/backbone/layer4_2/conv3/kernel", (128, 32, 1, 1)),
            "gap.p": ("params/pool/p", (1,)),
            "feat_bn.bias": ("params/neck/bn/bias", (128,)),
        },
    ),
}


@pytest.mark.parametrize("name", SPELLED)
def test_names_and_shapes_of_the_reference_files(name):
    assert_spelled(name.partition(",")[0], *SPELLED[name])


def assert_spelled(family, network, spelled):
    """Torch names, and the path and torch shape of each."""
    tensors = torch_of(family, network)
    for number, (key, (_, shape)) in enumerate(spelled.items()):
        assert tensors[key].shape == shape, key
        tensors[key] = np.full_like(tensors[key], number)
    found = translate.from_torch(tensors).tensors
    for number, (path, _) in enumerate(spelled.values()):
        assert np.all(found[path] == number), path


def test_axes_of_a_convolution_and_a_linear_layer():
    tensors = torch_of("moco", MOCO)
    kernel, linear = np.zeros((4, 3, 7, 7), np.float32), np.zeros((6, 8), np.float32)
    kernel[3, 2, 6, 1], linear[5, 7] = 1, 1
    tensors |= {"encoder_q.conv1.weight": kernel, "encoder_q.fc.2.weight": linear}
    found = translate.from_torch(tensors).tensors
    assert found["params/backbone/conv1/kernel"][6, 1, 2, 3] == 1
    assert found["params/head/fc_2/kernel"][7, 5] == 1


def test_older_names_of_fastreid():
    tensors = torch_of("fastreid", BOT)
    older = {
        name.replace("heads.bottleneck.0", "heads.bnneck").replace("heads.classifier", "heads"): a
        for name, a in tensors.items()
        if not name.startswith("pixel_")
    }
    assert older.keys() != tensors.keys()
    model = translate.from_torch(older)
    assert model.account.complete
    np.testing.assert_array_equal(
        model.tensors["params/neck/bn/scale"], tensors["heads.bottleneck.0.weight"]
    )
    np.testing.assert_array_equal(
        model.tensors["params/classifier/kernel"], tensors["heads.classifier.weight"].T
    )


def test_both_names_of_one_tensor_are_an_error():
    tensors = torch_of("fastreid", BOT)
    tensors["heads.bnneck.weight"] = tensors["heads.bottleneck.0.weight"]
    with pytest.raises(InputError, match=r"are both params/neck/bn/scale"):
        translate.from_torch(tensors)


@pytest.mark.parametrize(("family", "network"), [("fastreid", BOT), ("mgn", MGN)])
def test_the_pixel_statistics_of_a_fastreid_file_travel(family, network):
    tensors = torch_of(family, network)
    tensors["pixel_mean"] = np.array([123.675, 116.28, 103.53], np.float32).reshape(1, 3, 1, 1)
    tensors["pixel_std"] = np.array([58.395, 57.12, 57.375], np.float32).reshape(1, 3, 1, 1)
    model = translate.from_torch(tensors)
    assert model.pixels is not None
    np.testing.assert_allclose(model.pixels.mean, (0.485, 0.456, 0.406), atol=1e-6)
    np.testing.assert_allclose(model.pixels.std, (0.229, 0.224, 0.225), atol=1e-6)
    again = translate.to_torch(model)[1]
    for name in ("pixel_mean", "pixel_std"):
        np.testing.assert_array_equal(again[name], tensors[name])


def renamed(tensors, old, new):
    return {key.replace(old, new, 1): array for key, array in tensors.items()}


TRUNK = torch_of("luperson", BACKBONE)


def test_only_the_backbone_of_a_moco_file():
    tensors = torch_of("moco", MOCO)
    model = translate.from_torch(tensors, only_backbone=True)
    assert model.account.complete
    assert model.spec == BACKBONE
    flat = translate.to_torch(model)[1]
    for key, array in flat.items():
        np.testing.assert_array_equal(array, tensors[f"encoder_q.{key}"], err_msg=key)


def test_a_strange_head_does_not_hinder_the_backbone():
    tensors = TRUNK | {"fc.0.weight": np.ones((3, 2), np.float32), "neck": np.ones(3, np.float32)}
    with pytest.raises(InputError, match=r"unknown +neck"):
        translate.from_torch(tensors)
    model = translate.from_torch(tensors, only_backbone=True)
    assert model.account.complete
    assert model.spec == BACKBONE
    with pytest.raises(InputError, match="unknown"):
        translate.from_torch(TRUNK | {"layer1.0.gate": np.ones(3)}, only_backbone=True)


def test_a_lost_head_points_to_the_backbone():
    tensors = {key: a for key, a in torch_of("fastreid", BOT).items() if "heads." not in key}
    with pytest.raises(InputError, match="--only-backbone takes the trunk alone"):
        translate.from_torch(tensors)


def test_a_moco_file_given_as_a_backbone_is_named():
    with pytest.raises(InputError, match=r"not a torchvision ResNet: it looks like a MoCo pre-tr"):
        translate.from_torch(torch_of("moco", MOCO), "torchvision")


def test_an_unknown_family_suggests_one():
    with pytest.raises(InputError, match="did you mean 'fastreid'"):
        translate.from_torch(TRUNK, "fast-reid")


def test_unknown_names_are_shown():
    with pytest.raises(InputError, match=r"belong to no family.*roberta\.pooler"):
        translate.from_torch({"roberta.pooler.weight": np.ones(2, np.float32)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("layer3.1.bn2.running_var"), "missing.*layer3_1/bn2/var"),
        (lambda t: t.update({"layer1.0.scale_shift": np.ones(2)}), "unknown.*scale_shift"),
        (lambda t: t.update({"layer1.0.bn1.bias": np.ones(9)}), r"\(9,\), expected \(4,\)"),
        (lambda t: t.update({"bn1.weight": np.ones((4, 1))}), r"unknown +bn1\.weight \(4, 1\)"),
    ],
)
def test_what_is_not_whole_is_refused_and_listed(change, words):
    tensors = dict(TRUNK)
    change(tensors)
    with pytest.raises(InputError, match=rf"(?s)tensors of that network.*{words}"):
        translate.from_torch(tensors)
    model = translate.from_torch(tensors, allow_partial=True)
    assert not model.account.complete
    assert set(model.absent) == set(shapes_of(model.spec)) - set(model.tensors)
    assert model.account.problems()
    if model.absent:
        with pytest.raises(InputError, match="lacks"):
            translate.to_torch(model)


def test_blocks_that_no_resnet_has():
    tensors = TRUNK | {
        key.replace("layer2.1", "layer2.7"): a for key, a in TRUNK.items() if "layer2.1" in key
    }
    with pytest.raises(InputError, match=r"stages of \[2, 8, 2, 2\] basic blocks; expected"):
        translate.from_torch(tensors)


def test_a_classifier_is_left_out_only_when_asked():
    tensors = torch_of("fastreid", BOT)
    assert translate.from_torch(tensors).spec.num_classes == 5
    model = translate.from_torch(tensors, skip_classifier=True)
    assert model.spec.num_classes == 0
    assert ("params/classifier/kernel", "not asked for") in model.account.left_out


def test_a_network_goes_only_where_it_has_a_place():
    with pytest.raises(InputError, match="cannot hold the encoders of MoCo; expected --to moco or"):
        translate.to_torch(model_of(MOCO), "fastreid")
    with pytest.raises(InputError, match="no place for"):
        translate.to_torch(model_of(BOT), "cluster_contrast")


FOREIGN_KEYS = {
    "moco_v3": ["base_encoder.conv1.weight", "momentum_encoder.conv1.weight"],
    "vit": ["patch_embed.proj.weight", "blocks.0.attn.qkv.weight"],
    "vit_other": ["vit.encoder.layer.0.attention.attention.query.weight"],
    "mobilenet": ["features.0.0.weight", "features.1.conv.0.0.weight"],
    "convnext": ["features.0.0.weight", "features.1.0.block.0.weight"],
    "densenet": ["features.conv0.weight", "features.denseblock1.denselayer1.conv1.weight"],
    "vgg": ["features.0.weight", "features.3.weight"],
    "hrnet": ["conv1.weight", "stage2.0.branches.0.0.conv1.weight"],
    "repvgg": ["stage0.rbr_dense.conv.weight", "stage1.0.rbr_dense.conv.weight"],
    "res2net": ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.convs.0.weight"],
    "resnest": ["conv1.0.weight", "layer1.0.conv1.weight", "layer1.0.conv2.fc1.weight"],
    "swin": ["stages.0.blocks.0.attn.w_msa.relative_position_bias_table"],
    "osnet": ["conv1.conv.weight", "conv2.0.conv2a.conv1.weight"],
    "resnext": ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.se_module.fc1.weight"],
}


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda family: family.name)
def test_a_network_that_is_not_here_is_named(foreign):
    tensors = {key: np.ones(2, np.float32) for key in FOREIGN_KEYS[foreign.name]}
    with pytest.raises(InputError, match=f"the file is {re.escape(foreign.title)}: .*no"):
        translate.from_torch(tensors)


@pytest.mark.parametrize(
    ("family", "key", "words"),
    [
        ("fastreid", "backbone.layer1.0.se.fc1.weight", "squeeze"),
        ("mgn", "b2.0.0.se.fc1.weight", "squeeze"),
        ("cluster_contrast", "base.1.BN_T.weight", "DSBN"),
        ("cluster_contrast", "feat.weight", "embedding layer"),
    ],
)
def test_a_variant_that_is_not_here_is_refused_with_its_reason(family, key, words):
    tensors = torch_of(family, dict(WHOLE)[family]) | {key: np.ones(2, np.float32)}
    with pytest.raises(InputError, match=words):
        translate.from_torch(tensors)


def test_families_are_told_apart():
    """A file of one family is recognized by no other, but for the general names of ResNets."""
    for family, network in WHOLE:
        keys = torch_of(family, network)
        known = [name for name, one in FAMILIES.items() if one.recognizes(keys)]
        assert known in ([family], ["torchvision", "luperson"], ["pnl", "moco"])
