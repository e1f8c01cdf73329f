"""The commands of `luperson`: each a file with `add_options(parser)` and `run(options)`."""
