import io
import tarfile
import zipfile

import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.read import archive_parts, archives

NOISE = np.random.default_rng(0).bytes(60_000)
FILES = {"query/0001_c1.jpg": NOISE[:9000], "0002_c1.jpg": NOISE[9000:40_000], "list.txt": b"1"}


def make(path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in FILES.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def contents(folder):
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def cut(path, size, name):
    """Cuts a file into pieces; `name` gives the end of the name of each."""
    data = path.read_bytes()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    paths = [path.with_name(f"{path.name}.{name(i)}") for i in range(len(pieces))]
    for piece, content in zip(paths, pieces, strict=True):
        piece.write_bytes(content)
    path.unlink()
    return paths


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    "ending", [lambda i: f"{i + 1:03d}", lambda i: f"{i:02d}", lambda i: f"a{chr(97 + i)}"]
)
def test_pieces_are_put_together(tmp_path, suffix, ending):
    pieces = cut(make(tmp_path / f"x.{suffix}"), 9001, ending)
    assert len(pieces) > 4
    archives.extract(pieces[2], tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


def test_missing_pieces_are_named(tmp_path):
    pieces = cut(make(tmp_path / "LUPerson.zip"), 3500, lambda i: f"{i + 1:03d}")
    assert len(pieces) == 12
    pieces[-1].unlink()
    message = "from the 11 pieces that are there; LUPerson is passed around in 13"
    with pytest.raises(InputError, match=message):
        archives.extract(pieces[0], tmp_path / "out")
    pieces[2].unlink()
    pieces[6].unlink()
    with pytest.raises(InputError, match="11 pieces or more, of which 003, 007 are missing"):
        archives.extract(pieces[0], tmp_path / "out")
    with pytest.raises(InputError, match=r"x\.z01 is a volume of .*x\.zip.*7z x"):
        archives.extract(tmp_path / "x.z01", tmp_path / "out")


def test_numbers_of_parts(tmp_path):
    names = ["LUPerson.zip.001", "LUPerson.zip.013", "LUPerson.zip.004", "a.part02.rar"]
    names += ["b_part_001.zip", "b_part_3.zip", "c-003.tar.gz", "005.zip", "x.tar.gz", "y.tar.xz"]
    names += ["Market-1501-v15.09.15.zip", "VeRi_776.zip", "MSMT17_V1.tar.gz", "d.tar.gz.aa"]
    for name in names:
        (tmp_path / name).touch()
    assert archive_parts.numbered_parts(tmp_path) == {
        "LUPerson.zip": [1, 4, 13],
        "a": [2],
        "b": [1, 3],
        "c": [3],
        "": [5],
    }
