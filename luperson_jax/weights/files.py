"""Weight files of other programs: opened, unwrapped and checked, and written for them.

What a file is, its first bytes say and not its name. No file makes code run: PyTorch's own are read
with `weights_only`, and every other format here has no room for code.
"""

import codecs
import dataclasses
import difflib
import pathlib
import types
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from data_pipeline.errors import InputError, refusal
from data_pipeline.read import array_files, atomic, listing
from luperson_jax import folder_kinds
from luperson_jax.weights import prefixes, torch_io

# Where the published programs keep the weights in the dict that they save.
WRAPPERS = ("state_dict", "model", "model_state_dict", "net")

WRITTEN = (".pth", ".pt", ".safetensors")
KNOWN = (
    "a PyTorch file (.pth, .pt, .pth.tar, .bin, .ckpt), .safetensors, or an .npz of named arrays "
    "(for TensorFlow: np.savez(out, **variables))"
)

SAFETENSORS_HEADER = 100_000_000  # the format's own limit, bytes
# BF16 among them, because numpy knows it once ml_dtypes is imported.
SAFETENSORS_TYPES = (
    *("F64", "F32", "F16", "BF16", "BOOL"),
    *("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8"),
)

# First bytes of what is given by mistake.
MISTAKES = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run 'git lfs pull'",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"\x89HDF": "an HDF5 file; save its arrays with np.savez(out, **arrays)",
    b"\x1f\x8b": "packed by gzip; unpack it and give the file inside",
    b"%PDF": "a PDF document",
}
TAR_MAGIC = slice(257, 262), b"ustar"

DAMAGED_NPZ = (
    "download or copy it again where it is damaged; expected plain numbers, "
    "np.savez(out, **{name: np.asarray(array, np.float32)})"
)

# What Python's zip reader lets out on damaged files.
ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)

_Content = tuple[dict[str, Any], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class ForeignFile:
    """A foreign file, opened.

    Attributes:
        path: where it lies.
        tensors: arrays by name, in the order of the file, without wrapper and `module.`.
            They may be views of the file, mapped privately: it is read as they are used and must
            stay as it is while they live; writing to an array never reaches it. Tensors that share
            memory in the file share it here.
        beside: what else the file holds: epoch, arch, optimizer and the like, arrays in place of
            tensors.
    """

    path: pathlib.Path
    tensors: dict[str, np.ndarray]
    beside: dict[str, Any]


def read(path: str | pathlib.Path) -> ForeignFile:
    """Opens a file of weights.

    float16 and bfloat16 become float32; float32, integers and booleans stay bit for bit.

    Args:
        path: a file of PyTorch (needs the extra `[torch]`), safetensors or npz.

    Returns:
        Its tensors and what lies beside them.

    Raises:
        InputError: there is no such file, it is damaged, it asks for code, it holds no tensors, or
            a tensor is of float64 or not finite.
    """
    path = pathlib.Path(path)
    try:
        with warnings.catch_warnings():
            # torch, numpy and pickletools warn of old writers; what cannot be read is an error.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            tensors, beside = _reader(path)(path)
    except OSError as error:
        raise refusal(path, error) from error
    except ZIP_DAMAGE as error:
        raise InputError(
            f"{path} is a damaged or incomplete zip ({error}); download or copy it again"
        ) from error
    if not tensors:
        raise InputError(f"{path} holds no tensors; expected {KNOWN}")
    # Checked under the names that the file has.
    checked = {name: _checked(path, name, array) for name, array in tensors.items()}
    return ForeignFile(path, prefixes.unwrapped(checked, path), beside)


def write(
    path: str | pathlib.Path,
    tensors: Mapping[str, np.ndarray],
    *,
    wrapper: str = "",
    prefix: str = "",
    beside: Mapping[str, Any] = types.MappingProxyType({}),
) -> None:
    """Writes a file of weights for other programs, whole or not at all.

    Args:
        path: `.pth` or `.pt` (needs the extra `[torch]`) or `.safetensors`; must not exist.
        tensors: arrays by name: float32, float16, integers or booleans.
        wrapper: key under which the tensors stand in the dict of a PyTorch file; "" for none.
        prefix: put before every name.
        beside: further entries of that dict: arrays, numbers, strings and containers of them. In
            safetensors, which is flat, numbers and strings go to the metadata, the rest is dropped.

    Raises:
        InputError: another suffix, the file exists, or it cannot be written.
    """
    path = pathlib.Path(path)
    assert tensors, "no tensors to write"
    assert wrapper or not beside or path.suffix == ".safetensors", (
        "a flat file has no other entries"
    )
    _check_target(path)
    arrays = {prefix + name: _native(prefix + name, one) for name, one in tensors.items()}
    with atomic.replacing(path) as part, part.open("wb") as stream:
        if path.suffix == ".safetensors":
            facts = {key: str(one) for key, one in beside.items() if _is_fact(one)}
            stream.write(safetensors.numpy.save(arrays, facts or None))
        else:
            torch_io.save(path, stream, {**beside, wrapper: arrays} if wrapper else arrays)


def _native(name: str, array: np.ndarray) -> np.ndarray:
    """The array in row order, which safetensors needs and does not check, and native bytes."""
    array = np.asarray(array, array.dtype.newbyteorder("="), order="C")
    if array.dtype.kind not in "iub" and array.dtype not in (np.float32, np.float16):
        raise InputError(f"cannot write {name}: its type is {array.dtype}, expected float32")
    return array


def _is_fact(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _check_target(path: pathlib.Path) -> None:
    if path.suffix not in WRITTEN:
        raise InputError(
            f"cannot write {path}: its suffix is {path.suffix!r}; expected {', '.join(WRITTEN)}"
        )
    if listing.exists(path):
        raise InputError(f"{path} exists and is never overwritten; remove it or give another name")
    if not listing.is_folder(path.parent):
        raise InputError(f"cannot write {path}: there is no folder {path.parent}; make it first")


def _reader(path: pathlib.Path) -> Callable[[pathlib.Path], _Content]:
    """The reader for what a file holds; InputError says what it is instead."""
    _check_present(path)
    with path.open("rb") as stream:
        head = stream.read(512)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        raise InputError(
            f"{path} is a web page and not weights: the download ended at a page such as a login, "
            "a quota notice or Google Drive's virus warning; fetch the file with a browser"
        )
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_reader(path)
    if torch_io.LEGACY_MAGIC in head[:32]:
        return _read_torch_legacy
    mistake = next((what for magic, what in MISTAKES.items() if head.startswith(magic)), None)
    if head[TAR_MAGIC[0]] == TAR_MAGIC[1]:
        mistake = "a tar archive; unpack it with tar -xf and give the file inside"
    if mistake:
        raise InputError(f"{path} is {mistake}; expected {KNOWN}")
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= SAFETENSORS_HEADER:
        return _read_safetensors
    names, whole = torch_io.pickled_names(path)
    if whole and names:
        raise InputError(
            f"{path} is a pickle that torch.save did not write, and {torch_io.refusal(names)}"
        )
    if _is_text(head):
        start = text.splitlines()[0][:40].decode("utf-8", "replace") if text else ""
        raise InputError(f"{path} is a text file that starts {start!r}; expected {KNOWN}")
    if path.suffix == ".safetensors":
        return _read_safetensors  # broken off within its first bytes, which it says
    if head.startswith(b"\x80"):
        raise InputError(f"{path} is a Python pickle, damaged or without tensors; expected {KNOWN}")
    raise InputError(f"{path} is of no known kind: it starts {head[:8].hex(' ')}; expected {KNOWN}")


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # its end may be cut
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\ufeff\t\n\r\f" for letter in text)


def _check_present(path: pathlib.Path) -> None:
    if listing.is_folder(path):
        end = folder_kinds.told(path, "give the file of weights inside")
        raise InputError(f"{path} is a folder and no file of weights; {end}")
    if not listing.exists(path):
        folder = path.parent
        if not listing.is_folder(folder):
            raise InputError(f"there is no file {path}, nor its folder {folder}")
        near = difflib.get_close_matches(path.name, listing.names(folder), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; check the name"
        raise InputError(f"there is no file {path.name!r} in {folder}{hint}")
    if not listing.is_file(path):
        raise InputError(f"{path} is not a regular file; expected {KNOWN}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); download or copy it again")


def _zip_reader(path: pathlib.Path) -> Callable[[pathlib.Path], _Content]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        if any(info.flag_bits & 1 for info in infos):
            raise InputError(f"{path} is an encrypted zip; unpack it and give the file inside")
        if any(name.endswith("constants.pkl") for name in names):
            raise InputError(
                f"{path} is a TorchScript program, not weights; where you trust it, save its "
                "weights with torch.save(torch.jit.load(f).state_dict(), out)"
            )
        if any(torch_io.is_torch_record(name) for name in names):
            declared = sum(info.file_size for info in infos)
            array_files.check_growth(path, declared, "download or copy it again")
            _check_sums(archive)
            return _read_torch_zip
    if any(name.endswith(".npy") for name in names):
        return _read_npz
    some = ", ".join(names[:4]) or "nothing"
    raise InputError(
        f"{path} is a zip without tensors: it holds {some}; unpack it if the weights are inside, "
        f"expected {KNOWN}"
    )


def _check_sums(archive: zipfile.ZipFile) -> None:
    """Raises BadZipFile where bytes have changed; torch itself does not look at the checksums."""
    for info in archive.infolist():
        if info.CRC:  # 0: torch.save was told to leave them out
            with archive.open(info) as member:
                while member.read(1 << 20):
                    pass


def _read_torch_zip(path: pathlib.Path) -> _Content:
    return _unwrapped(path, torch_io.load(path, zipped=True))


def _read_torch_legacy(path: pathlib.Path) -> _Content:
    return _unwrapped(path, torch_io.load(path, zipped=False))


def _read_safetensors(path: pathlib.Path) -> _Content:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            tensors = {}
            for name in file.offset_keys():
                kind = file.get_slice(name).get_dtype()
                if kind not in SAFETENSORS_TYPES:
                    raise InputError(f"{path}: tensor {name!r} is of type {kind}; save it as F32")
                tensors[name] = file.get_tensor(name)
            return tensors, dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path} is damaged or incomplete ({error}); download or copy it again"
        ) from error


def _read_npz(path: pathlib.Path) -> _Content:
    tensors, beside = {}, {}
    with array_files.open_npz(path, DAMAGED_NPZ) as arrays:
        for name in arrays.names:
            array = arrays[name]
            if array.dtype.kind in "US":
                beside[name] = array.tolist()
            else:
                tensors[name] = array
    return tensors, beside


def _unwrapped(path: pathlib.Path, content: Any) -> _Content:
    """The tensors of what torch.save wrote, taken out of the dicts around them."""
    if not isinstance(content, Mapping):
        raise InputError(
            f"{path} holds a {type(content).__name__}; expected a dict of tensors, as from "
            "torch.save(model.state_dict(), out)"
        )
    beside: dict[str, Any] = {}
    while wrapper := _wrapper_of(content):
        # An entry further out is about the whole file and wins over one of the same name.
        beside = {**{key: one for key, one in content.items() if key != wrapper}, **beside}
        content = content[wrapper]
    tensors = {name: one for name, one in content.items() if isinstance(one, np.ndarray)}
    odd = next((name for name in tensors if not isinstance(name, str)), None)
    if odd is not None:
        raise InputError(f"{path}: a tensor is named {odd!r}; expected names as of state_dict()")
    if not tensors:
        keys = ", ".join(repr(key) for key in list(content)[:8]) or "none"
        inside = next((repr(key) for key, one in content.items() if _has_tensors(one)), "")
        hint = inside and f"; for those under {inside}: torch.save(torch.load(f)[{inside}], out)"
        raise InputError(
            f"{path} holds no tensors by name: its keys are {keys}; expected tensors there or "
            f"under one of {', '.join(WRAPPERS)}{hint}"
        )
    return tensors, {**{key: one for key, one in content.items() if key not in tensors}, **beside}


def _wrapper_of(content: Mapping[Any, Any]) -> str | None:
    return next((key for key in WRAPPERS if _has_tensors(content.get(key))), None)


def _has_tensors(value: Any) -> bool:
    """Whether it is a dict of tensors, or one with such a dict under a known key."""
    if not isinstance(value, Mapping):
        return False
    direct = any(isinstance(one, np.ndarray) for one in value.values())
    return direct or _wrapper_of(value) is not None


def _checked(path: pathlib.Path, name: str, array: np.ndarray) -> np.ndarray:
    """The array in native byte order and, if of few bits, as float32; InputError if unusable."""
    if array.dtype in (np.float16, ml_dtypes.bfloat16):
        array = array.astype(np.float32)
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "f" and size > 4 and array.ndim:
        raise InputError(
            f"{path}: tensor {name!r} is {array.dtype}, and weights are float32 here; save it as "
            "tensor.float(), or array.astype(np.float32)"
        )
    if kind not in "fiub":
        raise InputError(
            f"{path}: tensor {name!r} is of type {array.dtype}; expected float32, integers or "
            "booleans"
        )
    if kind == "f" and not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise InputError(
            f"{path}: {bad} of {array.size} values of tensor {name!r} are NaN or infinite; "
            "the training behind it diverged or the file is damaged, use an earlier one"
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)
