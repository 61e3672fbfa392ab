"""All-reduce along two binary trees at once, half of the vector up and down each (Sanders, Speck and Träff, 2009).

In the first tree a rank's parent is found at its lowest bit: that bit is cleared, and the next one set if there is such a
rank. So odd ranks are leaves. The second tree is the first one with the ranks counted from the other end, or if they are
odd in number, from the next rank on; so ranks that have children in one tree have none in the other, and all of them send
and receive about as much: 2S bytes in about 2·log2 n steps.

Memory, S bytes each: input and result, or in one; partial sums; and a scratch for each of two children.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.traffic.arrays import np
from testbed.traffic.building import Ops, Ready, alone, both, order_of, share, slices, whole
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


def _half(shape: Shape, channel: int, tree: int) -> tuple[int, int]:
    first, end = share(shape, (0, shape.count), channel)
    middle = first + (end - first + 1) // 2
    return (first, middle) if tree == 0 else (middle, end)


@dataclass(frozen=True)
class _Tree:
    """One tree of a channel, over ranks, with the half of the channel's elements that it carries."""

    above: dict[int, int | None]
    below: dict[int, list[int]]
    half: tuple[int, int]


def _trees(shape: Shape, channel: int) -> list[_Tree]:
    """Return both trees of a channel, whose places are the ranks in the channel's order."""
    order = order_of(shape, channel)
    trees = []
    for tree in range(TREES):
        above = {
            order[place]: None if over is None else order[over] for place, over in parents(shape.ranks, tree).items()
        }
        below = {
            order[place]: [order[under] for under in unders] for place, unders in children(shape.ranks, tree).items()
        }
        trees.append(_Tree(above, below, _half(shape, channel, tree)))
    return trees


def schedule(shape: Shape) -> Schedule:
    """Return both trees, slice by slice: sums go up, and what the root has comes down."""
    if shape.ranks == 1:
        return alone(shape)
    size = shape.size_bytes
    channels = [_trees(shape, channel) for channel in range(shape.channels)]
    ranks = []
    for rank in range(shape.ranks):
        result = result_after_input(shape, rank)
        partial, scratch = result + size, result + 2 * size
        ops = Ops(shape)
        for ops.channel, trees in enumerate(channels):
            up = [_sum_up(ops, tree, rank, (result, partial, scratch)) for tree in trees]
            for tree, done in zip(trees, up, strict=True):
                spans, over = slices(shape, tree.half), tree.above[rank]
                ready = done if over is None else ops.receive(over, spans, result)
                for child in tree.below[rank]:
                    ops.send(child, spans, result, result, ready)
        ranks.append(ops.schedule(scratch + _CHILDREN * size))
    return whole(ranks)


def _sum_up(ops: Ops, tree: _Tree, rank: int, bases: tuple[int, int, int]) -> Ready:
    """Add up what the children of a rank send, and pass it on; return when it is there. `bases`: result, partial, scratch."""
    result, partial, scratch = bases
    size, over = ops.shape.size_bytes, tree.above[rank]
    spans = slices(ops.shape, tree.half)
    target, own = result if over is None else partial, 0
    done: Ready = ()
    for number, child in enumerate(tree.below[rank]):
        arrived = ops.receive(child, spans, scratch + number * size)
        last = over is None and child == tree.below[rank][-1]
        done = ops.reduce(spans, target, own, scratch + number * size, both(arrived, done), last)
        own = target
    if over is not None:
        ops.send(over, spans, own, scratch + tree.below[over].index(rank) * size, done)
    return done


def expected(shape: Shape, vectors: Sequence[Vector]) -> list[Elements]:
    """Return the sum, each half added up in the order of its tree."""
    total = np.empty(shape.count, DTYPES[shape.dtype])
    for tree in (tree for channel in range(shape.channels) for tree in _trees(shape, channel)):
        first, end = tree.half

        def added(rank: int, tree: _Tree) -> Elements:
            own = vectors[rank][tree.half[0] : tree.half[1]]
            for child in tree.below[rank]:
                own = shape.combine(own, added(child, tree))
            return own

        root = next(rank for rank, above in tree.above.items() if above is None)
        total[first:end] = shape.complete(added(root, tree))
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
    channels=True,
)
