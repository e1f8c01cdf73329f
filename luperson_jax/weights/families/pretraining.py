"""Pre-training files: MoCo v1 and v2 (LUPerson's too), SimCLR, SupCont and PNL of LUPerson-NL."""

from luperson_jax.weights.rules import (
    COLUMN,
    KEY_NETWORK,
    NETWORK,
    POINTER,
    QUEUE,
    ROWS,
    Family,
    Rule,
    Trees,
    batch_norm,
    linear,
    resnet,
)

_TRUNK = r"^encoder_q\.layer1\.0\.conv1\.weight$"
_QUEUE = (
    Rule("queue", "extra/queue", QUEUE),
    Rule("queue_ptr", "extra/queue_pointer", POINTER),
)


def _encoder(prefix: str, heads: dict[str, str], trees: Trees = NETWORK) -> tuple[Rule, ...]:
    layers = (rule for key, path in heads.items() for rule in linear(f"{prefix}{key}", path, trees))
    return (*resnet(prefix, trees), *layers)


_MOCO_HEADS = {"fc.0": "head/fc_0", "fc.2": "head/fc_2", "fc": "head/fc"}

MOCO = Family(
    name="moco",
    title="a MoCo pre-training file",
    signature=(_TRUNK,),
    rules=(
        *_encoder("encoder_q.", _MOCO_HEADS),
        *_encoder("encoder_k.", _MOCO_HEADS, KEY_NETWORK),
        *_QUEUE,
    ),
    network="moco",
    wrapper="state_dict",
    prefix="module.",
)

_PNL_HEADS = {
    "embed_fc": "embed",
    "classifier": "classifier",
    "fc1": "head/fc_0",
    "fc2": "head/fc_2",
}

PNL = Family(
    name="pnl",
    title="a PNL pre-training file of LUPerson-NL",
    signature=(_TRUNK, r"^encoder_q\.(embed_fc|classifier|fc1)\."),
    rules=(
        *_encoder("encoder_q.", _PNL_HEADS),
        *_encoder("encoder_k.", _PNL_HEADS, KEY_NETWORK),
        *_QUEUE,
        Rule("queue_id", "extra/queue_id", COLUMN),
        Rule("prototypes", "extra/prototypes", ROWS),
    ),
    network="pnl",
    statistics="lmdb_200_20",
    wrapper="state_dict",
    prefix="module.",
)

SIMCLR = Family(
    name="simclr",
    title="a SimCLR or SupCont pre-training file",
    signature=(r"^encoder\.conv1\.weight$", r"^encoder\.layer1\.0\.conv1\.weight$"),
    rules=(
        *_encoder("encoder.", {"fc.0": "head/fc_0", "fc.3": "head/fc_3"}),
        *batch_norm("encoder.fc.1", "head/fc_1"),
        *linear("encoder.fc.2", "head/fc_2"),
        *linear("encoder.fc", "head/fc"),
    ),
    network="simclr",
    wrapper="state_dict",
    prefix="module.",
)
