"""A world of drawn people: re-identification data that anyone may make, keep and publish."""
