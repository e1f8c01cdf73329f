"""PyTorch's weight files, read without running what they hold; the one place that needs torch."""

import importlib
import pathlib
import pickle
import pickletools
import re
import struct
import types
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from data_pipeline.errors import InputError

OLDEST_SAFE = (2, 6)  # before it, weights_only could be talked into running code (CVE-2025-32434)

# The number that opens every file of torch.save before it wrote zips.
LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
PICKLES_BEFORE_DATA = 5  # magic, version, system, the object, the names of its storages

# What torch's reader lets out on damaged files; it checks little itself.
DAMAGE = (
    pickle.UnpicklingError,
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    ArithmeticError,
    EOFError,
    MemoryError,
    struct.error,
)

# What a tensor without storage of its own, such as an expanded one, may unfold to, in bytes.
FREE_BYTES = 1 << 26

SCALARS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")

PLAIN = (bool, int, float, complex, str, bytes)


class _ScalarType:
    """Stands where a file names `numpy.dtype`: notes what it is told and does nothing."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name
        self.order = "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


def _scalar(kind: _ScalarType, data: bytes) -> Any:
    """Stands where a file names numpy's scalar: a Python number from its few bytes.

    NumPy's own constructors believe what they are told about memory; this one takes a closed list.
    """
    if kind.name not in SCALARS:
        raise pickle.UnpicklingError(f"a numpy scalar of type {kind.name!r} is not a plain number")
    order = kind.order if kind.order in "<>" else "="
    return np.frombuffer(data, np.dtype(order + kind.name)).item()


def load(path: pathlib.Path, *, zipped: bool) -> Any:
    """What torch.save wrote, with every tensor as a numpy array and every scalar as a number.

    Arrays of a zip are views of the file, mapped privately: writing to them never reaches it.

    Args:
        path: a file of torch.save.
        zipped: whether it is a zip, else the format before it.

    Raises:
        InputError: torch is missing, the file is damaged, or it asks for more than weights.
    """
    torch = _torch(f"{path} is a PyTorch file")
    allowed = [
        (_scalar, "numpy.core.multiarray.scalar"),
        (_scalar, "numpy._core.multiarray.scalar"),
        (_ScalarType, "numpy.dtype"),
    ]
    options = {"weights_only": True, "map_location": "cpu"}
    try:
        with torch.serialization.safe_globals(allowed):
            if zipped and _can_be_mapped(path):
                content = torch.load(str(path), mmap=True, **options)
            else:
                with path.open("rb") as stream:
                    content = torch.load(stream, **options)
        return _plain(content, f"{path}: tensor ", "", torch)
    except DAMAGE as error:
        raise InputError(f"{path} {_reason(path, error, zipped=zipped)}") from error


def save(path: pathlib.Path, stream: IO[bytes], content: Mapping[str, Any]) -> None:
    """Writes nested dicts of numpy arrays and plain values with torch.save; `path` is for errors.

    Raises:
        InputError: torch is missing, or the disk is full.
    """
    torch = _torch(f"{path} would be a PyTorch file")
    tensors = _with_tensors(content, torch)
    try:
        torch.save(tensors, stream)
    except RuntimeError as error:
        # torch's zip writer reports a failed write in this way only.
        raise InputError(f"cannot write {path}: {_first_line(error)}; is the disk full?") from error


def pickled_names(path: pathlib.Path, *, zipped: bool = False) -> tuple[list[str], bool]:
    """Every function and class that the pickles of a file name, found without loading them.

    Returns:
        The names, and whether the pickles are whole.
    """
    if zipped:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if is_torch_record(name))
            with archive.open(name) as stream:
                return _scan(stream, 1)
    with path.open("rb") as stream:
        legacy = LEGACY_MAGIC in stream.read(32)
        stream.seek(0)
        return _scan(stream, PICKLES_BEFORE_DATA if legacy else 1)


def is_torch_record(name: str) -> bool:
    """Whether a member of a zip is the one that makes it a file of torch.save."""
    return name == "data.pkl" or name.endswith("/data.pkl")


def refusal(names: list[str]) -> str:
    """The end of a message about a file that asks for code."""
    some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return (
        f"asks for {some}, which is code and not weights; nothing in it was run. Where you trust "
        "the file, make one of tensors alone with "
        "torch.save(torch.load(f, weights_only=False)['state_dict'], out), or "
        ".state_dict() in place of ['state_dict'] where it holds a whole model"
    )


def _scan(stream: IO[bytes], count: int) -> tuple[list[str], bool]:
    names: list[str] = []
    try:
        for _ in range(count):
            strings, memo = ["", ""], {}
            for opcode, argument, _position in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    names.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL":
                    names.append(".".join(strings[-2:]))
                elif opcode.name == "MEMOIZE":
                    memo[len(memo)] = strings[-1]
                elif "GET" in opcode.name:
                    strings.append(memo.get(argument, ""))
                elif isinstance(argument, str):
                    strings.append(argument)
        whole = True
    except (ValueError, MemoryError):  # broken off, or a length that cannot be true
        whole = False
    return list(dict.fromkeys(names)), whole


def _torch(why: str) -> types.ModuleType:
    # By name, because the type checker and the tests of the core run where torch is not installed.
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise InputError(
            f"{why}, for which PyTorch is needed and not installed: "
            "pip install 'luperson_jax[torch]', or use a .safetensors file"
        ) from error
    if torch.__version__ < OLDEST_SAFE:
        raise InputError(
            f"{why}, and PyTorch {torch.__version__} cannot keep code in it from running: "
            "pip install 'luperson_jax[torch]', or use a .safetensors file"
        )
    return torch


def _can_be_mapped(path: pathlib.Path) -> bool:
    """Whether the tensors lie in the zip as they are; a zip that was packed again is compressed."""
    with zipfile.ZipFile(path) as archive:
        stored = all(one.compress_type == zipfile.ZIP_STORED for one in archive.infolist())
    # torch.load takes this suffix for the other format, whatever the file holds.
    return stored and path.suffix != ".safetensors"


def _reason(path: pathlib.Path, error: Exception, *, zipped: bool) -> str:
    """Why torch refused a file: code, another version of pickle, or damage."""
    names, whole = pickled_names(path, zipped=zipped)
    if isinstance(error, pickle.UnpicklingError) and whole:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked:
            return refusal([asked[1]])
        strange = [name for name in names if not name.startswith(("torch.", "collections."))]
        if strange:
            return refusal(strange)
        if "operand" in str(error):
            return (
                "is pickled in a version that cannot be read safely; save it again with "
                "torch.save(torch.load(f, weights_only=False), out), where you trust it"
            )
    # torch's own text would advise to switch its protection off.
    reading = isinstance(error, pickle.UnpicklingError)
    reason = "its list of tensors breaks off" if reading else _first_line(error)
    return f"is damaged or incomplete ({reason}); download or copy it again"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _plain(value: Any, place: str, name: str, torch: types.ModuleType) -> Any:
    """The same without torch: arrays, containers, numbers and strings."""
    if isinstance(value, torch.Tensor):
        return _array(value, place + name, torch)
    if isinstance(value, Mapping):
        dot = name and name + "."
        return {key: _plain(one, place, f"{dot}{key}", torch) for key, one in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(one, place, f"{name}[{i}]", torch) for i, one in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if value is None or isinstance(value, PLAIN):
        return value
    if isinstance(value, torch.dtype | torch.device | set):
        return str(value)
    return type(value).__name__


def _array(tensor: Any, name: str, torch: types.ModuleType) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.layout == torch.strided:
        # A tensor that repeats its storage costs the file nothing and its reader everything.
        claimed, stored = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        if claimed > max(stored, FREE_BYTES):
            raise InputError(
                f"{name} of shape {tuple(tensor.shape)} unfolds to {claimed} bytes, and the file "
                f"stores {stored} for it; save tensor.contiguous() where that size is meant"
            )
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    try:
        return tensor.resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError) as error:
        raise InputError(
            f"{name} is {tensor.dtype}, {tensor.layout}, on {tensor.device}; expected plain "
            "numbers: save it as tensor.to_dense().float()"
        ) from error


def _with_tensors(value: Any, torch: types.ModuleType) -> Any:
    if isinstance(value, np.ndarray):
        # Always a copy: torch warns of arrays that it may not write to, and those of JAX are such.
        return torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _with_tensors(one, torch) for key, one in value.items()}
    if isinstance(value, list | tuple):
        items = (_with_tensors(one, torch) for one in value)
        return list(items) if isinstance(value, list) else tuple(items)
    assert value is None or isinstance(value, PLAIN), value
    return value
