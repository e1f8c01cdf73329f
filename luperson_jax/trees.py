"""Leaves of a tree by name: the path of a leaf is its keys joined by '/'."""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from data_pipeline.errors import InputError, shorten
from luperson_jax.structs import Tree

NUM_LISTED_PATHS = 40


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def path_names(tree: Tree) -> list[str]:
    """The path of every leaf, in the order of `jax.tree.leaves`."""
    return [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def by_name(tree: Tree) -> dict[str, Any]:
    """Every leaf by its path."""
    return dict(zip(path_names(tree), jax.tree.leaves(tree), strict=True))


def nest(leaves: Mapping[str, Any]) -> Tree:
    """Nested dicts of leaves by path: the inverse of `by_name` for a tree of dicts."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def map_with_path(function: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """`jax.tree.map` with the path of the leaf as first argument of the function."""
    return jax.tree_util.tree_map_with_path(
        lambda path, *leaves: function(_name(path), *leaves), tree, *rest
    )


def match_paths(tree: Tree, pattern: str) -> Tree:
    """Which leaves a pattern means.

    Args:
        tree: any tree.
        pattern: regular expression, looked for anywhere in the path (`re.search`).

    Returns:
        A tree of the same structure with True where the path matches.

    Raises:
        InputError: the pattern is no regular expression, or no leaf matches. A rule that does
            nothing is nearly always a misspelt name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{pattern!r} is not a regular expression: {error}") from error
    matches = map_with_path(lambda path, _: expression.search(path) is not None, tree)
    if not any(jax.tree.leaves(matches)):
        paths = path_names(tree)
        listed = "\n  ".join(shorten(paths, NUM_LISTED_PATHS))
        raise InputError(
            f"the pattern {pattern!r} matches no parameter; expected a regular expression for "
            f"some of these paths:\n  {listed}"
        )
    return matches


def fingerprint(tensors: Mapping[str, np.ndarray]) -> str:
    """Hexadecimal digits that change with any name, shape, type or number."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.shape} {tensor.dtype}\0".encode())
        digest.update(np.ascontiguousarray(tensor).view(np.uint8).data)
    return digest.hexdigest()
