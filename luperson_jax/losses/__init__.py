"""Loss functions: pure, float32, one scalar each."""
