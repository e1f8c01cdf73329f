"""`luperson evaluate`, `metrics`, `embed`, `search`, `calibrate`, on a network of two steps."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_pipeline import datasets
from luperson_jax import cli
from luperson_jax.measure import embeddings
from luperson_jax.retrieval import expansion, protocols, ranking
from luperson_jax.workdir import checkpoint
from tests.end_to_end.commands import FINETUNE, run_here

PARTS = ("query", "gallery")
CURVES = (
    "mAP",
    "mINP",
    "rank1",
    "rank5",
    "rank10",
    "rank20",
    "cmc",
    "num_queries",
    "num_valid_queries",
)


def luperson(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def read_json(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, labelled_world) -> pathlib.Path:
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("runs") / "finetune"
    worlds = [f"--config.data.root={labelled_world}", f"--config.eval.root={labelled_world}"]
    assert run_here(*FINETUNE, *worlds, f"--workdir={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, workdir, labelled_world) -> pathlib.Path:
    """What `luperson evaluate` leaves behind."""
    out = tmp_path_factory.mktemp("evaluated")
    data = ["--workdir", workdir, "--dataset", "market1501", "--root", labelled_world]
    files = ["--json", out / "out.json", "--report", out / "out.html"]
    again = ["--rerank", "--k1", 4, "--k2", 2]
    assert luperson("evaluate", *data, *again, *files, "--save-embeddings", out / "saved") == 0
    return out


def test_evaluate_gives_the_figures_of_the_run(evaluated, workdir):
    found, expected = read_json(evaluated / "out.json"), read_json(workdir / "results.json")
    for name in CURVES:
        assert found["without_rerank"][name] == pytest.approx(expected[name], abs=1e-9)
    assert found["step"] == expected["step"]
    assert found["settings"]["rerank"] == {"k1": 4, "k2": 2, "lambda": 0.3}
    assert found["mAP"] != found["without_rerank"]["mAP"]


def test_metrics_of_what_was_saved_are_those_of_the_evaluation(evaluated, tmp_path, capsys):
    saved = evaluated / "saved"
    for name in ("query", "gallery"):
        kept = embeddings.read(saved / name, labelled=True)
        embeddings.write(tmp_path / f"{name}.npz", kept)
    places = ["--query", tmp_path / "query.npz", "--gallery", saved / "gallery"]
    again = ["--rerank", "--k1", 4, "--k2", 2]
    assert luperson("metrics", *places, *again, "--json", tmp_path / "out.json") == 0
    out = capsys.readouterr().out
    assert "re-ranked" in out
    found, expected = read_json(tmp_path / "out.json"), read_json(evaluated / "out.json")
    for name in (*CURVES, "without_rerank"):
        assert found[name] == expected[name]
    assert f"{100 * found['mAP']:.2f}" in out


def test_a_gallery_in_two_parts_counts_as_one(evaluated, tmp_path):
    saved = evaluated / "saved"
    gallery = embeddings.read(saved / "gallery", labelled=True)
    rows = np.arange(len(gallery.pid))
    for name, part in (("a.npz", rows[:7]), ("b.npz", rows[7:])):
        embeddings.write(tmp_path / name, gallery.take(part))
    parts = ["--gallery", tmp_path / "a.npz", "--gallery", tmp_path / "b.npz"]
    files = ["--json", tmp_path / "out.json", "--report", tmp_path / "out.html"]
    again = ["--rerank", "--k1", 4, "--k2", 2, "--max-rank", 5]
    assert luperson("metrics", "--query", saved / "query", *parts, *again, *files) == 0
    found, expected = read_json(tmp_path / "out.json"), read_json(evaluated / "out.json")
    assert found["mAP"] == expected["mAP"]
    assert found["without_rerank"]["mAP"] == expected["without_rerank"]["mAP"]
    assert found["cmc"] == expected["cmc"][:5]
    assert (tmp_path / "out.html").read_text().count("data:image/jpeg") == 12 * (1 + 8)


def test_the_page_has_curves_pairs_and_lists(evaluated):
    page = (evaluated / "out.html").read_text()
    assert page.count("<svg") == 4
    for words in ("re-ranked", "Same person or not", "t-SNE", "class='right'", "class='wrong'"):
        assert words in page
    assert "href='" not in page
    assert "src='http" not in page


def test_a_page_without_pictures_says_so(evaluated, tmp_path):
    saved = {name: embeddings.read(evaluated / "saved" / name, labelled=True) for name in PARTS}
    for name, one in saved.items():
        np.savez(tmp_path / f"{name}.npz", features=one.features, pid=one.pid, camera=one.camera)
        arrays = {"features": one.features, "pid": one.pid, "camera": one.camera}
        np.savez(tmp_path / f"gone-{name}.npz", key=[f"gone/{k}" for k in one.key], **arrays)
    for prefix, words in (("", "do not say where"), ("gone-", "cannot read the picture gone/")):
        paths = [tmp_path / f"{prefix}{name}.npz" for name in PARTS]
        page = tmp_path / f"{prefix}out.html"
        assert (
            luperson("metrics", "--query", paths[0], "--gallery", paths[1], "--report", page) == 0
        )
        assert words in page.read_text()


def test_other_protocols_and_expansion(evaluated, tmp_path, capsys):
    saved = {name: embeddings.read(evaluated / "saved" / name, labelled=True) for name in PARTS}
    asked = ["metrics", "--query", evaluated / "saved" / "query"]
    asked += ["--gallery", evaluated / "saved" / "gallery", "--json", tmp_path / "out.json"]
    assert luperson(*asked, "--protocol", "cuhk03_classic", "--max-rank", 20) == 0
    assert "cuhk03_classic, mean of 10" in capsys.readouterr().out
    found, market = read_json(tmp_path / "out.json"), read_json(evaluated / "out.json")
    expected = protocols.evaluate(
        saved["query"], saved["gallery"], protocols.PROTOCOLS["cuhk03_classic"], max_rank=20
    )
    assert (found["mAP"], found["cmc"]) == (expected.mAP, expected.cmc.tolist())
    assert found["mAP"] == market["without_rerank"]["mAP"]
    assert found["cmc"] != market["without_rerank"]["cmc"][:20]
    assert found["settings"]["protocol"] == "cuhk03_classic"

    assert luperson(*asked, "--expand", 5) == 0
    found = read_json(tmp_path / "out.json")
    features = expansion.average_both(*(saved[name].features for name in PARTS))
    sets = [
        dataclasses.replace(saved[name], features=one)
        for name, one in zip(PARTS, features, strict=True)
    ]
    assert found["mAP"] == ranking.rank(*sets).mAP
    assert found["settings"]["expand"] == 5


def test_embed_keeps_order_and_names_and_needs_no_identity(workdir, evaluated, tmp_path, capsys):
    gallery = embeddings.read(evaluated / "saved" / "gallery", labelled=True)
    folder = tmp_path / "own"
    for number in (2, 0, 1):  # copies under names of one's own
        inner = folder / f"deep{number}"
        inner.mkdir(parents=True)
        shutil.copy(gallery.key[number], inner / "crop.jpg")
    places = [gallery.key[5], folder, gallery.key[4]]
    for out in (tmp_path / "own.npz", tmp_path / "saved"):
        assert luperson("embed", "--workdir", workdir, *places, "--out", out) == 0
        assert "5 pictures" in capsys.readouterr().out
        found = embeddings.read(out, labelled=False)
        copies = [str(folder / f"deep{number}" / "crop.jpg") for number in range(3)]
        assert list(found.key) == [places[0], *copies, places[2]]
        expected = gallery.features[[5, 0, 1, 2, 4]]
        np.testing.assert_allclose(found.features, expected, atol=1e-5)
        assert np.all(found.pid == -1)


def test_with_mirror_images_left_and_right_are_alike(workdir, labelled_world, tmp_path):
    picture = next(iter((labelled_world / "query").iterdir()))
    with Image.open(picture) as opened:
        opened.save(tmp_path / "a.png")
        ImageOps.mirror(opened).save(tmp_path / "b.png")
    apart = {}
    for option in ("--flip", "--no-flip"):
        out = tmp_path / f"{option}.npz"
        asked = ["embed", "--workdir", workdir, tmp_path / "a.png", tmp_path / "b.png"]
        assert luperson(*asked, option, f"--out={out}") == 0
        one, other = embeddings.read(out, labelled=False).features
        apart[option] = np.abs(one - other).max() / np.abs(one).max()
    assert apart["--flip"] < 1e-5
    assert apart["--no-flip"] > 1e-3


def test_search_finds_a_picture_in_its_folder(workdir, labelled_world, tmp_path, capsys):
    gallery = labelled_world / "bounding_box_test"
    query = sorted(gallery.iterdir())[3]
    out = tmp_path / "sheet.png"
    asked = ["search", query, "--gallery", gallery, "--workdir", workdir, "--top", 4]
    assert luperson(*asked, "--json", tmp_path / "out.json", "--out", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(query)
    assert lines[1].split()[0] == "1"
    assert lines[1].endswith(str(query))
    (found,) = read_json(tmp_path / "out.json")["queries"]
    assert found["matches"][0]["key"] == str(query)
    assert found["matches"][0]["distance"] == pytest.approx(0, abs=1e-5)
    distances = [one["distance"] for one in found["matches"]]
    assert distances == sorted(distances)
    assert len(distances) == 4
    assert "same_identity" not in found["matches"][0]
    with Image.open(out) as picture:
        assert picture.width > picture.height


def test_search_in_saved_embeddings_needs_no_run(evaluated, tmp_path):
    saved = evaluated / "saved"
    query, gallery = (embeddings.read(saved / name, labelled=True) for name in PARTS)
    asked = ["search", saved / "query", "--gallery", saved / "gallery", "--top", 3]
    assert luperson(*asked, "--json", tmp_path / "a.json", "--out", tmp_path / "a.html") == 0
    assert luperson(*asked, "--keep-same-camera", "--json", tmp_path / "b.json") == 0
    passed_over, kept = (read_json(tmp_path / f"{name}.json")["queries"] for name in "ab")
    unit = [
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query.features, gallery.features)
    ]
    order = np.argsort(1 - unit[0] @ unit[1].T, axis=1, kind="stable")
    for number, (one, other) in enumerate(zip(passed_over, kept, strict=True)):
        near = order[number]
        same = gallery.pid[near] == query.pid[number]
        left = near[~(same & (gallery.camera[near] == query.camera[number]))][:3]
        for found, expected in ((one, left), (other, near[:3])):
            assert [match["row"] for match in found["matches"]] == expected.tolist()
            right = [match["same_identity"] for match in found["matches"]]
            assert right == (gallery.pid[expected] == query.pid[number]).tolist()
    page = (tmp_path / "a.html").read_text()
    assert page.count("<img") == len(query.pid) * 4
    assert page.count("class='right'") == sum(
        match["same_identity"] for one in passed_over for match in one["matches"]
    )


def test_a_reranked_search_has_other_distances(evaluated, tmp_path):
    saved = evaluated / "saved"
    asked = ["search", saved / "query", "--gallery", saved / "gallery", "--json"]
    assert luperson(*asked, tmp_path / "a.json") == 0
    assert luperson(*asked, tmp_path / "b.json", "--rerank", "--k1", 4, "--k2", 2) == 0
    plain, again = (read_json(tmp_path / f"{name}.json")["queries"] for name in "ab")
    assert plain != again


def test_calibrate_says_what_the_curve_says(evaluated, tmp_path, capsys):
    saved = evaluated / "saved"
    places = ["--query", saved / "query", "--gallery", saved / "gallery"]
    asked = ["--far", 0.1, "--promise", "measured", "--json", tmp_path / "a.json"]
    assert luperson("calibrate", *places, *asked) == 0
    out = capsys.readouterr().out
    found = read_json(tmp_path / "a.json")
    query, gallery = (embeddings.read(saved / name, labelled=True) for name in PARTS)
    unit = [
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query.features, gallery.features)
    ]
    distance = 1 - unit[0] @ unit[1].T
    different = (query.pid[:, None] != gallery.pid[None]) & (gallery.pid != -1)[None]
    assert found["false_accepts"]["pairs"] == different.sum()
    accepted = np.mean(distance[different] <= found["distance"] + 1e-6)
    assert found["false_accepts"]["value"] == pytest.approx(accepted, abs=2 / different.sum())
    assert 0.05 < accepted <= 0.1
    assert f"<= {found['distance']:.6f} (similarity >= {1 - found['distance']:.6f})" in out
    low, high = found["false_accepts"]["interval_by_identities"]
    assert low <= accepted <= high
    one_set = ["--embeddings", saved / "gallery", "--far", 0.001, "--pairs", "all"]
    assert luperson("calibrate", *one_set, "--json", tmp_path / "b.json") == 0
    assert "hardly measured" in capsys.readouterr().out
    num = np.sum(gallery.pid != -1)
    pairs = read_json(tmp_path / "b.json")
    assert sum(pairs[name]["pairs"] for name in ("false_accepts", "true_accepts")) == (
        num * (num - 1) / 2
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory, workdir, evaluated, labelled_world) -> dict[str, pathlib.Path]:
    """Files and folders that mistakes are made with, by the name that stands for them."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "empty").mkdir()
    (folder / "words.jpg").write_text("no picture")
    (folder / "words.npz").write_text("no arrays")
    good = {"features": np.ones((4, 3), np.float32), "pid": np.arange(4), "camera": np.arange(4)}
    damaged = good["features"].copy()
    damaged[2, 1] = np.nan
    for name, change in {
        "good": {},
        "wide": {"features": np.ones((4, 5), np.float32)},
        "nan": {"features": damaged},
        "short": {"pid": np.arange(3)},
        "strangers": {"pid": np.arange(10, 14)},
        "none": {"features": np.zeros((0, 3), np.float32)},
    }.items():
        np.savez(folder / f"{name}.npz", **{**good, **change})
    np.savez(folder / "unlabelled.npz", features=good["features"])
    old = folder / "old"
    shutil.copytree(workdir, old)
    recipe = read_json(old / "recipe.json")
    recipe["model"]["width"] = 4
    (old / "recipe.json").write_text(json.dumps(recipe))
    bare = folder / "bare"
    bare.mkdir()
    shutil.copy(workdir / "recipe.json", bare)
    assert checkpoint.Checkpoints(workdir, read_only=True).steps()
    world = {"workdir": workdir, "world": labelled_world, "saved": evaluated / "saved"}
    picture = datasets.load("market1501", str(labelled_world)).query.media[0]
    return {"tmp": folder, "picture": pathlib.Path(picture), **world}


EVALUATE = ["evaluate", "--workdir={workdir}", "--dataset=market1501", "--root={world}"]
METRICS = ["metrics", "--query={tmp}/good.npz", "--gallery={tmp}/strangers.npz"]
OWN = ["metrics", "--query={saved}/query", "--gallery={saved}/gallery"]
EMBED = ["embed", "--workdir={workdir}", "--out={tmp}/new.npz"]
SEARCH = ["search", "{picture}", "--gallery={world}", "--workdir={workdir}"]

# Options given later win; what the one message must name.
MISTAKES = {
    "no workdir": ([*EVALUATE, "--workdir={tmp}/absent"], ["absent is no workdir", "recipe.json"]),
    "no checkpoint": ([*EVALUATE, "--workdir={tmp}/bare"], ["bare holds no checkpoints"]),
    "recipe of another network": ([*EVALUATE, "--workdir={tmp}/old"], ["old", "does not hold"]),
    "no such data set": ([*EVALUATE, "--dataset=market"], ["'market'", "'market1501'"]),
    "no data": ([*EVALUATE, "--root={tmp}/absent"], ["absent does not exist"]),
    "no queries": (
        [*EVALUATE, "--dataset=image_folder"],
        ["image_folder", "no query images"],
    ),
    "no such split": ([*EVALUATE, "--split=2"], ["split 2 of market1501"]),
    "no average": ([*EVALUATE, "--average"], ["keeps no average"]),
    "batch and devices": ([*EVALUATE, "--batch-size=3"], ["eval.batch_size=3", "2 devices"]),
    "embeddings exist": ([*EVALUATE, "--save-embeddings={saved}"], ["saved exists"]),
    "no folder for JSON": ([*METRICS, "--json={tmp}/absent/a.json"], ["--json", "no folder"]),
    "a report of another kind": ([*METRICS, "--report={tmp}/a.pdf"], ["a.pdf", ".html"]),
    "no file": ([*METRICS, "--query={tmp}/absent.npz"], ["absent.npz does not exist", "features"]),
    "no arrays": ([*METRICS, "--query={tmp}/words.npz"], ["words.npz cannot be read"]),
    "no identities": ([*METRICS, "--query={tmp}/unlabelled.npz"], ["unlabelled.npz has no pid"]),
    "lengths differ": ([*METRICS, "--query={tmp}/short.npz"], ["pid of", "short.npz", "(3,)"]),
    "dimensions differ": ([*METRICS, "--query={tmp}/wide.npz"], ["5 dimensions", "3"]),
    "nan": ([*METRICS, "--query={tmp}/nan.npz"], ["nan", "row 2"]),
    "empty": ([*METRICS, "--query={tmp}/none.npz"], ["none.npz", "(4,)"]),
    "no match": (METRICS, ["none of the 4 queries has a match"]),
    "no such metric": ([*METRICS, "--metric=l1"], ["l1", "cosine"]),
    "max-rank": ([*METRICS, "--gallery={tmp}/good.npz", "--max-rank=0"], ["max_rank is 0"]),
    "no such protocol": ([*METRICS, "--protocol=market"], ["market", "cuhk03_classic"]),
    "protocol and re-ranking": (
        [*METRICS, "--protocol=mars", "--rerank"],
        ["--rerank goes with", "mars"],
    ),
    "expansion": ([*METRICS, "--expand=-1"], ["-1"]),
    "k1": ([*OWN, "--rerank", "--k1=0"], ["k1 is 0"]),
    "lambda": ([*OWN, "--rerank", "--lambda=2"], ["lambda", "2"]),
    "galleries of two networks": (
        [*METRICS, "--gallery={saved}/gallery", "--rerank"],
        ["3 dimensions"],
    ),
    "pictures missing": (
        [*EMBED, "{tmp}/absent"],
        ["absent does not exist; expected a picture, or a folder of pictures"],
    ),
    "query missing": (
        [*SEARCH, "{tmp}/absent.jpg"],
        ["absent.jpg does not exist; its folder, ", "holds 1 pictures of other names"],
    ),
    "folder without pictures": ([*EMBED, "{tmp}/empty"], ["no picture in", "empty"]),
    "no picture": ([*EMBED, "{tmp}/words.jpg"], ["words.jpg", "not a picture"]),
    "target exists": ([*EMBED, "{picture}", "--out={tmp}/good.npz"], ["good.npz exists"]),
    "target without folder": ([*EMBED, "{picture}", "--out={tmp}/absent/a.npz"], ["no folder"]),
    "nothing to embed": (EMBED, ["IMAGES"]),
    "top": ([*SEARCH, "--top=0"], ["length 0"]),
    "pictures without a run": (
        ["search", "{picture}", "--gallery={world}"],
        ["--workdir DIR of a run"],
    ),
    "kinds mixed": ([*SEARCH, "--gallery={saved}/gallery"], ["mixes pictures and saved"]),
    "a sheet of another kind": ([*SEARCH, "--out={tmp}/a.pdf"], ["a.pdf", ".png or .html"]),
    "nothing to calibrate": (["calibrate"], ["either --embeddings, or --query and --gallery"]),
    "query alone": (["calibrate", "--query={saved}/query"], ["--query and --gallery"]),
    "no share": (["calibrate", "--embeddings={saved}/gallery", "--far=2"], ["between 0 and 1"]),
    "no pair": (["calibrate", "--embeddings={tmp}/good.npz"], ["no pair of the same person"]),
    "nobody left": (
        ["calibrate", "--embeddings={tmp}/good.npz", "--leave-out", "0", "1", "2", "3"],
        ["every identity of"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_one_message(mistake, places, capfd):
    arguments, words = MISTAKES[mistake]
    status = luperson(*(argument.format(**places) for argument in arguments))
    out, message = capfd.readouterr()
    assert status == 2
    assert message.startswith("luperson: ")
    assert message.count("luperson: ") == 1
    assert "Traceback" not in message + out
    for word in words:
        assert word in message
    assert not (places["tmp"] / "new.npz").exists()
