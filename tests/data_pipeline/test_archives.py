import io
import pathlib
import stat
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.read import archives

NOISE = np.random.default_rng(0).bytes(60_000)
FILES = {
    "market/query/0001_c1.jpg": NOISE[:9000],
    "market/query/0002_c1.jpg": NOISE[9000:40_000],
    "market/train/ü.jpg": b"",
    "list.txt": b"0001\n" * 500,
}
TAR_MODES = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def make_zip(path, files=FILES, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("market/empty")
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_tar(path, files=FILES, mode="w", entries=()):
    with tarfile.open(path, mode) as archive:
        folder = tarfile.TarInfo("market/empty")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in entries:
            archive.addfile(info)
    return path


def make(path):
    if path.name.endswith(".zip"):
        return make_zip(path)
    return make_tar(path, mode=TAR_MODES[path.name.partition(".")[2]])


def entry(name, kind, target="", size=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def contents(folder):
    found = [path for path in folder.rglob("*") if not path.is_dir()]
    assert not any(path.is_symlink() for path in found)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("suffix", ["zip", *TAR_MODES])
def test_an_archive_is_unpacked_and_unpacked_again(tmp_path, suffix):
    archive = make(tmp_path / f"x.{suffix}")
    out = tmp_path / "deep" / "out"
    assert archives.extract(archive, out) == (4, 0, ())
    assert contents(out) == FILES
    assert (out / "market" / "empty").is_dir()
    (out / "list.txt").write_bytes(b"cut off")
    (out / "market/query/0001_c1.jpg").unlink()
    before = (out / "market/query/0002_c1.jpg").stat()
    assert archives.extract(archive, str(out)) == (2, 2, ())
    assert contents(out) == FILES
    assert (out / "market/query/0002_c1.jpg").stat().st_mtime_ns == before.st_mtime_ns


def test_the_content_tells_the_kind(tmp_path):
    """A tar that ends in a zip file is a tar, whatever its name."""
    inner = make_zip(tmp_path / "inner.zip").read_bytes()
    archive = make_tar(tmp_path / "x.zip", {"inner.zip": inner})
    archives.extract(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"inner.zip": inner}


def test_names_with_the_separators_of_another_system(tmp_path):
    archive = make_zip(tmp_path / "x.zip", {"a\\b\\c.jpg": b"1", "./d//e.jpg": b"2"})
    archives.extract(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"a/b/c.jpg": b"1", "d/e.jpg": b"2"}


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:\\evil", "C:/evil", "\\evil", "a/.."],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_path_out_of_the_folder_is_refused(tmp_path, name, kind):
    files = {"good.jpg": b"1", name: b"harm"}
    archive = tmp_path / f"x.{kind}"
    make_zip(archive, files) if kind == "zip" else make_tar(archive, files)
    out = tmp_path / "in" / "out"
    with pytest.raises(InputError, match="outside the folder, by"):
        archives.extract(archive, out)
    assert contents(tmp_path / "in") == {"out/good.jpg": b"1"}
    assert not pathlib.Path("/tmp/evil").exists()


LINKS = [
    ("a/link", tarfile.SYMTYPE, "../../secret"),
    ("link", tarfile.SYMTYPE, "../secret"),
    ("link", tarfile.SYMTYPE, "{secret}"),
    ("link", tarfile.LNKTYPE, "../secret"),
    ("link", tarfile.LNKTYPE, "{secret}"),
]


@pytest.mark.parametrize(("name", "kind", "target"), LINKS)
def test_a_link_out_of_the_folder_is_refused(tmp_path, name, kind, target):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    info = entry(name, kind, target.format(secret=secret))
    archive = make_tar(tmp_path / "x.tar", entries=[info])
    with pytest.raises(InputError, match=r"outside the folder, by '(a/)?link'"):
        archives.extract(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


def test_a_link_out_of_the_folder_in_a_zip_is_refused(tmp_path):
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as file:
        info = zipfile.ZipInfo("a/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "../../secret")
    with pytest.raises(InputError, match="outside the folder, by 'a/link'"):
        archives.extract(archive, tmp_path / "out")


def test_links_within_the_folder_become_copies(tmp_path):
    entries = [
        entry("market/hard", tarfile.LNKTYPE, "market/query/0001_c1.jpg"),
        entry("market/soft", tarfile.SYMTYPE, "query/0002_c1.jpg"),
        entry("again", tarfile.SYMTYPE, "market/soft"),
        entry("folder", tarfile.SYMTYPE, "market/query"),
        entry("nothing", tarfile.SYMTYPE, "market/none"),
        entry("self", tarfile.SYMTYPE, "self"),
    ]
    archive = make_tar(tmp_path / "x.tar", entries=entries)
    skipped = ("folder", "nothing", "self")
    assert archives.extract(archive, tmp_path / "out") == (7, 0, skipped)
    assert contents(tmp_path / "out") == FILES | {
        "market/hard": FILES["market/query/0001_c1.jpg"],
        "market/soft": FILES["market/query/0002_c1.jpg"],
        "again": FILES["market/query/0002_c1.jpg"],
    }
    assert archives.extract(archive, tmp_path / "out") == (0, 7, skipped)


def test_links_in_the_folder_are_not_followed_out_of_it(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "secret").write_text("secret")
    out = tmp_path / "out"
    out.mkdir()
    (out / "market").symlink_to(tmp_path / "other")
    with pytest.raises(InputError, match=r"market.* is a link out of"):
        archives.extract(make_zip(tmp_path / "x.zip"), out)
    assert contents(tmp_path / "other") == {}
    (out / "market").unlink()
    (out / "list.txt").symlink_to(tmp_path / "secret")
    archive = make_tar(tmp_path / "y.tar", {}, entries=[entry("copy", tarfile.LNKTYPE, "list.txt")])
    assert archives.extract(archive, out).skipped == ("copy",)
    archives.extract(make_zip(tmp_path / "x.zip"), out)
    assert contents(out) == FILES
    assert (tmp_path / "secret").read_text() == "secret"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(tmp_path, kind):
    archive = make_tar(tmp_path / "x.tar", entries=[entry("dev", kind)])
    with pytest.raises(InputError, match="device or pipe: dev"):
        archives.extract(archive, tmp_path / "out")
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as file:
        info = zipfile.ZipInfo("dev")
        info.external_attr = stat.S_IFIFO << 16
        file.writestr(info, b"")
    with pytest.raises(InputError, match="device or pipe: dev"):
        archives.extract(archive, tmp_path / "out")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.xz"])
def test_an_archive_that_grows_out_of_proportion_is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(archives, "FREE_BYTES", 1 << 20)
    files = {"a.jpg": b"good", "zeros": bytes(30_000_000)}
    archive = tmp_path / f"x.{suffix}"
    if suffix == "zip":
        make_zip(archive, files)
    else:
        make_tar(archive, files, TAR_MODES[suffix])
    with pytest.raises(InputError, match="more than 100 times its size"):
        archives.extract(archive, tmp_path / "out")
    assert not (tmp_path / "out" / "zeros").exists()


def test_a_tar_that_announces_more_than_it_holds(tmp_path, monkeypatch):
    """A sparse file is small in the archive and of any size on disk; a long header fills memory."""
    monkeypatch.setattr(archives, "FREE_BYTES", 1 << 20)
    sparse = entry("sparse", tarfile.GNUTYPE_SPARSE, size=0)
    block = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (2**30, 0)
    block[483:495] = b"%011o\0" % 2**30
    sparse_tar = tmp_path / "sparse.tar"
    sparse_tar.write_bytes(_checked(block) + bytes(1024))
    with pytest.raises(InputError, match="more than 100 times its size"):
        archives.extract(sparse_tar, tmp_path / "out")
    header = entry("long", tarfile.XHDTYPE, size=2**33)
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    long_tar = tmp_path / "long.tar"
    long_tar.write_bytes(bytes(block) + bytes(10_240))
    with pytest.raises(InputError, match="header of 8589934592 bytes"):
        archives.extract(long_tar, tmp_path / "out")


def test_a_tar_of_endless_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE_BYTES", 1 << 10)
    entries = [entry("same", tarfile.DIRTYPE)] * 10_000
    archive = make_tar(tmp_path / "x.tar.bz2", {}, "w:bz2", entries)
    assert archive.stat().st_size * archives.MAX_RATIO < 10_000 * tarfile.BLOCKSIZE
    with pytest.raises(InputError, match="more than 100 times its size"):
        archives.extract(archive, tmp_path / "out")


def _checked(block):
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_a_zip_that_says_less_than_it_holds(tmp_path):
    archive = make_zip(tmp_path / "x.zip", {"a": bytes(100_000)}, zipfile.ZIP_STORED)
    data = archive.read_bytes().replace(struct.pack("<I", 100_000), struct.pack("<I", 10))
    archive.write_bytes(data)
    with pytest.raises(InputError, match="damaged or incomplete"):
        archives.extract(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def test_a_disk_without_room(tmp_path, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda place: _Usage())
    archive = make_zip(tmp_path / "x.zip")
    with pytest.raises(InputError, match="has room for 40000"):
        archives.extract(archive, tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "earlier").write_bytes(bytes(10_000))
    archives.extract(archive, tmp_path / "out")


class _Usage:
    free = 40_000


@pytest.mark.parametrize("suffix", ["zip", *TAR_MODES])
def test_damage_is_told_and_leaves_no_half_file(tmp_path, suffix):
    archive = make(tmp_path / f"x.{suffix}")
    whole = archive.read_bytes()
    for share in (0.0, 0.3, 0.6, 0.8):
        archive.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=r"(damaged or incomplete|is incomplete).*again$"):
            archives.extract(archive, tmp_path / f"out{share}")
        for name, data in contents(tmp_path / f"out{share}").items():
            assert data == FILES[name]


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_changed_bytes_are_told(tmp_path, suffix):
    archive = make(tmp_path / f"x.{suffix}")
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 255
    archive.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        archives.extract(archive, tmp_path / "out")


def test_a_changed_header_of_a_tar_is_told(tmp_path):
    archive = make_tar(tmp_path / "x.tar")
    data = bytearray(archive.read_bytes())
    data[data.rindex(b"list.txt")] ^= 255
    archive.write_bytes(data)
    with pytest.raises(InputError, match="damaged header"):
        archives.extract(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"7z\xbc\xaf\x27\x1c", "7-Zip.*`7z x"),
        (b"Rar!\x1a\x07", "RAR.*`7z x"),
        (b"<html>not found</html>", "no zip or tar archive"),
        (b"", "no zip or tar archive"),
    ],
)
def test_what_is_no_zip_or_tar(tmp_path, start, message):
    path = tmp_path / "x.zip"
    path.write_bytes(start + bytes(2000 if start else 0))
    with pytest.raises(InputError, match=message):
        archives.extract(path, tmp_path / "out")


def test_a_password(tmp_path):
    archive = make_zip(tmp_path / "x.zip")
    data = bytearray(archive.read_bytes())
    at = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[at + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(InputError, match="needs a password"):
        archives.extract(archive, tmp_path / "out")


def test_missing_archive_and_folder_that_is_a_file(tmp_path):
    for name in ("none.zip", "none.zip.001"):
        with pytest.raises(InputError, match=f"{name}"):
            archives.extract(tmp_path / name, tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot make the folder"):
        archives.extract(make_zip(tmp_path / "x.zip"), tmp_path / "file")


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    """Killed in the middle of a file, the next call writes it anew."""
    archive = make_zip(tmp_path / "x.zip")
    monkeypatch.setattr(archives, "CHUNK", 5000)
    real = archives._Writer._pieces

    def dying(self, member, source):
        for number, piece in enumerate(real(self, member, source)):
            if member.name.endswith("0002_c1.jpg") and number == 3:
                raise KeyboardInterrupt
            yield piece

    with monkeypatch.context() as patch:
        patch.setattr(archives._Writer, "_pieces", dying)
        with pytest.raises(KeyboardInterrupt):
            archives.extract(archive, tmp_path / "out")
    assert list(contents(tmp_path / "out")) == ["market/query/0001_c1.jpg"]
    assert archives.extract(archive, tmp_path / "out") == (3, 1, ())
    assert contents(tmp_path / "out") == FILES


def test_files_that_are_named_as_unfinished_are_left_out(tmp_path):
    """They would be overwritten while the file of the same name is written."""
    archive = make_zip(tmp_path / "x.zip", {"a.jpg.part": b"half", "a.jpg": b"whole"})
    assert archives.extract(archive, tmp_path / "out") == (1, 0, ("a.jpg.part",))
    assert contents(tmp_path / "out") == {"a.jpg": b"whole"}
