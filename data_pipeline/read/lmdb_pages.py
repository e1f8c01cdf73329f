"""Whether an LMDB file holds all of a record, looked up in its pages.

LMDB believes the size that a record declares and touches all of that memory: beyond the end of the
file the system ends the process, without a word. The form of the pages is that of LMDB 0.9, of a
machine of this order of bytes.
"""

import mmap
import struct

from data_pipeline.errors import InputError

PAGE_HEADER = 16
# Of its fields: flags, and where the places of nodes end.
FLAGS_AND_LOWER = struct.Struct("<10xHH")
BRANCH, LEAF = 0x01, 0x02
MAGIC = 0xBEEFC0DE
# Of a page of the file's head: the magic number, the size of a page; the root; the transaction.
HEAD = struct.Struct(f"<{PAGE_HEADER}xI20xI84xQ8xQ")
HEADS = (0, 1)
NO_PAGE = 0xFFFFFFFFFFFFFFFF
"""The root where there are no records."""
# Of a node: size of its value, or page below it; flags, or the upper part of that; size of its key.
NODE = struct.Struct("<IHH")
OUTSIDE = 0x01
"""The value of a node lies in pages of its own, and the node holds the number of the first."""
MAX_DEPTH = 32


class Pages:
    """The pages of an environment that does not change.

    Args:
        path: `data.mdb`.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        with open(path, "rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        heads = self._heads()
        self._page, self._root = max(heads)[1:] if heads else (0, 0)

    def _heads(self) -> list[tuple[int, int, int]]:
        """Transaction, size of a page and root, as the one or two heads of the file have them."""
        found = []
        size = HEAD.unpack_from(self._data)[1]
        for number in HEADS:
            if number * size + HEAD.size <= len(self._data):
                magic, _, root, transaction = HEAD.unpack_from(self._data, number * size)
                if magic == MAGIC:
                    found.append((transaction, size, root))
        return found

    def check(self, key: bytes) -> None:
        """Raises InputError where the record of a key, if there is one, declares more bytes than
        the file has from there on."""
        try:
            self._find(key)
        except (struct.error, ValueError, OverflowError) as error:
            raise InputError(
                f"the record {key!r} of {self._path} is damaged ({error}); copy the file again"
            ) from error

    def _find(self, key: bytes) -> None:
        number = self._root
        if number == NO_PAGE:
            return
        for _ in range(MAX_DEPTH):
            start = number * self._page
            flags, lower = FLAGS_AND_LOWER.unpack_from(self._data, start)
            if not flags & (BRANCH | LEAF):
                return  # no tree, or one that LMDB refuses
            node, found = self._search(start, (lower - PAGE_HEADER) // 2, key)
            low, high, _ = NODE.unpack_from(self._data, node)
            if flags & LEAF:
                if found == key:
                    self._check_value(node + NODE.size + len(key), low, bool(high & OUTSIDE))
                return
            number = low | high << 32

    def _search(self, start: int, count: int, key: bytes) -> tuple[int, bytes]:
        """Place and key of the last node of a page that does not come after a key."""
        first, last = 0, max(count - 1, 0)
        while first < last:
            middle = (first + last + 1) // 2
            if self._node(start, middle)[1] <= key:
                first = middle
            else:
                last = middle - 1
        return self._node(start, first)

    def _node(self, start: int, index: int) -> tuple[int, bytes]:
        (offset,) = struct.unpack_from("<H", self._data, start + PAGE_HEADER + 2 * index)
        node = start + offset
        size = NODE.unpack_from(self._data, node)[2]
        return node, self._data[node + NODE.size : node + NODE.size + size]

    def _check_value(self, place: int, size: int, outside: bool) -> None:
        if outside:
            place = struct.unpack_from("<Q", self._data, place)[0] * self._page + PAGE_HEADER
        if place + size > len(self._data):
            raise ValueError(f"it declares {size} bytes, more than the file has from there on")
