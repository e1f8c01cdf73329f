"""Pre-training files: MoCo v1 and v2 (LUPerson's too), SimCLR, SupCont and PNL of LUPerson-NL."""

from luperson_jax.weights.rules import (
    KEY_NETWORK,
    NETWORK,
    POINTER,
    QUEUE,
    Family,
    Rule,
    Trees,
    linear,
    resnet,
)


def _encoder(prefix: str, trees: Trees) -> tuple[Rule, ...]:
    head = (("fc.0", "head/fc_0"), ("fc.2", "head/fc_2"), ("fc", "head/fc"))
    layers = (rule for key, path in head for rule in linear(f"{prefix}{key}", path, trees))
    return (*resnet(prefix, trees), *layers)


MOCO = Family(
    name="moco",
    title="a MoCo pre-training file",
    signature=(r"^encoder_q\.layer1\.0\.conv1\.weight$",),
    rules=(
        *_encoder("encoder_q.", NETWORK),
        *_encoder("encoder_k.", KEY_NETWORK),
        Rule("queue", "extra/queue", QUEUE),
        Rule("queue_ptr", "extra/queue_pointer", POINTER),
    ),
    network="moco",
    wrapper="state_dict",
    prefix="module.",
)

PNL = Family(
    name="pnl",
    title="a PNL pre-training file of LUPerson-NL",
    signature=(r"^encoder_q\.layer1\.0\.conv1\.weight$", r"^encoder_q\.embed_fc\."),
    rules=resnet("encoder_q."),
    left_out=(
        (r"^encoder_q\.(embed_fc|classifier|fc1|fc2)\.", "of heads that only PNL trains"),
        (r"^encoder_k\.", "of the key encoder"),
        (r"^(queue|queue_id|queue_ptr|prototypes)$", "of the memory of the pre-training"),
    ),
    statistics="lmdb_200_20",
)

SIMCLR = Family(
    name="simclr",
    title="a SimCLR or SupCont pre-training file",
    signature=(r"^encoder\.conv1\.weight$", r"^encoder\.layer1\.0\.conv1\.weight$"),
    rules=resnet("encoder."),
    left_out=((r"^encoder\.fc\.", "of the projection head"),),
)
