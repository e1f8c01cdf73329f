"""Networks for other programs: traced once, written as StableHLO, ONNX or TorchScript, and not
handed over before they agree with ours.

`conventions` says what a program feeds, `tracing` writes the network as a function of that,
`lowering` and `operations` bring its jaxpr into a `graph` of few operators, which `onnx_file` and
`torch_file` write; `agreement` compares.
"""
