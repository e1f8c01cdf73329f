"""FastReID's Baseline (BoT and its kin), as LUPerson's copy writes it, and its older names."""

from luperson_jax.convert.rules import POINTWISE, Family, Rule, batch_norm, linear, resnet

_REDUCTION = "params/neck/reduction/kernel"

FASTREID = Family(
    name="fastreid",
    title="a FastReID model",
    signature=(r"^backbone\.layer1\.0\.conv1\.weight$",),
    rules=(
        *resnet("backbone."),
        *batch_norm("heads_extra_bn", "extra_bn"),
        Rule("heads.pool_layer.p", "params/pool/p"),
        Rule("heads.bottleneck.0.weight", _REDUCTION, POINTWISE),
        *batch_norm("heads.bottleneck.1", "neck/bn", needs=_REDUCTION),
        *batch_norm("heads.bottleneck.0", "neck/bn"),
        *batch_norm("heads.bnneck", "neck/bn"),
        *linear("heads.classifier", "classifier", bias=False),
        *linear("heads", "classifier", bias=False),
    ),
    network="reid",
    left_out=((r"^pixel_(mean|std)$", "pixel statistics, kept beside the tensors"),),
    refused=(
        (
            r"^backbone\.NL_\d+\.",
            "it has non-local blocks (AGW, SBS), which the networks of this version do not have",
        ),
        (
            r"\.se\.",
            "it has squeeze-and-excitation, which networks of this version lack",
        ),
    ),
    last_stride=1,
    wrapper="model",
)
