"""Grouping images that no one has labelled."""
