"""Several data sets in one table: how many pictures each gives, and in which order."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.read.loader import Loader, LoaderOptions
from data_pipeline.subsets import merge
from data_pipeline.table import samplers
from data_pipeline.table.records import make_table

SIZES = (5, 30, 12)


def table_of(sizes=SIZES):
    table = make_table([(f"{row}.jpg", -1, -1, -1) for row in range(sum(sizes))])
    source = np.repeat(np.arange(len(sizes), dtype=np.int16), sizes)
    return dataclasses.replace(table, source=source)


def slow_shares(weights, num):
    """Whole parts first; what is left goes to the largest fractions, of equal ones to the first."""
    exact = [weight / sum(weights) * num for weight in weights]
    counts = [int(one) for one in exact]
    places = sorted(range(len(exact)), key=lambda place: counts[place] - exact[place])
    for place in places[: num - sum(counts)]:
        counts[place] += 1
    return counts


def slow_mixed(sizes, batch_size, weights, seed, epoch, num_steps):
    """The whole stream of every data set, from its first pass on."""
    chosen, begin = [], 0
    for place, count in enumerate(slow_shares(weights, batch_size * num_steps)):
        stream = []
        while len(stream) < (epoch + 1) * count:
            sequence = np.random.SeedSequence([seed, place + 1, len(stream) // sizes[place]])
            rows = range(begin, begin + sizes[place])
            stream += np.random.default_rng(sequence).permutation(rows).tolist()
        chosen += stream[epoch * count : (epoch + 1) * count]
        begin += sizes[place]
    order = np.random.default_rng(np.random.SeedSequence([seed, epoch]))
    return order.permutation(chosen).reshape(num_steps, batch_size)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 0.2, 0.3), (8.0, 1.0, 2.0)])
@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_an_epoch_is_that_of_the_slow_loop(weights, epoch):
    found = samplers.mixed(table_of(), 4, weights, 3, epoch, 6)
    expected = slow_mixed(SIZES, 4, weights, 3, epoch, 6)
    np.testing.assert_array_equal(found, expected)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(0, 500))
def test_shares_are_within_one_of_the_weights(weights, num):
    counts = samplers.shares(weights, num)
    assert counts.sum() == num
    assert np.abs(counts - np.array(weights) / np.sum(weights) * num).max() < 1 + 1e-9


def test_every_picture_of_a_set_comes_before_one_comes_again():
    """However the passes through the sets lie in the epochs."""
    table, weights = table_of(), (2.0, 1.0, 1.0)
    epochs = [samplers.mixed(table, 4, weights, 0, epoch, 4).ravel() for epoch in range(11)]
    times = np.bincount(np.concatenate(epochs), minlength=len(table))
    assert table.source is not None
    for place in range(3):
        of_set = times[table.source == place]
        assert of_set.max() - of_set.min() <= 1
        assert of_set.sum() == 11 * 16 * (2, 1, 1)[place] // 4
    assert np.any(np.sort(epochs[0]) != np.sort(epochs[1]))


def test_seeds_and_epochs_differ_and_nothing_else_does():
    table, weights = table_of(), (1.0, 1.0, 2.0)
    first = samplers.mixed(table, 4, weights, 0, 0, 6)
    np.testing.assert_array_equal(first, samplers.mixed(table, 4, weights, 0, 0, 6))
    for seed, epoch in ((1, 0), (0, 1)):
        assert np.any(samplers.mixed(table, 4, weights, seed, epoch, 6) != first)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_batches_tell_of_which_set_a_picture_is(kind, labelled_world, unlabelled_world):
    text = f"image_folder={unlabelled_world},market1501={labelled_world}"
    table = merge.training_table(text)
    assert table.source is not None
    np.testing.assert_array_equal(table.source, np.arange(len(table)) >= 64)
    rows = np.array([[0, 70, 63, -1], [64, 1, 65, 2]])
    options = LoaderOptions((8, 4), num_workers=1, worker_kind=kind)
    with Loader(table, rows, options) as loader:
        found = [batch["source"] for batch in loader]
    np.testing.assert_array_equal(found, [[0, 1, 0, -1], [1, 0, 1, 0]])
    assert found[0].dtype == np.int32
    assert table.take(np.array([70, 3])).source.tolist() == [1, 0]
