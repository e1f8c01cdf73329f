"""The rows that are trained on, and the order in which they come."""
