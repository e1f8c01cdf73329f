"""Every path that a command takes: one that this user may not open ends in one line, status 2."""

import ast
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from data_pipeline.packing import lmdb_form, pack
from data_pipeline.synthetic import layouts
from luperson_jax import tasks
from luperson_jax.measure import embeddings
from luperson_jax.run import setup
from luperson_jax.workdir import recipe_file
from tests import page_worlds
from tests.helpers import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]

CLOSED, SEALED = 0, 0o555
"""Modes: of what can be seen from outside alone, and of a folder that takes nothing new."""
SIZE = {"identities": 12, "cameras": 2, "height": 16, "width": 8, "images_per_camera": 2}

DATA = "--dataset market1501 --root market"
CROPS = "crops/*/*/*"  # the first that a pattern finds is closed
SETTINGS = "data.root=market eval.root=market data.batch_size=8 model.bn_group_size=8"
ROW = f"--row 'bot: small:bot' {SETTINGS}"
VIDEOS = "--source luperson --videos videos --detections boxes --out new"

# A command, and the path that is closed to it.
INPUTS = [
    ("data check auto market", "market"),
    ("data check auto market/query", "market"),
    ("data check market1501 market", "market/query"),
    ("data check image_folder crops", "crops/*"),
    ("data check packed packed", "packed"),
    ("data check packed packed", "packed/packed.json"),
    ("data check packed packed", "packed/index.npz"),
    ("data pack market1501 market new", "market"),
    ("data pack luperson_nl keyed new", "keyed"),
    ("data pack luperson_nl keyed new", "keyed/*/*/keys.pkl"),
    ("data pack luperson_nl keyed new", "keyed/*/*/lmdb"),
    ("data pack luperson_nl keyed new", "keyed/*/*/lmdb/data.mdb"),
    ("data pack market1501 market packed", "packed"),
    ("data pack market1501 market packed", "packed/packed.json"),
    ("data pack market1501 market written --format lmdb", "written"),
    ("data pack market1501 market written --format lmdb", "written/lmdb.json"),
    (f"data split {DATA} --mode ids --out lists", "market/bounding_box_train"),
    (f"data folds {DATA} --out new", "market/bounding_box_train"),
    (f"data extract {VIDEOS}", "videos"),
    (f"data extract {VIDEOS}", "videos/chad"),
    (f"data extract {VIDEOS}", "boxes"),
    (f"data extract {VIDEOS} --list names.txt", "names.txt"),
    (f"data extract {VIDEOS} --detections-at names.txt", "names.txt"),
    ("data extract --source luperson --videos videos --detections boxes --out part", "part"),
    ("data gather --source luperson --images crops --out new", "crops"),
    ("data gather --source luperson --images crops --out new", CROPS),
    ("data gather --source luperson --images crops --out new", f"{CROPS}/*.jpg"),
    ("data unpack one.zip new", "one.zip"),
    ("data unpack part.zip.001 new", "part.zip.002"),
    ("data unpack market/one.zip new", "market"),
    (f"data statistics {DATA}", "market/bounding_box_train"),
    ("data statistics --dataset luperson --root crops", CROPS),
    ("data statistics --dataset luperson --root crops", f"{CROPS}/*.jpg"),
    ("data statistics --dataset luperson_nl --root keyed", "keyed/*/*/keys.pkl"),
    ("data statistics --dataset packed --root packed", "packed/*train.array_record*"),
    ("train --workdir run", "run"),
    ("train --workdir run", "run/recipe.json"),
    ("train --workdir run", "run/checkpoints"),
    ("train --workdir run", "run/lock"),
    ("train --workdir run", "run/metrics.jsonl"),
    ("train --workdir run --mode eval", "run/recipe.json"),
    ("train --workdir run --mode eval", "run/checkpoints"),
    ("train --workdir new --config own.py", "own.py"),
    ("train --workdir new --config market/own.py", "market"),
    (f"train --workdir new --config small:bot {SETTINGS} train.init_from=a.npz", "a.npz"),
    (f"train --workdir new --config small:bot {SETTINGS} train.init_from=run", "run"),
    ("study --root studies --file names.txt", "names.txt"),
    (f"study --root studies {ROW}", "studies"),
    (f"evaluate {DATA} --workdir run", "run"),
    (f"evaluate {DATA} --workdir run", "run/recipe.json"),
    (f"evaluate {DATA} --workdir run", "run/checkpoints"),
    (f"evaluate {DATA} --weights a.npz", "a.npz"),
    ("metrics --query a.npz --gallery a.npz", "a.npz"),
    ("metrics --query saved --gallery saved", "saved"),
    ("metrics --query saved --gallery saved", "saved/features.npy"),
    ("metrics --query saved --gallery saved", "saved/index.parquet"),
    ("embed market/query --weights a.npz --out b.npz", "a.npz"),
    ("embed market/query --weights a.pth --out b.npz", "a.pth"),
    ("embed market/query --weights a.safetensors --out b.npz", "a.safetensors"),
    ("embed market/query --weights market/a.npz --out b.npz", "market"),
    ("embed market/query --workdir run --out b.npz", "run/recipe.json"),
    ("embed market/query --workdir run --out b.npz", "market/query"),
    ("index market/query --weights a.npz --out indexed", "a.npz"),
    ("serve --index people", "people"),
    ("serve --index people", "people/manifest.json"),
    ("serve --index people", "people/features-1.npy"),
    ("serve --index people", "people/columns-1.parquet"),
    ("serve --index people --labels names.txt", "names.txt"),
    ("search a.npz --gallery a.npz", "a.npz"),
    ("search saved --gallery a.npz", "saved"),
    ("calibrate --embeddings a.npz", "a.npz"),
    ("calibrate --embeddings saved", "saved"),
    ("convert a.npz b.npz", "a.npz"),
    ("convert a.pth b.npz", "a.pth"),
    ("convert a.safetensors b.npz", "a.safetensors"),
    ("convert run b.npz", "run"),
    ("convert run b.npz", "run/checkpoints"),
]
# A command that writes into `sealed`.
OUTPUTS = [
    "data make --layout folder --root sealed/new --identities 2",
    "data check market1501 market --quick --json sealed/a.json",
    "data pack market1501 market sealed/new",
    "data pack market1501 market sealed",
    "data pack market1501 market sealed/new --format lmdb",
    f"data split {DATA} --mode ids --ratios 0.5 --out sealed/lists",
    f"data split {DATA} --mode ids --ratios 0.5 --out sealed",
    f"data folds {DATA} --out sealed/new --folds 2",
    "data extract --source luperson --videos videos --detections boxes --out sealed/new",
    "data gather --source luperson --images crops --out sealed/new",
    "data unpack one.zip sealed",
    "data unpack one.zip sealed/new",
    f"data statistics {DATA} --json sealed/a.json",
    f"train --workdir sealed/new --config small:bot {SETTINGS}",
    f"study --root sealed/new {ROW}",
    "metrics --query a.npz --gallery a.npz --json sealed/a.json",
    "metrics --query a.npz --gallery a.npz --report sealed/a.html",
    "search a.npz --gallery a.npz --json sealed/a.json",
    "calibrate --embeddings a.npz --json sealed/a.json",
]
CASES = [(command, path, CLOSED) for command, path in INPUTS] + [
    (command, "sealed", mode) for command in OUTPUTS for mode in (SEALED, CLOSED)
]

CHILD = """
import contextlib, glob, io, json, os, shlex, sys, traceback
from luperson_jax import cli
for command, pattern, mode in json.load(sys.stdin):
    path = sorted(glob.glob(pattern))[0]
    former, said = os.stat(path).st_mode, io.StringIO()
    os.chmod(path, mode)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            status = cli.main(shlex.split(command))
    except BaseException:
        status = None
        said.write(traceback.format_exc())
    os.chmod(path, former)
    print(json.dumps([status, said.getvalue()]), flush=True)
"""


def powerless() -> list[str]:
    """The start of a command line by which root obeys the rights of files as everybody does."""
    if os.geteuid():
        return []
    rights = "-dac_override,-dac_read_search"
    start = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    if not shutil.which("setpriv") or subprocess.run([*start, "true"]).returncode:
        pytest.skip("root, and its rights cannot be given up")
    return start


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> list[tuple[int | None, str]]:
    """Status and message of every case; they share a process, which takes seconds to start."""
    base = tmp_path_factory.mktemp("closed")
    write_inputs(base)
    done = subprocess.run(
        [*powerless(), sys.executable, "-c", CHILD],
        input=json.dumps(CASES),
        capture_output=True,
        text=True,
        cwd=base,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def write_inputs(base: pathlib.Path) -> None:
    """All that the commands above name, and nothing more."""
    layouts.make("market1501", base / "market", **SIZE)
    layouts.make("luperson", base / "crops", **SIZE, frames=1)
    layouts.make("luperson_nl_lmdb", base / "keyed", **SIZE, frames=1)
    pack.pack("market1501", str(base / "market"), str(base / "packed"), workers=1)
    lmdb_form.export("market1501", str(base / "market"), str(base / "written"))
    for folder in ("videos/chad/n", "boxes", "part", "studies", "sealed"):
        (base / folder).mkdir(parents=True)
    (base / "videos/chad/n/chad+n+a.mp4").write_bytes(b"none")
    (base / "boxes/chad+n+a.pkl").write_bytes(pickle.dumps({}))
    (base / "names.txt").write_text("chad+n+a\n")
    with zipfile.ZipFile(base / "one.zip", "w") as archive:
        archive.writestr("a/b.txt", "text")
    data = (base / "one.zip").read_bytes()
    (base / "part.zip.001").write_bytes(data[:20])
    (base / "part.zip.002").write_bytes(data[20:])
    shutil.copy(base / "one.zip", base / "market")
    for name in ("a.npz", "market/a.npz"):
        labels = {"pid": np.array([0, 1, 0, 1]), "camera": np.array([0, 0, 1, 1])}
        np.savez(base / name, features=np.eye(4, 3, dtype=np.float32), **labels)
    page_worlds.make(base / "drawn").save(base / "people")
    embeddings.write(base / "saved", embeddings.read(base / "a.npz", labelled=True))
    for name in ("a.pth", "a.safetensors"):
        (base / name).write_bytes(bytes(100))
    for folder in ("", "market"):
        shutil.copy(ROOT / "configs/small.py", base / folder / "own.py")
    evaluated = {"eval__dataset": "market1501", "eval__root": str(base / "market")}
    recipe = tiny("identify", base / "market", **evaluated)
    current = setup.build(recipe, str(base / "run"), tasks.TASKS["identify"])
    recipe_file.write(current.written, base / "run")
    (base / "run/checkpoints/4").mkdir(parents=True)
    for name in ("lock", "metrics.jsonl"):
        (base / "run" / name).write_text("")


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=[f"{c[0]}-{c[1]}-{c[2]:o}" for c in CASES]
)
def test_a_path_that_may_not_be_opened_ends_in_one_message(number, said):
    status, message = said[number]
    assert "Traceback" not in message
    assert "Permission denied" in message
    # A remedy for damage would cost a day of copying, and help nothing.
    assert not [word for word in ("damaged", "once more", "again") if word in message]
    # What `data check` finds is no message but its result: the folder is broken.
    assert status == 2 or "verdict: broken" in message


LOOKS = {"exists", "is_file", "is_dir", "iterdir", "glob", "rglob", "listdir", "scandir"}
LOOKS |= {"os.walk", "os.path.isfile", "os.path.isdir"}
NO_PATHS_OF_USERS = {"archives.py is_dir", "array_files.py is_dir", "loader.py is_dir"}
"""Members of archives, and the folder of shared memory."""


def test_only_one_file_looks_into_folders():
    """The ways of Python take what is refused for what is not there, some of them always, others
    since 3.14."""
    found = set()
    for package in ("data_pipeline", "luperson_jax"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
                if not name.startswith("listing.") and LOOKS & {name, name.rpartition(".")[2]}:
                    found.add(f"{path.name} {node.attr}")
    assert {one for one in found if not one.startswith("listing.py")} == NO_PATHS_OF_USERS
