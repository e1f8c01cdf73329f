"""What uPMnet is given by hand: mistakes end with one message and status 2, lone frames do not."""

import json
import shutil

import pytest

from data_pipeline.synthetic import layouts
from luperson_jax import cli
from luperson_jax.workdir.metrics_file import METRICS_FILE
from tests import stand_in

CAMERA = "multi_shot/cam_b"
SETTINGS = """
    model.width=4 model.last_stride=1 augment.statistics=imagenet data.size=64,32
    data.canvas=64,32 data.num_workers=0 data.batch_size=8 task.relation_dim=8 train.init_from=
    train.epochs=2 train.steps_per_epoch=2 train.log_every_steps=1 eval.batch_size=8
    optim.milestones=
"""


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    stand_in.use(monkeypatch)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("video") / "prid"
    world = {"height": 16, "width": 8, "identities": 8, "train_identities": 4, "frames": 3}
    layouts.make("prid2011", root, **world, cameras=2, seed=4)
    return root


def people(home):
    return json.loads((home / "splits_prid2011.json").read_text())[0]


def train(home, workdir, dataset, *more):
    where = [f"{group}.{name}" for group in ("data", "eval") for name in ("dataset", "root")]
    given = [f"{one}={value}" for one, value in zip(where, 2 * (dataset, home), strict=True)]
    asked = ["train", "--config", "upmnet:data=prid2011,parts=2", "--workdir", str(workdir)]
    return cli.main([*asked, *SETTINGS.split(), *given, *more])


def remove_a_frame(home):
    (home / CAMERA / people(home)["train"][0] / "0001.png").unlink()


def remove_a_person(home):
    shutil.rmtree(home / CAMERA / people(home)["train"][0])


def list_a_stranger(home):
    split = people(home)
    split["train"].append("person_0999")
    (home / "splits_prid2011.json").write_text(json.dumps([split]))


def list_an_unknown_frame(home):
    path = home / "split1/traindata.txt"
    text = path.read_text()
    path.write_text(text.replace("/0001.png", "/0999.png", 1))


@pytest.mark.parametrize(
    ("damage", "dataset", "more", "words"),
    [
        (remove_a_frame, "prid2011", (), "0001.png"),
        (list_an_unknown_frame, "prid2011", (), "0999.png"),
        (remove_a_person, "prid2011_json", (), "is missing; unpack the whole data set"),
        (list_a_stranger, "prid2011_json", (), "names person_0999, but"),
        (None, "prid2011", ("data.split=10",), "split"),
        (None, "prid2011", ("task.parts=8",), "a feature map of 4, which cannot be cut into 8"),
    ],
)
def test_mistakes_end_with_a_message(drawn, tmp_path, capsys, damage, dataset, more, words):
    home = drawn
    if damage:
        home = shutil.copytree(drawn, tmp_path / "copy")
        damage(home)
    assert train(home, tmp_path / "run", dataset, *more) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_a_tracklet_of_one_frame_is_learned_and_ranked(drawn, tmp_path):
    home = shutil.copytree(drawn, tmp_path / "copy")
    for part in ("train", "test"):
        for path in sorted((home / CAMERA / people(home)[part][0]).iterdir())[1:]:
            path.unlink()
    assert train(home, tmp_path / "run", "prid2011_json") == 0
    lines = (tmp_path / "run" / METRICS_FILE).read_text().splitlines()
    losses = [one["train/loss"] for one in map(json.loads, lines) if "train/loss" in one]
    assert len(losses) == 4
    assert all(0 < loss < 4 for loss in losses[1:])
