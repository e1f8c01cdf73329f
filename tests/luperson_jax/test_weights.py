"""A file of weights embeds as the workdir does that `luperson convert` makes of it."""

import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from data_pipeline import datasets
from data_pipeline.errors import InputError
from luperson_jax import cli
from luperson_jax.augment import recipes
from luperson_jax.commands import new_workdir
from luperson_jax.measure import embeddings
from luperson_jax.models import NetworkSpec
from luperson_jax.serving import open_networks as networks
from luperson_jax.weights import files, translate
from luperson_jax.weights import model as model_file
from luperson_jax.weights.model import Model
from tests.converted import outputs
from tests.helpers import SIZE, tiny
from tests.weight_files import BOT, LARGE, model_of

BACKBONE = NetworkSpec("backbone", "resnet18", 4)
MOCO = NetworkSpec("moco", "resnet18", 4, hidden=32, feature_dim=6, queue_size=40)
SBS = NetworkSpec("reid", "resnet50", 4, ibn=True, non_local=True, pooling="gem_learned")
SBS = dataclasses.replace(SBS, last_stride=1, extra_bn=True, embedding_dim=7)
MGN = NetworkSpec("mgn", "resnet18", 4, last_stride=1, pooling="gem_learned", embedding_dim=6)


def written(model: Model, folder: pathlib.Path, suffix: str, family: str = "auto") -> pathlib.Path:
    path = folder / f"weights{suffix}"
    if suffix == ".npz":
        model_file.save(model, path)
    else:
        chosen, tensors = translate.to_torch(model, family)
        files.write(path, tensors, prefix=chosen.prefix)
    return path


@pytest.fixture(scope="module")
def gallery(labelled_world):
    return datasets.load("market1501", str(labelled_world)).gallery


@pytest.mark.parametrize(
    ("network", "task", "size"),
    [(SBS, "sbs", SIZE), (MGN, "mgn", LARGE), (MOCO, "moco", SIZE)],
    ids=["sbs", "mgn", "moco"],
)
def test_features_are_those_of_the_converted_workdir(
    network, task, size, labelled_world, gallery, tmp_path
):
    model = model_of(network, size)
    settings = {f"model__{name}": getattr(network, name) for name in ("arch", "width", "stem")}
    settings |= {f"model__{name}": getattr(network, name) for name in ("ibn", "non_local")}
    settings |= {"model__pooling": network.pooling, "model__last_stride": network.last_stride}
    if network.kind != "moco":
        settings |= {
            "task__extra_bn": network.extra_bn,
            "task__embedding_dim": network.embedding_dim,
        }
    else:
        settings |= {"task__feature_dim": network.feature_dim, "data__dataset": "market1501"}
    settings |= {"data__size": size, "augment__statistics": "lup"}
    new_workdir.write(model, tiny(task, labelled_world, **settings), tmp_path / "run")
    expected = networks.open_workdir(str(tmp_path / "run"), {}).embed(gallery)

    changes = {"batch_size": 16}
    own = networks.open_weights(str(written(model, tmp_path, ".npz")), changes).embed(gallery)
    assert own.key == expected.key
    assert np.isfinite(own.features).all()
    assert np.ptp(own.features, axis=0).max() > 1e-3
    np.testing.assert_allclose(own.features, expected.features, rtol=1e-4, atol=1e-5)
    foreign = networks.open_weights(
        str(written(model, tmp_path, ".safetensors")),
        changes,
        size=f"{size[0]}x{size[1]}",
        statistics="lup",
    )
    np.testing.assert_array_equal(foreign.embed(gallery).features, own.features)


def test_a_backbone_gives_its_pooled_feature(gallery, tmp_path):
    model = model_of(BACKBONE)
    path = written(model, tmp_path, ".safetensors", "luperson")
    opened = networks.open_weights(str(path), {"batch_size": 16}, size="32x16", statistics="lup")
    rows = gallery.take(np.arange(4))
    found = opened.embed(rows).features
    images = np.stack([read_picture(path) for path in rows.media])
    mean, std = recipes.statistics("lup")
    views = recipes.normalize(jnp.asarray(images, jnp.float32), mean, std)
    expected = outputs(model, np.asarray(views))["layer4"].mean(axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert any("pooled" in note for note in opened.notes)
    assert any("32x16" in note and "given" in note for note in opened.notes)


def test_statistics_in_the_file_are_said_to_be_there(tmp_path):
    model = dataclasses.replace(model_of(BOT), pixels=recipes.statistics("cmdm"))
    path = written(model, tmp_path, ".safetensors", "fastreid")
    opened = networks.open_weights(str(path), {})
    given = [float(number) for number in opened.recipe.augment.statistics.split(",")]
    np.testing.assert_allclose(given, np.ravel(recipes.statistics("cmdm")), atol=1e-6)
    assert any("as the file has them" in note for note in opened.notes)


def read_picture(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_what_the_file_does_not_tell_is_asked_or_said(tmp_path):
    lone = written(model_of(BACKBONE), tmp_path, ".safetensors", "luperson")
    with pytest.raises(InputError, match=r"--statistics.*lup for weights of LUPerson"):
        networks.open_weights(str(lone), {})
    opened = networks.open_weights(str(lone), {}, statistics="lup")
    assert opened.recipe.data.size == (256, 128)
    assert any("256x128, as family luperson has it; else --size" in n for n in opened.notes)
    assert any("taken as avg" in note for note in opened.notes)
    with pytest.raises(InputError, match=r"--size=wide"):
        networks.open_weights(str(lone), {}, statistics="lup", size="wide")
    with pytest.raises(InputError, match="set of mean and standard deviation"):
        networks.open_weights(str(lone), {}, statistics="lupp")
    opened = networks.open_weights(str(lone), {}, statistics="lup", pooling="gem")
    assert opened.embedder.spec.pooling == "gem"
    with pytest.raises(InputError, match=r"--workdir"):
        networks.open_weights(str(tmp_path), {})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--workdir DIR of a run"),
        (("--workdir=a", "--weights=b.pth"), "both are given"),
        (("--weights=b.pth", "--checkpoint=best"), "--checkpoint goes with --workdir"),
        (("--weights=b.pth", "--average"), "--average goes with --workdir"),
        (("--weights=b.pth", "--no-average"), "--average goes with --workdir"),
        (("--workdir=a", "--size=256x128"), "--size goes with --weights"),
        (("--workdir=a", "--statistics=lup"), "--statistics goes with --weights"),
        (("--weights=absent.pth",), "absent.pth"),
    ],
)
@pytest.mark.parametrize("command", ["embed", "search", "evaluate"])
def test_one_network_and_the_options_that_go_with_it(
    command, options, words, gallery, labelled_world, tmp_path, capsys
):
    given = {
        "embed": [gallery.media[0], f"--out={tmp_path / 'a.npz'}"],
        "search": [gallery.media[0], f"--gallery={gallery.media[1]}"],
        "evaluate": ["--dataset=market1501", f"--root={labelled_world}"],
    }
    assert cli.main([command, *given[command], *options]) == 2
    assert words in capsys.readouterr().err


def test_the_commands_need_a_file_and_pictures_alone(labelled_world, gallery, tmp_path, capsys):
    path = written(model_of(BACKBONE), tmp_path, ".npz")
    network = [f"--weights={path}", "--batch-size=16"]
    out = tmp_path / "saved.npz"
    assert cli.main(["embed", str(labelled_world), *network, f"--out={out}"]) == 0
    said = capsys.readouterr().out
    assert "a backbone (resnet18 of width 4)" in said
    assert f"by {path}, in" in said
    assert embeddings.read(out, labelled=False).features.shape[1] == 32
    picture, other = gallery.media[0], gallery.media[1]
    assert cli.main(["search", picture, f"--gallery={other}", *network, "--top=1"]) == 0
    assert other in capsys.readouterr().out
    json = tmp_path / "out.json"
    data = ["--dataset=market1501", f"--root={labelled_world}"]
    assert cli.main(["evaluate", *data, *network, f"--json={json}"]) == 0
    assert '"weights"' in json.read_text()
    assert "mAP" in capsys.readouterr().out
