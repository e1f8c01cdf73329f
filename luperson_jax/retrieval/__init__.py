"""Ranking a gallery for every query."""
