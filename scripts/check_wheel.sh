#!/usr/bin/env bash
# Builds sdist and wheel, installs the wheel in a clean environment, and works from another folder:
# commands, shipped configurations, and a few steps of training on drawn people.
#
#     scripts/check_wheel.sh [FOLDER]          # a folder for all of it, made if missing
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$(mktemp -d)}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
unset PYTHONPATH
python3 -m venv "$folder/build"
"$folder/build/bin/pip" install -q --disable-pip-version-check build
# The wheel is made from the sdist, so that what the sdist lacks is missed here.
"$folder/build/bin/python" -m build --outdir "$folder/dist" "$here" > "$folder/build.log"
ls -l "$folder/dist"
python3 -m venv "$folder/clean"
"$folder/clean/bin/pip" install -q --disable-pip-version-check \
    -c "$here/requirements.txt" "$folder"/dist/*.whl
cd "$folder"
luperson="$folder/clean/bin/luperson"
"$luperson" --version
"$luperson" doctor
"$luperson" data make --layout market1501 --root people --identities 16 --cameras 2
# All shipped configurations are found by name: this one is missing what it cannot know.
if "$luperson" train --config mgn:data=market1501 --workdir run 2> refused.txt; then exit 1; fi
cat refused.txt
"$luperson" train --config small:bot --workdir run data.root=people eval.root=people \
    train.epochs=1 train.init_from= data.batch_size=16 model.bn_group_size=16
"$luperson" embed people/query --workdir run --out features.npz
"$luperson" pack-model run packed
"$folder/clean/bin/python" - <<'END'
import pathlib

import luperson_jax as lp
from luperson_jax import shipped

home = pathlib.Path(lp.__file__).parent
assert "clean" in home.parts, home
assert pathlib.Path(shipped.folder()) == home / "configs", shipped.folder()
index = lp.Index.build(lp.load("packed"), "people/query")
assert len(index) and index.search(next(pathlib.Path("people/query").glob("*.jpg")), k=1)
print(f"{len(shipped.names())} configurations: {', '.join(shipped.names())}")
END
echo "the wheel works: $folder"
