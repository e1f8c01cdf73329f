"""reid-strong-baseline (BoT) and the programs that grew from it, such as AGW's own."""

from luperson_jax.weights.rules import Family, Rule, batch_norm, linear, non_local, resnet

STRONG_BASELINE = Family(
    name="strong_baseline",
    title="a model of reid-strong-baseline",
    signature=(r"^base\.conv1\.weight$", r"^base\.layer1\.0\.conv1\.weight$", r"^bottleneck\."),
    rules=(
        *resnet("base."),
        *non_local("base.NL_{stage}.{number}", "backbone/NL_{stage}_{number}"),
        Rule("global_pool.p", "params/pool/p"),
        *batch_norm("bottleneck", "neck/bn"),
        *linear("classifier", "classifier", bias=False),
    ),
    network="reid",
    statistics="imagenet",
    last_stride=1,
)
