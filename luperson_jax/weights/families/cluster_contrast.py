"""SpCL, Cluster Contrast and CALR: a trunk as `nn.Sequential`, pooling and a BNNeck."""

from luperson_jax.weights.rules import Family, Rule, batch_norm, linear, resnet

CLUSTER_CONTRAST = Family(
    name="cluster_contrast",
    title="a model of SpCL, Cluster Contrast or CALR",
    signature=(r"^base\.0\.weight$", r"^base\.4\.0\.conv1\.weight$"),
    rules=(
        *resnet("base.", stem=("0", "1"), stages=("4", "5", "6", "7")),
        Rule("gap.p", "params/pool/p"),
        *batch_norm("feat_bn", "neck/bn"),
        *linear("classifier", "classifier", bias=False),
    ),
    network="reid",
    left_out=((r"^domain_classifier\.", "of CALR's camera classifier, which only training uses"),),
    refused=(
        (
            r"\.BN_[ST]\.",
            "it has domain-specific batch normalization (DSBN, SpCL with a source domain): two "
            "sets of statistics, and a network of this program holds one. Copy the target's "
            "(rename BN_T, drop BN_S) where you want those",
        ),
        (r"^feat\.", "it has an embedding layer with bias, which the networks here do not have"),
    ),
    statistics="imagenet",
    last_stride=1,
    wrapper="state_dict",
    prefix="module.",
)
