"""A study over the divisions of a video set, in both directions, against a ranking by loops."""

import json
import pathlib
import types
import zlib

import numpy as np
import pytest

from data_pipeline import datasets
from data_pipeline.synthetic import layouts
from luperson_jax import cli
from luperson_jax.commands import evaluate
from luperson_jax.measure import tracklet_pooling
from luperson_jax.structs import EmbeddingSet
from tests import stand_in

SMALL = """
    model.width=4 model.last_stride=1 augment.statistics=imagenet data.size=32,16 data.canvas=32,16
    data.num_workers=0 data.batch_size=8 task.relation_dim=8 train.init_from= train.epochs=1
    train.steps_per_epoch=1 eval.batch_size=8 optim.milestones=
"""


def embed(table, pool):
    """Tracklets with random features, of which a person's are a little alike."""
    assert pool == "max"
    kept = tracklet_pooling.of(table, pool)
    names = [pathlib.Path(path).name for path in kept.media]  # the folder differs from run to run
    own = [np.random.default_rng(zlib.crc32(name.encode())) for name in names]
    features = [
        random.normal(size=8) + np.random.default_rng(pid).normal(size=8)
        for random, pid in zip(own, kept.pid, strict=True)
    ]
    return EmbeddingSet(np.array(features, np.float32), kept.pid, kept.camera, tuple(kept.media))


def first_hits(query, gallery):
    hits = []
    for feature, person in zip(query.features, query.pid, strict=True):
        cosines = [feature @ other / np.linalg.norm(other) for other in gallery.features]
        hits.append(gallery.pid[int(np.argmax(cosines))] == person)
    return np.mean(hits)


def test_divisions_and_directions_are_averaged(tmp_path, capsys, monkeypatch):
    stand_in.use(monkeypatch)  # it trains, and what it learned is embedded by `embed`
    recipe = types.SimpleNamespace(eval=types.SimpleNamespace(metric="cosine", pool="max"))
    opened = types.SimpleNamespace(recipe=recipe, origin="a run", facts={}, embed=embed)
    monkeypatch.setattr(evaluate.network, "open_chosen", lambda options, changes: opened)
    home, root = str(tmp_path / "data"), tmp_path / "study"
    world = {"height": 32, "width": 16, "identities": 16, "train_identities": 8, "frames": 2}
    layouts.make("ilids_vid", tmp_path / "data", **world, cameras=2, seed=3)
    row = "upmnet: upmnet:data=ilids_vid,parts=2 published.rank1=63.1"
    where = [f"data.root={home}", f"eval.root={home}", "data.split={seed}", "eval.split={seed}"]
    asked = ["study", "--root", str(root), "--seeds", "3", "--protocol", "ilids_vid"]
    assert cli.main([*asked, "--row", row, *SMALL.split(), *where]) == 0

    figures = json.loads((root / "table.json").read_text())[0]["figures"]
    people = []
    for split in range(3):
        sets = datasets.load("ilids_vid", home, split=split)
        people.append(frozenset(sets.train.pid.tolist()))
        query, gallery = (embed(part, "max") for part in (sets.query, sets.gallery))
        forth, back = first_hits(query, gallery), first_hits(gallery, query)
        found = {name: one["values"][split] for name, one in figures.items()}
        assert found["query_to_gallery_rank1"] == pytest.approx(forth)
        assert found["gallery_to_query_rank1"] == pytest.approx(back)
        assert found["rank1"] == pytest.approx((forth + back) / 2)
    assert len(set(people)) == 3
    ranks = figures["rank1"]["values"]
    assert figures["rank1"]["mean"] == pytest.approx(np.mean(ranks))
    assert figures["rank1"]["std"] == pytest.approx(np.std(ranks, ddof=1))
    assert figures["rank1"]["std"] > 0
    page = (root / "table.md").read_text()
    assert "Rank-1, query to gallery | Rank-1, gallery to query | published Rank-1 |" in page
    assert "mean of both directions" in capsys.readouterr().out
