"""Bytes to pictures, and batches of them from threads and processes."""
