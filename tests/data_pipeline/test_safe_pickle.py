import collections
import datetime
import functools
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from data_pipeline.errors import InputError
from data_pipeline.read import safe_pickle

PROTOCOLS = (0, 2, 5)  # of text, of Python 2, and the newest

SHARED = ["a", "b"]
PLAIN = {
    "key list": [f"30_00_0292_{i:08d}" for i in range(300)],
    "key dict": {"keys": ["00001_000007_0000020_01"] * 2, "pids": [7, 2**40]},
    "numbers": [0, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**100, -(2**2048), 1.5, -0.0, 1j],
    "constants": [None, True, False, (), [], {}, set(), frozenset(), b"", "", bytearray()],
    "strings": [
        "x" * 300,
        "y" * 70_000,
        "länder\n'\"\\",
        "\udcff",
        "\U0001f600",
        b"\0\xff\n" * 200,
    ],
    "containers": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {1, 2}, frozenset("ab"), {(1, "a"): 2}],
    "shared": [SHARED, SHARED, (SHARED,)],
    "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
    "default": collections.defaultdict(list, {1: [2]}),
    "buffer": bytearray(b"abc"),
    "scalar": 5,
}
ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    np.arange(10)[::2],
    np.array([1, 2], ">u2"),
    np.array([[True], [False]]),
    np.array(3.0),
    np.zeros((0, 3), np.int16),
    np.array([1 + 2j], np.complex64),
    np.array(["ab", "c", "ß"]),
    np.array([b"ab", b"c"]),
    np.array(["x"], ">U3"),
    np.array(["30_00_0292_00000238"] * 50),
    np.full(300, 255, np.uint8),
]


def write(tmp_path, data):
    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    return path


def dumped(tmp_path, value, protocol=pickle.DEFAULT_PROTOCOL):
    return write(tmp_path, pickle.dumps(value, protocol))


def instructions(*pieces):
    return b"\x80\x04" + b"".join(pieces) + b"."


def short(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


def same(one, other):
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert one.flags.f_contiguous == other.flags.f_contiguous
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_data_comes_back_as_python_reads_it(tmp_path, name, protocol):
    data = pickle.dumps(PLAIN[name], protocol)
    actual = safe_pickle.load(write(tmp_path, data))
    assert actual == pickle.loads(data)
    if isinstance(actual, list):
        assert list(map(type, actual)) == list(map(type, PLAIN[name]))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_shared_object_stays_one(tmp_path, protocol):
    one, other, (third,) = safe_pickle.load(dumped(tmp_path, PLAIN["shared"], protocol))
    assert one is other
    assert one is third


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_and_scalars_of_numbers_and_strings(tmp_path, protocol):
    scalars = [np.float32(1.5), np.int64(-3), np.bool(True), np.str_("ab"), np.bytes_(b"x")]
    value = {"arrays": ARRAYS, "scalars": scalars}
    data = pickle.dumps(value, protocol)
    loaded = safe_pickle.load(write(tmp_path, data))
    for name, items in pickle.loads(data).items():
        for one, other in zip(loaded[name], items, strict=True):
            same(one, other)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_detections(tmp_path, protocol):
    box = np.array([618.625, 81.75, 1031.375, 709.25], np.float32)
    value = {1819: [[0, {"bbox": box, "conf": np.float32(0.95), "pid": 4}]]}
    ((number, entry),) = safe_pickle.load(dumped(tmp_path, value, protocol))[1819]
    assert (number, entry["pid"], entry["conf"]) == (0, 4, np.float32(0.95))
    same(entry["bbox"], box)


# What Python 2.7 wrote for {'keys': ['30_00\xe9', u'a'], 'pids': [1, True, 2L]}, by protocol.
PYTHON_2 = [
    b"(dp0\nS'keys'\np1\n(lp2\nS'30_00\\xe9'\np3\naVa\np4\nasS'pids'\np5\n(lp6\nI1\naI01\naL2L\nas.",
    b"}q\x01(U\x04keysq\x02]q\x03(U\x0630_00\xe9q\x04X\x01\x00\x00\x00aq\x05eU\x04pidsq\x06"
    b"]q\x07(K\x01I01\nL2L\neu.",
    b"\x80\x02}q\x01(U\x04keysq\x02]q\x03(U\x0630_00\xe9q\x04X\x01\x00\x00\x00aq\x05eU\x04pids"
    b"q\x06]q\x07(K\x01\x88\x8a\x01\x02eu.",
]
# numpy.array([1.5, 2.5], numpy.float32), with the bytes in a string of Python 2.
PYTHON_2_ARRAY = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b"
    b"\x87Rq\x03(K\x01K\x02\x85cnumpy\ndtype\nq\x04U\x02f4K\x00K\x01\x87Rq\x05(K\x03U\x01<NNN"
    b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\xc0?\x00\x00 @tb."
)


@pytest.mark.parametrize("protocol", range(3))
def test_python_2(tmp_path, protocol):
    data = PYTHON_2[protocol]
    expected = {"keys": ["30_00\xe9", "a"], "pids": [1, True, 2]}
    assert pickle.loads(data, encoding="latin1") == expected
    assert safe_pickle.load(write(tmp_path, data)) == expected


def test_array_of_python_2(tmp_path):
    same(safe_pickle.load(write(tmp_path, PYTHON_2_ARRAY)), np.array([1.5, 2.5], np.float32))


def test_line_ends_of_another_system(tmp_path):
    value = {"keys": ["30_00_0292_00000238", "x"], "pids": [1, 2**70], "boxes": [1.5]}
    data = pickle.dumps(value, 0).replace(b"\n", b"\r\n")
    assert safe_pickle.load(write(tmp_path, data)) == value


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Person:
    pid = 1


def matrix():
    with pytest.warns(PendingDeprecationWarning):
        return np.matrix([[1]])


HARMFUL = {
    "system": (lambda mark: Call(os.system, f"touch {mark}"), r"(posix|nt)\.system"),
    "eval": (lambda mark: Call(eval, f"open({mark!r}, 'w')"), r"(builtins|__builtin__)\.eval"),
    "open": (lambda mark: Call(open, mark, "w"), r"io\.open"),
    "partial": (lambda mark: functools.partial(open, mark, "w"), r"functools\.partial"),
    "in a key": (lambda mark: {(Call(os.system, f"touch {mark}"),): 1}, r"\.system"),
    "objects": (lambda mark: np.array([Call(os.system, f"touch {mark}"), None]), "O8"),
    "codec": (lambda mark: Call(__import__("_codecs").encode, "x", "rot13"), "_codecs.encode"),
    "class": (lambda mark: Person(), r"(copy_?reg|Person)"),
    "named class": (lambda mark: [Person], "Person"),
    "records": (lambda mark: np.zeros(2, [("a", "i4")]), "V4"),
    "dates": (lambda mark: np.array(["2020-01-01"], "M8[D]"), "M8"),
    "matrix": (lambda mark: matrix(), "matrix"),
    "date": (lambda mark: datetime.date(2020, 1, 1), "datetime"),
    "range": (lambda mark: range(10**12), "range"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", HARMFUL)
def test_what_is_no_plain_data_is_named_and_not_run(tmp_path, name, protocol):
    make, asked = HARMFUL[name]
    mark = tmp_path / "mark"
    with pytest.raises(InputError, match=f"(?s)x.pkl asks for .*{asked}"):
        safe_pickle.load(dumped(tmp_path, make(str(mark)), protocol))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (b"(S'touch x'\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nS'touch x'\no.", "os.system"),
        (b"Pname\n.", "not in the file"),
        (instructions(b"N", b"Q"), "not in the file"),
        (instructions(short("os"), short("path.join"), b"\x93"), "os.path.join"),
        (instructions(b"]", b"}", b"b"), "list with a state"),
    ],
)
def test_instructions_that_are_refused(tmp_path, data, asked):
    with pytest.raises(InputError, match=f"asks for .*{asked}"):
        safe_pickle.load(write(tmp_path, data))


def array_state(dtype, shape, data):
    """The instructions that end an array whose beginning is on the stack."""
    kind, order = dtype[1:], dtype[:1]
    dtype = [short("numpy"), short("dtype"), b"\x93", short(kind), b"\x89\x88\x87R"]
    dtype += [b"(K\x03", short(order), b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"]
    return [b"(K\x01", shape, *dtype, b"\x89", data, b"tb"]


BEGIN = [short("numpy.core.multiarray"), short("_reconstruct"), b"\x93"]
BEGIN += [short("numpy"), short("ndarray"), b"\x93"]
HUGE = b"\x8a\x06" + (2**40).to_bytes(6, "little")


@pytest.mark.parametrize(
    "pieces",
    [
        [b"Np-1\n"],
        [b"h\x05"],
        [b"\x8e", struct.pack("<Q", 2**40), b"x"],
        [b"\x8d", struct.pack("<Q", 2**63), b"x"],
        [b"\x96", struct.pack("<Q", 2**31), b"x"],  # as many bytes as memory may well have
        [b"\x96", struct.pack("<Q", 2**40), b"x"],
        [b"\x96", struct.pack("<Q", 2**63), b"x"],
        [b"X", struct.pack("<I", 2**31), b"x"],
        [b"\x8b", struct.pack("<I", 2**31), b"x"],
        [*BEGIN, HUGE, b"\x85C\x01b\x87R", *array_state("<f8", b"K\x03\x85", b"C\0")],
        [*BEGIN, b")C\x01b\x87R", *array_state("<f8", HUGE + b"\x85", b"C\x08" + b"a" * 8)],
        [*BEGIN, b")C\x01b\x87R", *array_state("<S0", HUGE + b"\x85", b"C\0")],
        [*BEGIN, b")C\x01b\x87R", *array_state("<U1", b"K\x01\x85", b"C\4\xff\xff\xff\xff")],
        [*BEGIN, b")C\x01b\x87R", *array_state("<S99999999999999", b")", b"C\0")],
        [short("builtins"), short("bytearray"), b"\x93", HUGE, b"\x85R"],
        [short("numpy"), short("ndarray"), b"\x93", HUGE, b"\x85\x85R"],
        [b"\x8f(]\x90"],
        [b"}]Ns"],
        [b"\x85"],
        [b"NNa"],
        [b"\x82\x01"],
        [b"\x97"],
        [b"(I" + b"9" * 5000 + b"\n"],
        [b"\xff"],
        [b"N("],
        [],
    ],
)
def test_damage_and_bombs(tmp_path, pieces):
    data = instructions(*pieces)
    path = write(tmp_path, data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"x\.pkl is no pickle file or a damaged one"):
            safe_pickle.load(path)
        assert tracemalloc.get_traced_memory()[1] < 200 * len(data) + 1_000_000
    finally:
        tracemalloc.stop()


def test_a_file_of_any_size_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="more than 100 bytes"):
        safe_pickle.load(dumped(tmp_path, list(range(1000))))


def test_copies_of_the_same_bytes_do_not_fill_the_memory(tmp_path):
    """100 kB of bytes, remembered, in 2000 arrays: 200 MB from a file of less than 1 MB."""
    size = 100_000
    bulk = b"B" + struct.pack("<I", size) + bytes(size) + b"\x940"
    start = [*BEGIN, b")C\x01b\x87R"]
    state = array_state("<u1", b"J" + struct.pack("<i", size) + b"\x85", b"h\0")
    for repeated in ([*start, *state], [short("builtins"), short("bytearray"), b"\x93h\0\x85R"]):
        path = write(tmp_path, instructions(bulk, b"](", *repeated * 2000, b"e"))
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match="multiple of its size"):
                safe_pickle.load(path)
            assert tracemalloc.get_traced_memory()[1] < 50_000_000
        finally:
            tracemalloc.stop()


def test_references_to_references_are_followed_once(tmp_path):
    """Sixty lists, each twice the one before: 2**60 items if somebody walked through them."""
    pieces = [b"]\x94"] + [b"](h%ch%ce\x94" % (i, i) for i in range(60)]
    array = [*BEGIN, b")C\x01b\x87R", *array_state("<u1", b"K\x01\x85", b"C\x01x")]
    value = safe_pickle.load(write(tmp_path, instructions(b"(", *pieces, *array, b"l")))
    assert len(value) == 61 + 1
    assert value[60][0] is value[59]


def test_deep_nesting_is_no_crash(tmp_path):
    depth = 200_000
    value = safe_pickle.load(write(tmp_path, instructions(b"]" * depth, b"a" * (depth - 1))))
    count = 1
    while value:
        (value,) = value
        count += 1
    assert count == depth


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_truncation_and_many_changes_end_in_an_input_error_or_in_plain_data(
    tmp_path, protocol
):
    value = [{"keys": ["a", "bc"], "pids": [1, 2**70]}, np.arange(3), {1, 2}, b"xy", 1.5, (1, 2)]
    data = pickle.dumps(value, protocol)
    rng = np.random.default_rng(protocol)
    broken = [data[:size] for size in range(len(data))]
    for _ in range(1500):
        one = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            one[rng.integers(len(one))] = rng.integers(256)
        broken.append(bytes(one))
    refused = 0
    for one in broken:
        try:
            safe_pickle.load(write(tmp_path, one))
        except InputError:
            refused += 1
    assert refused > len(data)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.pkl"):
        safe_pickle.load(tmp_path / "none.pkl")
