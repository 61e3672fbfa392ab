"""Gather and scatter, each rank's part by one message to or from the root; S is the length of the whole vector.

Memory, out of place: a gather's rank has its part, and the root the result after it; a scatter's root has the vector, and
every rank its part of it after what it began with. In place the root's part is where it belongs in the whole vector.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.traffic.building import Ops, unsliced_chunks, whole
from testbed.traffic.collective import Collective, Shape, no_elements
from testbed.traffic.elements import Elements
from testbed.traffic.parts import bandwidth, check, gather_inputs, part
from testbed.traffic.schedule import Schedule
from testbed.traffic.vectors import Drawn, Joined, Vector


def gather_input_offset(shape: Shape, rank: int) -> int:
    """Return where a rank's part lies: by itself, or the root's in its place of the result."""
    return rank * shape.part_bytes if shape.in_place and rank == shape.root else 0


def gather_result_offset(shape: Shape, rank: int) -> int:
    """Return where the root's result lies."""
    return 0 if shape.in_place and rank == shape.root else shape.part_bytes


def gather_schedule(shape: Shape) -> Schedule:
    """Let every rank send its part to the root, all at once; S(n−1)/n bytes arrive there."""
    check(shape)
    parts, root = unsliced_chunks(shape), shape.root
    result = gather_result_offset(shape, root)
    ranks = []
    for rank in range(shape.ranks):
        ops = Ops(shape)
        if rank != root:
            ops.send(root, parts[rank], -rank * shape.part_bytes, result)
            ranks.append(ops.schedule(shape.part_bytes))
            continue
        if not shape.in_place:
            ops.copy(parts[rank], result, -rank * shape.part_bytes)
        for sender in range(shape.ranks):
            if sender != root:
                ops.receive(sender, parts[sender], result)
        ranks.append(ops.schedule(result + shape.size_bytes))
    return whole(ranks)


def gather_expected(shape: Shape, vectors: Sequence[Vector]) -> list[Vector]:
    """Return the parts of all ranks, one after the other, for the root."""
    joined = Joined([(vector, 0, len(vector)) for vector in vectors])
    return [joined if rank == shape.root else no_elements(shape) for rank in range(shape.ranks)]


def scatter_inputs(shape: Shape, seed: int) -> list[Vector]:
    """Return a vector for the root and nothing for the others."""
    drawn = Drawn(shape.count, shape.dtype, seed, shape.root)
    return [drawn if rank == shape.root else no_elements(shape) for rank in range(shape.ranks)]


def scatter_result_offset(shape: Shape, rank: int) -> int:
    """Return where a rank's part lies: after the root's vector or in it, at others by itself."""
    if rank != shape.root:
        return 0
    return rank * shape.part_bytes if shape.in_place else shape.size_bytes


def scatter_schedule(shape: Shape) -> Schedule:
    """Let the root send every rank its part, all at once; S(n−1)/n bytes leave it."""
    check(shape)
    parts, root = unsliced_chunks(shape), shape.root
    ranks = []
    for rank in range(shape.ranks):
        ops = Ops(shape)
        here = -rank * shape.part_bytes
        if rank != root:
            ops.receive(root, parts[rank], here)
            ranks.append(ops.schedule(shape.part_bytes))
            continue
        if not shape.in_place:
            ops.copy(parts[rank], shape.size_bytes + here, 0)
        for step in range(1, shape.ranks):
            receiver = (root + step) % shape.ranks
            ops.send(receiver, parts[receiver], 0, -receiver * shape.part_bytes)
        ranks.append(ops.schedule(shape.size_bytes + (0 if shape.in_place else shape.part_bytes)))
    return whole(ranks)


def scatter_expected(shape: Shape, vectors: Sequence[Vector]) -> list[Elements]:
    """Return every rank's part of the root's vector."""
    return [part(shape, vectors[shape.root], rank) for rank in range(shape.ranks)]


GATHER = Collective(
    name="gather",
    algorithm="direct",
    about="the parts of all ranks on the root, each by a message of its own",
    redop="none",
    root=0,
    in_place=True,
    inputs=gather_inputs,
    schedule=gather_schedule,
    result_offset=gather_result_offset,
    expected=gather_expected,
    bandwidth=bandwidth,
    input_offset=gather_input_offset,
    check=check,
    parts=True,
)

SCATTER = Collective(
    name="scatter",
    algorithm="direct",
    about="a part of the root's vector on each rank, by a message of its own",
    redop="none",
    root=0,
    in_place=True,
    inputs=scatter_inputs,
    schedule=scatter_schedule,
    result_offset=scatter_result_offset,
    expected=scatter_expected,
    bandwidth=bandwidth,
    check=check,
    parts=True,
)
