"""DukeMTMC-VideoReID at its published size, a frame of each tracklet: 2,196 tracklets of 8 cameras
to train on, 702 queries, 1,934 others, of whom 408 belong to nobody that is asked for."""

import collections

import numpy as np

from data_pipeline import datasets
from luperson_jax.retrieval import labels

TRAIN_TRACKLETS = (404, 378, 201, 165, 218, 348, 217, 265)
TRAIN_PEOPLE, QUERIES, DISTRACTORS = 702, 702, 408
POSITIVES = {1: 171, 2: 263, 3: 243, 4: 25}
"""Queries by the tracklets of their person before other cameras."""


def write(root):
    def tracklet(part, pid, number, camera, letter="X"):
        folder = root / part / f"{pid:04d}" / f"{number:04d}"
        folder.mkdir(parents=True)
        (folder / f"{pid:04d}_C{camera}_F0001_{letter}{9978 + number}.jpg").touch()

    number = collections.Counter()
    for camera, tracklets in enumerate(TRAIN_TRACKLETS, start=1):
        for i in range(tracklets):
            pid = i % TRAIN_PEOPLE
            number[pid] += 1
            tracklet("train", pid + 1, number[pid], camera)
    several = [count for count, queries in POSITIVES.items() for _ in range(queries)]
    for i, count in enumerate(several):
        pid, camera = 1000 + i, i % 8
        tracklet("query", pid, 1, camera + 1)
        for other in range(1, count + 1):
            tracklet("gallery", pid, other + 1, (camera + other) % 8 + 1)
    for i in range(DISTRACTORS):
        tracklet("gallery", 2000 + i, 1, i % 8 + 1, "D")


def test_the_counts_of_duke_and_of_its_protocols(tmp_path):
    write(tmp_path)
    splits = datasets.load("dukemtmc_videoreid", str(tmp_path))
    assert tuple(np.bincount(splits.train.camera)[-8:]) == TRAIN_TRACKLETS
    assert (len(splits.train), len(splits.query), len(splits.gallery)) == (2196, 702, 1934)
    found = labels.make_labels(splits.query, splits.gallery)
    assert dict(collections.Counter(found.num_matches.tolist())) == POSITIVES
    merged = datasets.load("dukemtmc_videoreid_merged", str(tmp_path))
    assert len(merged.gallery) == 2636
    again = labels.make_labels(merged.query, merged.gallery)
    np.testing.assert_array_equal(np.sort(again.num_matches), np.sort(found.num_matches))
