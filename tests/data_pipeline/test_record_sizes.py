"""Records of ArrayRecord that declare more than their file may hold are not unpacked."""

import numpy as np
import pytest
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from data_pipeline.errors import InputError
from data_pipeline.read import record_sizes, storage
from tests import fuzzing

OPTIONS = (
    "group_size:1,uncompressed",
    "group_size:1",
    "group_size:7,brotli:3",
    "group_size:3,snappy",
    "group_size:7,transpose:true,zstd:3",
    "group_size:1,pad_to_block_boundary:true",
    "group_size:65536",
)


def write(path, records, options):
    writer = array_record_module.ArrayRecordWriter(str(path), options)
    for record in records:
        writer.write(record)
    writer.close()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("number", [1, 2, 300])
def test_every_record_is_found(tmp_path, options, number, monkeypatch):
    """Chunks are found where they begin, also behind headers of blocks."""
    sizes = np.random.default_rng(0).integers(1, 2000, number)
    records = [b"\x89" + bytes([n % 256]) * int(size) for n, size in enumerate(sizes)]
    write(tmp_path / "a", records, options)
    header, seen = record_sizes._header, []
    monkeypatch.setattr(
        record_sizes, "_header", lambda *place: seen.append(header(*place)) or seen[-1]
    )
    file = storage.RecordFile(str(tmp_path / "a"))
    group = min(int(options.partition(":")[2].partition(",")[0]), number)
    for n, record in enumerate(records):
        assert file.picture(n) == record
        first = n // group * group
        assert seen[-1][2] == sum(map(len, records[first : first + group]))


@pytest.mark.parametrize("options", ["group_size:1", "group_size:4,brotli:3"])
def test_a_record_that_would_grow_out_of_proportion(tmp_path, options, monkeypatch):
    monkeypatch.setattr(record_sizes, "FREE_BYTES", 1 << 16)
    write(tmp_path / "a", [b"\x89small"] * 8 + [bytes(1 << 20)], options)
    file = storage.RecordFile(str(tmp_path / "a"))
    assert file.picture(3) == b"\x89small"
    with pytest.raises(InputError, match=r"record 8 of .* unpacked, more than the"):
        file.picture(8)


@pytest.mark.parametrize("options", OPTIONS[:3])
def test_damage_ends_in_a_value_or_in_a_message(tmp_path, options):
    path = tmp_path / "a"
    write(path, [bytes([n]) * 9000 for n in range(30)], options)

    def check(data: bytes):
        path.write_bytes(data)
        sizes = record_sizes.RecordSizes(str(path))
        for number in range(30):
            sizes.check(number)

    whole = path.read_bytes()
    check(whole)
    assert fuzzing.survivors(check, whole, 100) < 100
    last = len(whole) - record_sizes.BLOCK
    for seed in range(100):
        damaged = fuzzing.mutate(whole[last : last + 200], np.random.default_rng(seed))
        try:
            check(whole[:last] + damaged + whole[last + 200 :])
        except InputError:
            continue
