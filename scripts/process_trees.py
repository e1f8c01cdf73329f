"""What a process and its descendants hold, as Linux tells it in /proc."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

PROC = pathlib.Path("/proc")
SHARED_MEMORY = pathlib.Path("/dev/shm")
# Of files that are mapped every process of the machine that maps them has a part: that part grows
# when others end.
HELD = ("Pss_Anon:", "Pss_Shmem:")


@dataclasses.dataclass(frozen=True)
class Holdings:
    """What a tree of processes holds at one moment.

    Attributes:
        bytes: memory of its own, what it shares with others in parts, no mapped files.
        first_bytes: the same, of its first process alone.
        processes, threads, files: numbers; of open files.
        blocks, block_bytes: what stands in /dev/shm, whoever put it there.
    """

    bytes: int = 0
    first_bytes: int = 0
    processes: int = 0
    threads: int = 0
    files: int = 0
    blocks: int = 0
    block_bytes: int = 0


def own(field: str) -> int:
    """Bytes of this process by a field of its `status`, such as VmHWM, its peak. Not `getrusage`:
    that peak is at least the one of the process which started this one."""
    status = (PROC / "self" / "status").read_text()
    return 1024 * int(status.partition(f"{field}:")[2].split()[0])


def tree(first: int) -> list[int]:
    """Ids of a process and its descendants; empty where it has ended."""
    children: dict[int, list[int]] = {}
    for number, parent in _parents():
        children.setdefault(parent, []).append(number)
    found = [first] if (PROC / str(first)).is_dir() else []
    for one in found:
        found += children.get(one, [])
    return found


def alive(numbers: list[int]) -> list[int]:
    """Those that still run; one that only waits to be taken note of does not."""
    return [number for number in numbers if _state(number) not in ("", "Z", "X")]


def blocks() -> dict[str, int]:
    """Names and bytes of what stands in /dev/shm."""
    found = {}
    for path in SHARED_MEMORY.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = path.stat().st_blocks * 512
    return found


def orphans() -> set[str]:
    """Names in /dev/shm of what no process has mapped that this user may look into."""
    mapped = set()
    for number, _ in _parents():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            for entry in (PROC / str(number) / "maps").read_text(errors="replace").splitlines():
                fields = entry.split(maxsplit=5)
                if len(fields) == 6 and fields[5].startswith(f"{SHARED_MEMORY}/"):
                    mapped.add(int(fields[4]))
    found = set()
    for path in SHARED_MEMORY.iterdir():
        with contextlib.suppress(FileNotFoundError):
            # A block that goes to another process has two names there, and one inode.
            if path.stat().st_ino not in mapped:
                found.add(path.name)
    return found


def holdings(first: int) -> Holdings:
    """Of the tree that begins with `first`. Processes that end meanwhile count as nothing."""
    total = dict.fromkeys(("bytes", "first_bytes", "processes", "threads", "files"), 0)
    for number in tree(first):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            folder = PROC / str(number)
            lines = (folder / "smaps_rollup").read_text().splitlines()
            held = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(HELD))
            threads = len(list((folder / "task").iterdir()))
            files = len(list((folder / "fd").iterdir()))
            total["bytes"] += held
            total["first_bytes"] += held if number == first else 0
            total["processes"] += 1
            total["threads"] += threads
            total["files"] += files
    shared = blocks()
    return Holdings(**total, blocks=len(shared), block_bytes=sum(shared.values()))


def _parents() -> Iterator[tuple[int, int]]:
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                yield int(folder.name), int(_after_name(folder)[1])


def _state(number: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return _after_name(PROC / str(number))[0]
    return ""


def _after_name(folder: pathlib.Path) -> list[str]:
    """State, parent and more: what follows the name, which may hold blanks and brackets."""
    return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
