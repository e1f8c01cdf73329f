"""Exported networks, in ONNX Runtime and as StableHLO: features, any batch, refusals."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import luperson_jax as lp
from data_pipeline.errors import InputError
from luperson_jax import cli
from luperson_jax.augment import recipes
from luperson_jax.commands.options import export as options
from luperson_jax.exporting import agreement, lowering, targets, tracing
from luperson_jax.exporting.conventions import Convention
from luperson_jax.exporting.reid_folder import name_of
from luperson_jax.models import NetworkSpec
from luperson_jax.weights import model as model_file
from tests import exported


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def load(folder):
    """Opens a network of `exported.SPECS`."""
    opened = {}

    def one(name):
        if name not in opened:
            path = folder / f"{name}.npz"
            model_file.save(exported.drawn(exported.SPECS[name]), path)
            opened[name] = lp.load(path, batch_size=8)
        return opened[name]

    return one


@pytest.fixture
def runtime():
    pytest.importorskip("onnx", reason="onnx is not installed")
    return pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.mark.parametrize("name", exported.SPECS)
def test_onnx_runtime_gives_our_features(name, load, folder, runtime):
    model, target = load(name), targets.TARGETS["onnx"]
    pictures = agreement.drawn_pictures(model.size)
    path = folder / f"{name}.onnx"
    found = targets.write(target, model, target.convention(model), path, pictures)
    assert found.difference < 5e-6
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [one.shape for one in session.get_inputs()] == [["batch", *model.size, 3]]
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["luperson_jax.input"] == "uint8 [batch, H, W, 3], RGB of 0 to 255"


@pytest.mark.parametrize("kind", ["boxmot", "ultralytics", "stablehlo"])
def test_other_programs_hand_over_other_numbers(kind, load, folder, runtime):
    model, target = load("bot"), targets.TARGETS[kind]
    path = folder / f"bot_{kind}{target.suffixes[0]}"
    pictures = agreement.drawn_pictures(model.size)
    convention = target.convention(model)
    assert targets.write(target, model, convention, path, pictures).difference < 5e-6
    wrong = Convention("float32", "nchw", recipes.statistics("lmdb_100_10"))
    if kind != "stablehlo":
        with pytest.raises(InputError, match="does not agree with the network: 8 pictures"):
            targets.write(
                target._replace(write=as_if(convention)), model, wrong, folder / "no", pictures
            )
        assert not (folder / "no").exists()


def as_if(convention):
    """Writes for other numbers than those that will be handed over."""
    return lambda path, model, _: targets.TARGETS["onnx"].write(path, model, convention)


def test_normalization_of_the_program_is_undone():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 4, 3, 3), dtype=np.uint8)
    wanted = recipes.statistics("lup")
    mean, std = (np.array(one) for one in wanted)
    expected = (pictures / 255 - mean) / std
    for convention in (
        Convention("uint8", "nhwc"),
        Convention("uint8", "nchw"),
        Convention("float32", "nhwc"),
        Convention("float32", "nchw", targets.IMAGENET),
    ):
        fed = jnp.asarray(convention.fed(pictures))
        assert fed.dtype == convention.type
        assert fed.shape[1:] == convention.shape((4, 3))
        np.testing.assert_allclose(convention.normalized(fed, wanted), expected, atol=2e-6)


def test_normalizations_lie_inside_the_convolutions(load):
    graph = lowering.lower(*tracing.trace(load("bot"), Convention("uint8", "nhwc")))
    kinds = [node.op for node in graph.nodes]
    assert (kinds.count("Conv"), kinds.count("Relu")) == (20, 17)
    after = {node.output: node.op for node in graph.nodes}
    for node in graph.nodes:
        if node.op in ("Sub", "Mul", "Div"):
            assert "Conv" not in [after.get(name) for name in node.inputs]
    assert kinds.count("Transpose") == 1  # of the pictures


def test_what_has_no_operator_is_told():
    (batch,) = jax.export.symbolic_shape("batch")
    example = jax.ShapeDtypeStruct((batch, 4), jnp.float32)
    with pytest.raises(NotImplementedError, match="tan has no operator here"):
        lowering.lower(jnp.tan, example)


def test_the_command_says_and_writes_how_well_both_agree(load, folder, tmp_path, capsys):
    load("bot")
    source, out = str(folder / "bot.npz"), tmp_path / "bot.stablehlo"
    given = ["export", source, "--to", "stablehlo", "--out", str(out), "--input", "float32"]
    assert cli.main([*given, "--json", str(tmp_path / "found.json")]) == 0
    said = capsys.readouterr().out
    assert "float32 [batch, H, W, 3], RGB of 0 to 1; H 96, W 32" in said
    assert "agrees   8 pictures, largest difference" in said
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["difference"] < 5e-6
    assert found["cosine"] > 0.99999
    assert cli.main(given) == 2
    assert "exists; delete it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--to", "onnx", "--out", "x.pt"], "expected a name that ends in .onnx"),
        (["--to", "boxmot", "--out", "x.onnx", "--input", "uint8"], "--input is what boxmot hands"),
        (["--to", "reid", "--out", "x", "--layout", "nchw"], "--layout is what reid hands over"),
        (["--to", "onnx", "--out", "no/x.onnx"], "there is no folder no"),
        (["--to", "tflite", "--out", "x"], "invalid choice: 'tflite'"),
        (["--to", "onnx", "--out", "x.onnx"], "onnx is not installed"),
        (["--to", "stablehlo", "--out", "x.stablehlo"], "flatbuffers is not installed"),
        (["--to", "torch", "--out", "x.pt"], "torch is not installed"),
        (["--to", "onnx", "--out", "x.onnx", "--pictures", "no"], "no"),
    ],
)
def test_refusals(given, words, load, folder, tmp_path, monkeypatch, capsys):
    load("bot")
    monkeypatch.chdir(tmp_path)
    for name in ("onnx", "torch", "flatbuffers"):
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(["export", str(folder / "bot.npz"), *given]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("stablehlo", "resize   pictures of this size, by TensorFlow 1's bilinear filter"),
        ("onnx", "resize   pictures of this size, by TensorFlow 1's bilinear filter"),
        ("boxmot", "by OpenCV's bilinear filter, and the network expects TensorFlow 1's"),
        ("reid", "expects pictures resized by bilinear_tf1, TensorFlow 1's filter"),
    ],
)
def test_the_filter_of_tensorflow_is_carried_or_refused(kind, words, tmp_path, capsys):
    if targets.TARGETS[kind].suffixes == (".onnx",):
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    source = tmp_path / "tf1.npz"
    drawn = exported.drawn(NetworkSpec("backbone", "resnet18", 4))
    model_file.save(dataclasses.replace(drawn, resize="bilinear_tf1"), source)
    out, about = tmp_path / f"x{(*targets.TARGETS[kind].suffixes, '')[0]}", tmp_path / "about.json"
    given = ["export", str(source), "--to", kind, "--out", str(out), "--statistics", "imagenet"]
    assert cli.main([*given, "--json", str(about)]) == (2 if kind == "reid" else 0)
    said = capsys.readouterr()
    assert words in said.out + said.err
    assert out.exists() == about.exists() == (kind != "reid")
    if kind == "onnx":
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(out, providers=["CPUExecutionProvider"])
        facts = session.get_modelmeta().custom_metadata_map
        assert facts["luperson_jax.size"] == "96x32, by the filter bilinear_tf1"
    if kind != "reid":
        assert json.loads(about.read_text())["filter"] == "bilinear_tf1"


def test_features_that_prove_nothing_are_refused():
    ones = np.full((2, 4), 0.5, np.float32)
    with pytest.raises(InputError, match="only zeros"):
        agreement.compare(0 * ones, 0 * ones)
    with pytest.raises(InputError, match=r"shape \(2, 3\); expected \(2, 4\)"):
        agreement.compare(ones, ones[:, :3])
    broken = Convention("uint8", "nhwc")
    pictures = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(InputError, match="does not agree"):
        agreement.check(lambda fed: ones[: len(fed)] * np.nan, broken, pictures, ones)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (NetworkSpec("backbone", "resnet50"), "timm:resnet50"),
        (NetworkSpec("pnl", "resnet101", embedding_dim=8), "timm:resnet101"),
        (NetworkSpec("backbone", "resnet50", last_stride=1), ""),
        (NetworkSpec("backbone", "resnet50", pooling="max"), ""),
        (NetworkSpec("backbone", "mobilenet_v1"), ""),
        (NetworkSpec("reid", "resnet50"), ""),
    ],
)
def test_roboflows_package_has_names_for_plain_trunks(spec, name):
    assert name_of(spec) == name


def test_the_choices_are_those_of_the_program():
    assert tuple(targets.TARGETS) == options.TARGETS
