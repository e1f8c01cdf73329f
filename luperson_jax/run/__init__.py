"""One run: its loop, the one step, its state, and what it says."""
