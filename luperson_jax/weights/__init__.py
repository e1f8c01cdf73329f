"""PyTorch checkpoints to our parameters and back: rule tables, files and the report."""
