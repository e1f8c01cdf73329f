"""Files of SimCLR, SupCont and PNL: names, and what is left out of them."""

import dataclasses

import numpy as np
import pytest

from data_pipeline.errors import InputError
from luperson_jax.weights import translate
from luperson_jax.weights.families import FAMILIES
from tests.luperson_jax.test_convert_families import (
    BACKBONE,
    PNL,
    SIMCLR,
    assert_spelled,
    torch_of,
)

SPELLED = {
    "simclr": (
        SIMCLR,
        {
            "encoder.conv1.weight": ("params/backbone/conv1/kernel", (4, 3, 7, 7)),
            "encoder.fc.0.bias": ("params/head/fc_0/bias", (8,)),
            "encoder.fc.1.weight": ("params/head/fc_1/scale", (8,)),
            "encoder.fc.1.running_var": ("extra/stats/head/fc_1/var", (8,)),
            "encoder.fc.3.weight": ("params/head/fc_3/kernel", (6, 8)),
        },
    ),
    "pnl": (
        PNL,
        {
            "encoder_q.embed_fc.weight": ("params/embed/kernel", (7, 32)),
            "encoder_k.embed_fc.bias": ("extra/key_params/embed/bias", (7,)),
            "encoder_q.classifier.weight": ("params/classifier/kernel", (5, 7)),
            "encoder_q.classifier.bias": ("params/classifier/bias", (5,)),
            "encoder_k.classifier.weight": ("extra/key_params/classifier/kernel", (5, 7)),
            "encoder_q.fc1.weight": ("params/head/fc_0/kernel", (8, 32)),
            "encoder_k.fc2.weight": ("extra/key_params/head/fc_2/kernel", (6, 8)),
            "queue": ("extra/queue", (6, 10)),
            "queue_id": ("extra/queue_id", (10, 1)),
            "prototypes": ("extra/prototypes", (5, 6)),
        },
    ),
}


@pytest.mark.parametrize("name", SPELLED)
def test_names_and_shapes_of_the_reference_files(name):
    assert_spelled(name, *SPELLED[name])


@pytest.mark.parametrize(("family", "network"), [("simclr", SIMCLR), ("pnl", PNL)])
def test_only_the_backbone_of_a_pretraining(family, network):
    tensors = torch_of(family, network)
    model = translate.from_torch(tensors, only_backbone=True)
    assert model.account.complete
    assert (model.family, model.spec) == (family, BACKBONE)
    prefix = FAMILIES[family].trunk[0].removesuffix("conv1.")
    np.testing.assert_array_equal(
        model.tensors["params/backbone/bn1/scale"], tensors[f"{prefix}bn1.weight"]
    )


def test_what_belongs_to_identities_may_be_left_out_of_a_pretraining_with_them():
    tensors = torch_of("pnl", PNL)
    model = translate.from_torch(tensors, skip_classifier=True)
    assert model.account.complete
    assert model.spec == dataclasses.replace(PNL, num_classes=0)
    whole = translate.from_torch(tensors)
    assert whole.without_classifier().tensors.keys() == model.tensors.keys()
    gone = {path for path in whole.tensors if path not in model.tensors}
    assert gone == {
        f"{place}/classifier/{leaf}"
        for place in ("params", "extra/key_params")
        for leaf in ("kernel", "bias")
    } | {"extra/prototypes"}


def test_a_pretraining_is_taken_whole_or_not_at_all():
    """A file of PNL without its classifier, and one whose queue has no labels."""
    for lost in ("classifier", "queue_id"):
        tensors = {k: a for k, a in torch_of("pnl", PNL).items() if lost not in k}
        with pytest.raises(InputError, match=r"tensors of that network"):
            translate.from_torch(tensors)
