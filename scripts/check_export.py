"""Exported networks in the programs that they are for, each in an environment of its own.

    python scripts/check_export.py --root /tmp/export

makes the environments below ROOT with pip (BoxMOT, Ultralytics and reid bring PyTorch, gigabytes of
it), exports a network for each, lets `features_elsewhere.py` embed pictures there, and compares
with ours: once on pictures of the size of the network, where features have to agree, and once on
pictures as they are, which each program resizes in its own way. The status is 1 where one of the
first differs by more than `LIMIT`. ROOT/table.md and ROOT/results.json keep the figures.

--source is a run or file of weights; left out, a small network with drawn numbers. --pictures is a
folder; left out, drawn people. --python PROGRAM=PATH takes an environment that is there.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image

import luperson_jax as lp
from data_pipeline.datasets import image_folder
from data_pipeline.read import decode
from data_pipeline.synthetic.world import World
from luperson_jax import cli, models
from luperson_jax.augment import recipes
from luperson_jax.exporting import agreement, targets
from luperson_jax.weights import model as model_file
from luperson_jax.weights.model import Model, shapes_of

HERE = pathlib.Path(__file__).resolve().parent
LIMIT = 1e-4
NEEDS = {
    "stablehlo": ("jax", "flatbuffers", "pillow"),
    "onnx": ("onnxruntime", "pillow"),
    "torch": ("torch", "numpy", "pillow"),
    "boxmot": ("boxmot==25.*", "onnxruntime"),
    "ultralytics": ("ultralytics", "onnx", "onnxruntime"),
    "reid": ("reid==0.1.0rc1",),
}
RESIZES = ("boxmot", "ultralytics", "reid")
RANGES = {"scale": (0.5, 1.5), "bias": (-0.2, 0.2), "mean": (-0.2, 0.2), "var": (0.5, 1.5)}
NUM_PICTURES = 16


def main() -> int:
    options = _parser().parse_args()
    root = options.root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    source = options.source or str(_drawn_network(root / "drawn.npz"))
    model = lp.load(source)
    pictures = _pictures(options.pictures)
    resized = [decode.to_canvas(one, model.size) for one in pictures]
    folders = {"resized": root / "resized", "whole": root / "whole"}
    for name, folder in folders.items():
        _write(resized if name == "resized" else pictures, folder)
    ours = agreement.expected(model, np.stack(resized))
    known = dict(one.split("=", 1) for one in options.python)
    rows = []
    for program in options.only.split(",") if options.only else NEEDS:
        python = known.get(program) or _environment(root / "environments" / program, program)
        file = _exported(program, source, root)
        row = {"program": program}
        for name in ("resized", "whole") if program in RESIZES else ("resized",):
            theirs, row["versions"] = _features(python, program, file, folders[name])
            row[name] = vars(agreement.compare(ours, theirs))
        rows.append(row)
        print(_line(row), flush=True)
    (root / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
    (root / "table.md").write_text("\n".join([*HEAD, *map(_line, rows)]) + "\n")
    return int(any(row["resized"]["difference"] > LIMIT for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--source")
    parser.add_argument("--pictures")
    parser.add_argument("--only", metavar="PROGRAM,PROGRAM")
    parser.add_argument("--python", action="append", default=[], metavar="PROGRAM=PATH")
    return parser


def _drawn_network(path: pathlib.Path) -> pathlib.Path:
    """A re-ID network of ResNet-18 without any number that could be left out unseen."""
    if path.exists():
        return path
    spec = models.NetworkSpec("reid", "resnet18", 16, last_stride=1)
    numbers, tensors = np.random.default_rng(0), {}
    for name, shape in shapes_of(spec).items():
        kind = name.rpartition("/")[2]
        if kind in RANGES:
            drawn = numbers.uniform(*RANGES[kind], shape)
        else:
            drawn = numbers.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
        tensors[name] = drawn.astype(np.float32)
    model_file.save(Model(tensors, spec, "drawn", recipes.statistics("lup")), path)
    return path


def _pictures(folder: str | None) -> list[np.ndarray]:
    if folder is None:
        world = World(seed=0)
        return [world.render(one, one % 4, 0) for one in range(NUM_PICTURES)]
    paths = image_folder.paths(folder)
    chosen = paths[:: max(len(paths) // NUM_PICTURES, 1)][:NUM_PICTURES]
    return [np.asarray(Image.open(path).convert("RGB")) for path in chosen]


def _write(pictures: list[np.ndarray], folder: pathlib.Path) -> None:
    folder.mkdir(exist_ok=True)
    for former in folder.glob("*.png"):
        former.unlink()
    for number, one in enumerate(pictures):
        Image.fromarray(one).save(folder / f"{number:03d}.png")


def _environment(folder: pathlib.Path, program: str) -> str:
    """The Python of an environment that holds a program."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *NEEDS[program]], check=True)
    return str(python)


def _exported(program: str, source: str, root: pathlib.Path) -> pathlib.Path:
    suffixes = targets.TARGETS[program].suffixes
    file = root / f"{program}{suffixes[0] if suffixes else ''}"
    if not file.exists():
        given = ["export", source, "--to", program, "--out", str(file)]
        if cli.main(given):
            raise SystemExit(f"luperson {' '.join(given)} failed")
    return file


def _features(
    python: str, program: str, file: pathlib.Path, folder: pathlib.Path
) -> tuple[np.ndarray, dict[str, str]]:
    """Features of unit length by a program, and versions of what it is made of."""
    out = file.parent / f"{program}_{folder.name}.npz"
    script = HERE / "features_elsewhere.py"
    subprocess.run([python, script, program, str(file), str(folder), str(out)], check=True)
    with np.load(out) as found:
        features, versions = found["features"], json.loads(str(found["versions"]))
    return features / np.linalg.norm(features, axis=1, keepdims=True), versions


HEAD = (
    "| program | versions | largest difference | smallest cosine | cosine with its own resizing |",
    "|---|---|---|---|---|",
)


def _line(row: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    same = row["resized"]
    own = f"{row['whole']['cosine']:.5f}" if "whole" in row else "none of its own"
    return (
        f"| {row['program']} | {versions} | {same['difference']:.1e} | {same['cosine']:.7f} "
        f"| {own} |"
    )


if __name__ == "__main__":
    sys.exit(main())
