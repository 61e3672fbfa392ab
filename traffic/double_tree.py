"""All-reduce along two binary trees at once, half of the vector up and down each (Sanders, Speck and Träff, 2009).

In the first tree a rank's parent is found at its lowest bit: that bit is cleared, and the next one set if there is such a
rank. So odd ranks are leaves. The second tree is the first one with the ranks counted from the other end, or if they are
odd in number, from the next rank on; so ranks that have children in one tree have none in the other, and all of them send
and receive about as much: 2S bytes in about 2·log2 n steps.

Memory, S bytes each: input and result, or in one; partial sums; and a scratch for each of two children.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from testbed.traffic.building import Ops, Ready, alone, both, slices, whole
from testbed.traffic.collective import Collective, Shape, random_vectors, result_after_input
from testbed.traffic.elements import DTYPES, Elements
from testbed.traffic.ring_all_reduce import bandwidth
from testbed.traffic.schedule import Schedule
from testbed.traffic.vectors import Vector

TREES = 2
_CHILDREN = 2


def _lowest_bit(place: int) -> int:
    return place & -place


def _parent_place(place: int, ranks: int) -> int:
    bit = _lowest_bit(place)
    above = (place ^ bit) | bit << 1
    return above if above < ranks else place ^ bit


def _place(rank: int, ranks: int, tree: int) -> int:
    """Return where a rank stands in a tree."""
    if tree == 0:
        return rank
    return (rank - 1) % ranks if ranks % 2 else ranks - 1 - rank


def parents(ranks: int, tree: int) -> dict[int, int | None]:
    """Return every rank's parent in one of the two trees; the root has none."""
    at = {_place(rank, ranks, tree): rank for rank in range(ranks)}
    return {rank: at[_parent_place(place, ranks)] if place else None for place, rank in sorted(at.items())}


def children(ranks: int, tree: int) -> dict[int, list[int]]:
    """Return every rank's children in one of the two trees, two at most."""
    below: dict[int, list[int]] = {rank: [] for rank in range(ranks)}
    for rank, above in parents(ranks, tree).items():
        if above is not None:
            below[above].append(rank)
    return below


def _half(shape: Shape, tree: int) -> tuple[int, int]:
    middle = (shape.count + 1) // 2
    return (0, middle) if tree == 0 else (middle, shape.count)


def schedule(shape: Shape) -> Schedule:
    """Return both trees, slice by slice: sums go up, and what the root has comes down."""
    if shape.ranks == 1:
        return alone(shape)
    size = shape.size_bytes
    trees = [(parents(shape.ranks, tree), children(shape.ranks, tree)) for tree in range(TREES)]
    ranks = []
    for rank in range(shape.ranks):
        result = result_after_input(shape, rank)
        partial, scratch = result + size, result + 2 * size
        ops = Ops(shape)
        up = []
        for tree, (above, below) in enumerate(trees):
            spans = slices(shape, _half(shape, tree))
            target = result if above[rank] is None else partial
            own = 0
            done: Ready = ()
            for number, child in enumerate(below[rank]):
                arrived = ops.receive(child, spans, scratch + number * size)
                last = above[rank] is None and child == below[rank][-1]
                done = ops.reduce(spans, target, own, scratch + number * size, both(arrived, done), last)
                own = target
            over = above[rank]
            if over is not None:
                ops.send(over, spans, own, scratch + below[over].index(rank) * size, done)
            up.append(done)
        for tree, (above, below) in enumerate(trees):
            spans, over = slices(shape, _half(shape, tree)), above[rank]
            ready = up[tree] if over is None else ops.receive(over, spans, result)
            for child in below[rank]:
                ops.send(child, spans, result, result, ready)
        ranks.append(ops.schedule(scratch + _CHILDREN * size))
    return whole(ranks)


def expected(shape: Shape, vectors: Sequence[Vector]) -> list[Elements]:
    """Return the sum, each half added up in the order of its tree."""
    total = np.empty(shape.count, DTYPES[shape.dtype])
    for tree in range(TREES):
        first, end = _half(shape, tree)
        below = children(shape.ranks, tree)

        def added(rank: int) -> Elements:
            found = vectors[rank][first:end]  # noqa: B023  used within this turn of the loop
            for child in below[rank]:  # noqa: B023
                found = shape.combine(found, added(child))
            return found

        root = next(rank for rank, above in parents(shape.ranks, tree).items() if above is None)
        total[first:end] = shape.complete(added(root))
    return [total] * shape.ranks


DOUBLE_TREE_ALL_REDUCE = Collective(
    name="all_reduce",
    algorithm="double-tree",
    about="sum of all vectors on every rank, up and down two trees at once: few steps and the full rate",
    redop="sum",
    root=-1,
    in_place=True,
    inputs=random_vectors,
    schedule=schedule,
    result_offset=result_after_input,
    expected=expected,
    bandwidth=bandwidth,
)
