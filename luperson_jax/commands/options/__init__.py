"""What a command line takes: light modules, which import nothing that a `--help` must not wait for.

Each has a docstring for the help, with an example, and `add_options(parser)`.
"""
