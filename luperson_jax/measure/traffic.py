"""Bytes that a compiled program moves, read from its text: through memory, and between devices."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
SILENT = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "after-all"),
    *("partition-id", "replica-id", "opt-barrier"),
)
"""Instructions that move nothing."""

PARTIAL = ("slice", "dynamic-slice", "gather")
"""Instructions that read no more of an operand than they give."""

VIEWS = ("bitcast", "convert", "reshape")
"""Instructions inside a fusion that are done for what is asked of them."""

_BITS = {"pred": 8, "token": 0}
_SHAPE = re.compile(r"\b(pred|token|bf16|[subcf]\d+(?:e\dm\d\w*)?)\[([\d,]*)\]")
_HEAD = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = ")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_INDEX = re.compile(r"index=(\d+)")
_CALLED = re.compile(r"(?:body|to_apply|calls|branch_computations)=\{?%?([\w.-]+)")


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What one device moves in one run of a program.

    Attributes:
        memory: bytes read and written by every fusion, library call, copy and the like: of an
            operand that is only sliced inside, the slices; what has two names, once.
        collectives: by kind, number and bytes of the results.
    """

    memory: float
    collectives: dict[str, tuple[int, float]]

    def seconds_on_links(self, devices: int, bytes_per_second: float) -> float:
        """The time of the collectives in rings over all devices, one after the other."""
        share = (devices - 1) / devices
        rounds = {"all-reduce": 2 * share, "reduce-scatter": devices - 1.0}
        return sum(
            size * rounds.get(kind, share) / bytes_per_second
            for kind, (_, size) in self.collectives.items()
        )


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    result: float
    kind: str
    operands: tuple[str, ...]
    rest: str


def of_text(text: str) -> Traffic:
    """The traffic of an optimized module, as `jax.stages.Compiled.as_text` gives it."""
    computations, entry = _computations(text)
    found: collections.Counter[str] = collections.Counter()
    sizes: collections.Counter[str] = collections.Counter()
    memory = _walk(computations, entry, 1.0, found, sizes)
    return Traffic(memory, {kind: (found[kind], sizes[kind]) for kind in sorted(found)})


def _walk(
    computations: dict[str, list[_Instruction]],
    name: str,
    times: float,
    found: collections.Counter[str],
    sizes: collections.Counter[str],
) -> float:
    """Bytes through memory of a computation that runs so many times; collectives are counted."""
    home = _Home.of(computations.get(name, []))
    memory = 0.0
    for one in computations.get(name, []):
        kind = one.kind.removesuffix("-start")
        if one.kind.endswith(("-done", "-update")) or kind in SILENT:
            continue
        if kind in ("while", "call", "conditional"):
            trips = _TRIPS.search(one.rest)
            for called in _CALLED.findall(one.rest)[-1:]:
                again = times * int(trips[1]) if trips else times
                memory += _walk(computations, called, again, found, sizes)
            continue
        operands = _read(computations, home, one)
        if kind in COLLECTIVES:
            # The result of a start names its operands, too.
            result = one.result - operands if one.kind.endswith("-start") else one.result
            found[kind] += round(times)
            sizes[kind] += round(times * (result or operands))
        memory += times * (one.result + operands)
    return memory


def _read(computations: dict[str, list[_Instruction]], home: "_Home", one: _Instruction) -> float:
    """Bytes of the operands that an instruction reads, every buffer once."""
    inside = _CALLED.findall(one.rest)[-1:] if one.kind == "fusion" else []
    body = computations.get(inside[0], []) if inside else []
    names = {inner.operands[0]: inner.name for inner in body if inner.kind == "parameter"}
    found: dict[str, float] = {}
    for number, operand in enumerate(one.operands):
        buffer, whole = home.buffers.get(operand, operand), home.sizes.get(operand, 0.0)
        name = names.get(str(number))
        size = whole if name is None else min(whole, _taken(body, name))
        found[buffer] = max(found.get(buffer, 0.0), size)
    return sum(found.values())


class _Home(NamedTuple):
    """The bytes of every value of a computation, and in whose buffer it lies."""

    sizes: dict[str, float]
    buffers: dict[str, str]

    @classmethod
    def of(cls, instructions: list[_Instruction]) -> "_Home":
        tuples = {one.name: one.operands for one in instructions if one.kind == "tuple"}
        buffers: dict[str, str] = {}
        for one in instructions:
            if one.kind in ("bitcast", "opt-barrier"):
                buffers[one.name] = buffers.get(one.operands[0], one.operands[0])
            elif one.kind == "get-tuple-element":
                whole, index = one.operands[0], _INDEX.search(one.rest)
                parts = tuples.get(buffers.get(whole, whole))
                if parts and index:
                    part = parts[int(index[1])]
                    buffers[one.name] = buffers.get(part, part)
        return cls({one.name: one.result for one in instructions}, buffers)


def _taken(body: list[_Instruction], name: str) -> float:
    """Bytes that a fusion takes of a value: slices, where it is only sliced."""
    taken = 0.0
    for user in body:
        if name in user.operands:
            if user.kind in VIEWS:
                taken += _taken(body, user.name)
            else:
                taken += user.result if user.kind in PARTIAL else math.inf
    return taken


def _computations(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    computations: dict[str, list[_Instruction]] = {}
    entry, current = "", ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = head[1]
            computations[current] = []
            entry = current if line.startswith("ENTRY") else entry
        elif current and (match := _LINE.match(line)):
            computations[current] += _instruction(match[1], line[match.end() :])
    return computations, entry


def _instruction(name: str, text: str) -> Iterator[_Instruction]:
    end = _closing(text, 0) + 1 if text.startswith("(") else text.find(" ")
    shape, rest = text[:end], text[end:].lstrip()
    kind, bracket, _ = rest.partition("(")
    if not bracket:
        return
    close = _closing(rest, len(kind))
    inside = rest[len(kind) : close]
    operands = [inside.strip("()")] if kind == "parameter" else re.findall(r"%([\w.-]+)", inside)
    yield _Instruction(name, _bytes(shape), kind, tuple(operands), rest[close:])


def _closing(text: str, start: int) -> int:
    """Where the bracket closes that opens at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if not depth:
            return place
    return len(text)


def _bytes(shape: str) -> float:
    total = 0.0
    for kind, lengths in _SHAPE.findall(shape):
        number = 1
        for length in filter(None, lengths.split(",")):
            number *= int(length)
        digits = re.match(r"\D*(\d+)", kind)
        total += number * _BITS.get(kind, int(digits[1]) if digits else 0) / 8
    return total
