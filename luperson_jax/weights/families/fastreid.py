"""FastReID's Baseline (BoT, AGW, SBS) and MGN, as LUPerson's copy writes them, and older names."""

from luperson_jax.weights.rules import (
    POINTWISE,
    Family,
    Rule,
    batch_norm,
    blocks,
    linear,
    non_local,
    resnet,
)

_REDUCTION = "params/neck/reduction/kernel"
_LEFT_OUT = ((r"^pixel_(mean|std)$", "pixel statistics, kept beside the tensors"),)
_REFUSED = ((r"\.se\.", "it has squeeze-and-excitation, which networks of this version lack"),)

FASTREID = Family(
    name="fastreid",
    title="a FastReID model",
    signature=(r"^backbone\.layer1\.0\.conv1\.weight$",),
    rules=(
        *resnet("backbone."),
        *non_local("backbone.NL_{stage}.{number}", "backbone/NL_{stage}_{number}"),
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
    left_out=_LEFT_OUT,
    refused=_REFUSED,
    last_stride=1,
    wrapper="model",
    pixels=True,
)

_BRANCH, _HEAD = "b{branch}", "b{head}_head"
_REDUCED = "params/b1_head/reduction/kernel"

FASTREID_MGN = Family(
    name="mgn",
    title="an MGN of FastReID or LUPerson",
    signature=(r"^backbone\.0\.weight$", r"^b1\.0\.0\.conv1\.weight$"),
    rules=(
        *resnet("backbone.", stem=("0", "1"), stages=("4", "5")),
        *blocks("backbone.6", "backbone/layer3_0"),
        *blocks(f"{_BRANCH}.0.{{block}}", f"{_BRANCH}/layer3_{{block+1}}"),
        *blocks(f"{_BRANCH}.1.{{block}}", f"{_BRANCH}/layer4_{{block}}"),
        # Of a backbone that was taken out of an MGN by its first branch.
        *blocks("b1.0.{block}", "backbone/layer3_{block+1}"),
        *blocks("b1.1.{block}", "backbone/layer4_{block}"),
        *batch_norm("heads_extra_bn_b{branch}", "extra_bn_b{branch}"),
        Rule(f"{_HEAD}.pool_layer.p", f"params/{_HEAD}/pool/p"),
        Rule(f"{_HEAD}.bottleneck.0.weight", f"params/{_HEAD}/reduction/kernel", POINTWISE),
        *batch_norm(f"{_HEAD}.bottleneck.1", f"{_HEAD}/bn", needs=_REDUCED),
        *batch_norm(f"{_HEAD}.bottleneck.0", f"{_HEAD}/bn"),
        *batch_norm(f"{_HEAD}.bnneck", f"{_HEAD}/bn"),
        *linear(f"{_HEAD}.classifier", "classifier/b{head}", bias=False),
        *linear(_HEAD, "classifier/b{head}", bias=False),
    ),
    network="mgn",
    left_out=_LEFT_OUT,
    refused=_REFUSED,
    size=(384, 128),
    last_stride=1,
    wrapper="model",
    pixels=True,
)
