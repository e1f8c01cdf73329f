"""Numbers with XLA's optimizations on, as users run them; all other tests leave most off."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
ROOM = "tests/luperson_jax"

TESTS = [
    f"{ROOM}/test_vectors.py",
    f"{ROOM}/test_tiles.py",
    f"{ROOM}/test_ranking.py::test_ranks_and_ties_equal_a_sort",
    f"{ROOM}/test_ranking.py::test_embeddings_rank_like_their_distances",
    f"{ROOM}/test_ranking.py::test_top_matches_are_the_head_of_the_ranking",
    f"{ROOM}/test_ranking_properties.py::test_both_ways_of_counting_agree",
    f"{ROOM}/test_neighbors.py::test_the_search_on_a_mesh_equals_that_on_the_host",
    f"{ROOM}/test_losses.py::test_info_nce_equals_cross_entropy_over_the_joined_logits",
    f"{ROOM}/test_losses.py::test_only_the_query_has_a_gradient",
    f"{ROOM}/test_losses.py::test_padding_changes_neither_loss_nor_gradient_nor_accuracy",
]


def test_ranking_distances_and_losses_hold_in_optimized_programs():
    options = ["-q", "-p", "no:cacheprovider", "-n", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *TESTS],
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
