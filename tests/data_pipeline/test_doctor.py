"""What the doctor says of healthy, foreign and broken folders."""

import dataclasses
import json
import shutil

import pytest

from data_pipeline import datasets, doctor, findings
from data_pipeline.errors import InputError
from data_pipeline.read import lmdb_store, storage
from data_pipeline.synthetic import layouts
from luperson_jax import cli

SMALL = {"identities": 6, "cameras": 2, "height": 32, "width": 16, "images_per_camera": 2}
WORDS = {
    "market1501": "market1501",
    "market1501_500k": "market1501_500k",
    "dukemtmc": "dukemtmc",
    "msmt17": "msmt17",
    "msmt17_v2": "msmt17",
    "msmt17_repackaged": "msmt17",
    "cuhk03": "cuhk03_np_labeled",
    "cuhk03_np": "cuhk03_np_labeled",
    "personx": "personx",
    "cuhk_sysu": "cuhk_sysu",
    "veri776": "veri776",
    "luperson": "luperson",
    "luperson_nl": "luperson_nl",
    "luperson_lmdb": "luperson",
    "luperson_nl_lmdb": "luperson_nl",
    "mars": "mars",
    "dukemtmc_videoreid": "dukemtmc_videoreid",
    "prid2011": "prid2011",
    "ilids_vid": "ilids_vid",
}


@pytest.fixture
def market(tmp_path):
    root = tmp_path / "data" / "people"
    layouts.make("market1501", root, **SMALL)
    return root


def text(found: findings.Findings) -> str:
    return "\n".join(findings.describe(found))


@pytest.mark.parametrize("layout", WORDS)
def test_every_layout_is_recognized_and_whole(layout, tmp_path):
    layouts.make(layout, tmp_path / "root", **SMALL, frames=3)
    found = doctor.examine("auto", str(tmp_path / "root"))
    assert found.dataset.name == WORDS[layout]
    assert found.healthy, text(found)
    assert not found.published, "a miniature cannot have the published numbers"
    assert found.decoded == sum(part.found.images or 0 for part in found.parts.values())


def test_counts_junk_distractors_and_the_fingerprint_of_the_training(market):
    found = doctor.examine("market1501", str(market))
    train = found.parts["train"].found
    assert (train.images, train.ids, train.cameras) == (12, 3, 2)
    assert found.aside == {"junk detections (identity -1)": 8}
    assert found.distractors == 16
    assert found.fingerprint == datasets.load("market1501", str(market)).train.fingerprint()
    assert "12 (12936)  3 (751)  2 (6)    differs" in text(found)


def test_published_numbers_are_recognized(market, monkeypatch):
    found = doctor.examine("market1501", str(market), pictures=False)
    counts = {name: part.found for name, part in found.parts.items()}
    twin = datasets.DATASETS["market1501"]
    monkeypatch.setitem(datasets.DATASETS, "market1501", dataclasses.replace(twin, counts=counts))
    found = doctor.examine("market1501", str(market))
    assert found.published
    assert text(found).endswith("verdict: whole, with the published numbers")
    assert cli.main(["data", "check", "market1501", str(market)]) == 0


def test_a_path_wrong_by_one_level_is_put_right(market):
    found = doctor.examine("auto", str(market / ".."))
    assert found.root == str(market)
    assert f"the folder to give is {market}, one level from" in text(found)


def test_a_folder_is_judged_by_itself_and_not_by_what_lies_beside_it(market, tmp_path):
    part = market / "query"
    beside = doctor.examine("auto", str(part))
    shutil.copytree(part, tmp_path / "alone" / "query")
    alone = doctor.examine("auto", str(tmp_path / "alone" / "query"))
    assert beside.root == str(part)
    assert beside == dataclasses.replace(alone, root=str(part))
    assert "names tell identity and camera as in Market-1501" in text(beside)
    assert "give the folder above it" in text(beside)


def test_only_a_folder_that_holds_nothing_looks_around_and_says_so(market):
    shutil.rmtree(market / "query")
    (market / "query").mkdir()
    found = doctor.examine("auto", str(market / "query"))
    assert found.root == str(market)
    assert "query holds no picture and no layout, so the folder above it was" in text(found)
    assert f"the folder to give is {market}" in text(found)


def test_packings_beside_a_folder_say_nothing_of_it(tmp_path):
    """Not even where the folder above cannot be told, with several of them in it."""
    for name in ("one", "two"):
        layouts.make("luperson_lmdb", tmp_path / name, **SMALL, frames=2)
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(InputError, match=r"bare holds no pictures .*it holds nothing; known are"):
        doctor.examine("auto", str(bare))
    (bare / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"bare holds no pictures .*it holds notes\.txt; known"):
        doctor.examine("auto", str(bare))
    with pytest.raises(InputError, match="holds 2 packings"):
        doctor.examine("auto", str(tmp_path))


def test_a_neighbor_is_not_the_folder_itself(market, tmp_path):
    layouts.make("luperson_lmdb", tmp_path / "data" / "other", **SMALL, frames=2)
    loose = tmp_path / "data" / "loose"
    loose.mkdir()
    shutil.copy(next((market / "query").glob("*.jpg")), loose / "x.jpg")
    found = doctor.examine("auto", str(loose))
    assert (found.dataset.name, found.root) == ("image_folder", str(loose))


def test_own_pictures_in_a_published_layout(market):
    assert cli.main(["data", "check", "auto", str(market), "--own"]) == 0
    damage(market)
    assert cli.main(["data", "check", "auto", str(market), "--own"]) == 1
    assert cli.main(["data", "check", "auto", str(market), "--split", "1"]) == 2


def damage(market):
    picture = next((market / "query").glob("*.jpg"))
    picture.write_bytes(picture.read_bytes()[:-200])
    return picture.name


def stray(market):
    shutil.copy(next((market / "query").glob("*.jpg")), market / "0009_c1s1_000001_00.jpg")
    return "0009_c1s1_000001_00.jpg"


def foreign_name(market):
    shutil.copy(next((market / "query").glob("*.jpg")), market / "query" / "me.jpg")
    return "me.jpg"


def no_query(market):
    shutil.rmtree(market / "query")
    return "no folder 'query'"


def empty_gallery(market):
    shutil.rmtree(market / "bounding_box_test")
    (market / "bounding_box_test").mkdir()
    return "bounding_box_test holds nothing"


@pytest.mark.parametrize("harm", [damage, stray, foreign_name, no_query, empty_gallery])
def test_broken_folders(harm, market, capsys):
    words = harm(market)
    assert cli.main(["data", "check", "auto", str(market)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{market}: Market-1501")
    assert words in out
    found = doctor.examine("auto", str(market))
    assert not found.healthy


def test_people_on_both_sides_and_queries_without_a_match(market):
    for part in ("query", "bounding_box_train"):
        picture = next((market / part).glob("0004*" if part == "query" else "0001*"))
        shutil.copy(picture, market / "query" / f"0001{picture.name[4:]}")
    notes = text(doctor.examine("market1501", str(market)))
    assert "1 identities are in train and among the queries" in notes
    assert "1 identities of the queries are not in the gallery" in notes


def test_a_packed_set_is_what_it_was_packed_from(market, tmp_path):
    assert cli.main(["data", "pack", "market1501", str(market), str(tmp_path / "packed")]) == 0
    folder = doctor.examine("auto", str(market))
    packed = doctor.examine("auto", str(tmp_path / "packed"))
    assert packed.dataset.title == "Market-1501, packed"
    assert packed.parts == folder.parts
    assert packed.fingerprint == folder.fingerprint
    assert (packed.decoded, packed.healthy) == (folder.decoded, True)


def test_missing_parts_of_luperson(tmp_path):
    layouts.make("luperson_lmdb", tmp_path / "all", **SMALL, frames=3)
    table = datasets.load("luperson", str(tmp_path / "all")).train
    keys = sorted(media.partition("#")[2] for media in table.media)
    kept = [keys[0], *keys[2:]]
    items = ((key, storage.read(next(m for m in table.media if m.endswith(key)))) for key in kept)
    (tmp_path / "some").mkdir()
    lmdb_store.write_lmdb(tmp_path / "some" / "lmdb", items)
    found = doctor.examine("auto", str(tmp_path / "some"))
    assert found.dataset.name == "luperson"
    notes = text(found)
    assert "note         missing numbers of pictures within videos: 1" in notes
    assert "note         missing" not in text(doctor.examine("auto", str(tmp_path / "all")))


def test_pictures_in_no_layout_are_a_folder(tmp_path):
    layouts.make("folder", tmp_path / "crops", **SMALL, frames=2)
    for picture in list((tmp_path / "crops").rglob("*.jpg")):
        picture.rename(tmp_path / "crops" / f"x{picture.stem}.jpg")
    found = doctor.examine("auto", str(tmp_path / "crops"))
    assert found.dataset.name == "image_folder"
    assert text(found).endswith("verdict: whole; no numbers are published")


def test_what_is_no_data_set_is_an_error(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"holds no pictures .*notes\.txt; known are market1501"):
        doctor.examine("auto", str(tmp_path))
    assert cli.main(["data", "check", "auto", str(tmp_path / "absent")]) == 2
    assert cli.main(["data", "check", "markte1501", str(tmp_path)]) == 2
    assert "did you mean 'market1501'" in capsys.readouterr().err


def test_findings_as_json_and_without_decoding(market, tmp_path):
    damage(market)
    path = tmp_path / "findings.json"
    command = ["data", "check", "market1501", str(market), "--json", str(path)]
    assert cli.main([*command, "--quick"]) == 1
    values = json.loads(path.read_text())
    assert (values["dataset"], values["decoded"], values["damaged"]) == ("market1501", 0, [])
    assert values["parts"]["query"]["found"]["images"] == 6
    cli.main(command)
    values = json.loads(path.read_text())
    assert len(values["damaged"]) == 1
    assert "1 damaged pictures" in values["verdict"]


def test_the_doctor_on_real_pictures(real_data):
    found = doctor.examine("auto", str(real_data / "pku_reid"))
    assert found.dataset.name == "market1501"
    assert [part.found.images for part in found.parts.values()] == [800, 48, 144]
    assert (found.decoded, found.healthy) == (992, True)


def test_a_folder_per_person_is_called_so(market, tmp_path):
    pictures = sorted((market / "bounding_box_test").glob("0004*.jpg"))
    for person in ("train/ann", "train/bob", "test/eve"):
        (tmp_path / "people" / person).mkdir(parents=True)
        shutil.copy(pictures[0], tmp_path / "people" / person / "front.jpg")
    for root in (tmp_path / "people", tmp_path / "people" / "train"):
        found = doctor.examine("auto", str(root))
        assert text(found).startswith(f"{root}: a folder per person, read without identities")
        assert "ann, bob" in text(found)
        assert "names like 0002_c1s1_000451_03.jpg" in text(found)
        with pytest.raises(InputError, match="looks like a folder per person"):
            datasets.load("market1501", str(root))
