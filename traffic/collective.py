"""A collective: what is to be done, as a handful of small functions of its shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from testbed.traffic.arrays import np
from testbed.traffic.elements import DTYPES, REDOPS, Elements, combine, divide, item_bytes
from testbed.traffic.schedule import Schedule
from testbed.traffic.vectors import Drawn, Vector


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of one call: `count` elements of `dtype` on each of `ranks` ranks, combined by `redop` or from `root`.

    `slice_bytes` splits every message so that a rank passes on the first slice while it still receives the next; None
    leaves messages whole. Without `payload` the ranks have no memory and send lengths only. `sites` is in how many groups
    of consecutive ranks, equal in size, they stand. A call of no elements sends nothing. Rings and trees divide the vector
    over `channels`, each with an order of the ranks of its own: that of the ranks of a host, `local_ranks` to each, turns by
    one from channel to channel.
    Raises ValueError for no ranks, an unknown dtype or redop, a root that is no rank, or slices of less than one element.
    """

    ranks: int
    count: int
    dtype: str = "float"
    in_place: bool = False
    slice_bytes: int | None = None
    payload: bool = True
    sites: int = 1
    redop: str = "sum"
    root: int = 0
    channels: int = 1
    local_ranks: int = 1

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise ValueError(f"a collective needs at least 1 rank, not {self.ranks}")
        if self.count < 0:
            raise ValueError(f"a collective has at least 0 elements, not {self.count}")
        if self.dtype not in DTYPES:
            raise ValueError(f"unknown dtype {self.dtype!r}; known: {', '.join(DTYPES)}")
        if self.redop not in REDOPS:
            raise ValueError(f"unknown redop {self.redop!r}; known: {', '.join(REDOPS)}")
        if self.channels < 1 or self.local_ranks < 1 or self.ranks % self.local_ranks:
            raise ValueError(f"{self.channels} channels over {self.ranks} ranks, {self.local_ranks} to a host")
        if not 0 <= self.root < self.ranks:
            raise ValueError(f"root {self.root} is not one of {self.ranks} ranks")
        if self.slice_bytes is not None and self.slice_bytes < self.element_bytes:
            raise ValueError(f"slices of {self.slice_bytes} bytes hold no element of {self.element_bytes} bytes")

    @property
    def element_bytes(self) -> int:
        """Return the length of one element."""
        return item_bytes(self.dtype)

    @property
    def size_bytes(self) -> int:
        """Return the size in the result table: of one rank's vector, the longer one of input and result."""
        return self.count * self.element_bytes

    @property
    def part_bytes(self) -> int:
        """Return the length of one rank's part, where the vector is divided into one a rank."""
        return self.size_bytes // self.ranks

    def combine(self, lhs: Elements, rhs: Elements) -> Elements:
        """Return what two vectors come to, element by element."""
        return combine(self.dtype, self.redop, lhs, rhs)

    def complete(self, total: Elements) -> Elements:
        """Return the result, when the vectors of all ranks have been combined into `total`."""
        return divide(self.dtype, total, self.ranks) if self.redop == "avg" else total


@dataclass(frozen=True, slots=True)
class Collective:
    """One collective and the algorithm that carries it out, after the struct of functions in nccl-tests.

    about                       what it does, in a line
    inputs(shape, seed)         the elements in every rank's memory before the call, drawn as they are read; empty: all zeros
    input_offset(shape, rank)   where they lie, in bytes
    schedule(shape)             what the ranks do
    result_offset(shape, rank)  where a rank's result lies, in bytes
    expected(shape, inputs)     the elements every rank must then find there; empty: none to check
    bandwidth(shape, time_ps)   (algbw, busbw) in GB/s, 1e9 bytes a second
    check(shape)                raises ValueError for a shape that the algorithm cannot take

    With `parts` the vector is divided into one equal part a rank: the count is a multiple of the ranks, and the table
    shows that of a part, as nccl-tests do. `root` is -1 where there is none, and 0 where the shape says which rank it is.
    `redop` is "none" where nothing is combined. `has_size` is whether calls have sizes; those that have none send an element.
    `least` ranks are needed. `channels` is whether calls can be divided over several.
    """

    name: str
    algorithm: str
    about: str
    redop: str
    root: int
    in_place: bool
    inputs: Callable[[Shape, int], Sequence[Vector]]
    schedule: Callable[[Shape], Schedule]
    result_offset: Callable[[Shape, int], int]
    expected: Callable[[Shape, Sequence[Vector]], Sequence[Vector]]
    bandwidth: Callable[[Shape, int], tuple[float, float]]
    input_offset: Callable[[Shape, int], int] = lambda shape, rank: 0
    check: Callable[[Shape], None] = lambda shape: None
    parts: bool = False
    has_size: bool = True
    least: int = 1
    channels: bool = False

    def sized(self, kind: Shape, size_bytes: int) -> Shape:
        """Return a call of a kind, its size rounded down to whole elements.

        Where the vector is divided into parts, each has as many elements, and unless the size is 0, at least one. Raises
        ValueError for what the algorithm cannot take.
        """
        if kind.ranks < self.least:
            raise ValueError(f"{self.name} needs at least {self.least} ranks, not {kind.ranks}")
        unit = kind.ranks if self.parts else 1
        count = size_bytes // kind.element_bytes
        shape = replace(kind, count=max(count // unit, min(count, 1)) * unit if self.has_size else 1)
        self.check(shape)
        return shape


def result_after_input(shape: Shape, rank: int) -> int:
    """Return where a result lies that is as long as the input: after it, or upon it."""
    return 0 if shape.in_place else shape.size_bytes


def random_vectors(shape: Shape, seed: int) -> list[Vector]:
    """Return one vector of small whole numbers a rank."""
    return [Drawn(shape.count, shape.dtype, seed, rank, shape.redop) for rank in range(shape.ranks)]


def no_elements(shape: Shape) -> Elements:
    """Return a vector of nothing."""
    return np.empty(0, DTYPES[shape.dtype])


def count_wrong(result: Elements | bytes, expected: Elements) -> int:
    """Return how many elements differ, bit for bit; elements missing from or extra in `result` count as wrong."""
    # As unsigned integers of the same width, so that -0.0 differs from 0.0 and a NaN agrees with itself.
    width = expected.dtype.itemsize
    data = result if isinstance(result, bytes) else result.tobytes()
    wanted = np.ascontiguousarray(expected).view(f"<u{width}")
    common = min(len(data) // width, len(wanted))
    differing = int(np.count_nonzero(np.frombuffer(data, f"<u{width}", common) != wanted[:common]))
    surplus = max(len(data), expected.nbytes) - common * width
    return differing + -(-surplus // width)


def gbytes_per_s(length_bytes: int, time_ps: int) -> float:
    """Return a rate in GB/s; 0.0 for a time that is not positive."""
    return length_bytes * 1000 / time_ps if time_ps > 0 else 0.0
