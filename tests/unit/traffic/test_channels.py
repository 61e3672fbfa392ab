"""Channels: a ring or a pair of trees each, with a part of the vector and an order of the ranks of its own."""

from dataclasses import replace

import pytest

from testbed.traffic import ALGORITHMS, Collective, RankSchedule, Recv, Schedule, Send, Shape
from testbed.traffic.building import order_of
from testbed.traffic.races import races

CHANNELED = [each for known in ALGORITHMS.values() for each in known.values() if each.channels]


def test_rings_and_trees_have_channels() -> None:
    assert {(each.name, each.algorithm) for each in CHANNELED} == {
        ("all_reduce", "ring"),
        ("all_reduce", "double-tree"),
        ("all_gather", "ring"),
        ("reduce_scatter", "ring"),
    }


def test_the_ring_of_a_channel_comes_to_each_host_by_the_rank_of_its_number() -> None:
    shape = Shape(6, 1, channels=3, local_ranks=3)
    assert [order_of(shape, channel) for channel in range(3)] == [
        [0, 1, 2, 3, 4, 5],
        [1, 2, 0, 4, 5, 3],
        [2, 0, 1, 5, 3, 4],
    ]
    assert order_of(Shape(3, 1, channels=2), 1) == [0, 1, 2]


@pytest.mark.parametrize("collective", CHANNELED, ids=lambda each: f"{each.name}-{each.algorithm}")
def test_channels_divide_what_is_sent_between_them(collective: Collective) -> None:
    one, three = (collective.schedule(Shape(6, 6 * 30, channels=channels, local_ranks=2)) for channels in (1, 3))
    for rank in range(6):
        shares = [
            sum(op.bytes for op in three.ranks[rank].ops if isinstance(op, Send) and op.channel == channel)
            for channel in range(3)
        ]
        assert sum(shares) > 0 and len(shares) == 3
        if collective.algorithm == "ring":
            assert {3 * share for share in shares} == {one.bytes_sent(rank)}
    three.validate()


def unordered(schedule: Schedule) -> Schedule:
    """Return a schedule of which no message waits for another, as over many queue pairs."""
    ranks = []
    for ranked in schedule.ranks:
        counts: dict[tuple[type, int, int], int] = {}
        ops = []
        for op in ranked.ops:
            if isinstance(op, Send | Recv):
                lane = (type(op), op.peer, op.channel)
                counts[lane] = counts.get(lane, 0) + 1
                ops.append(replace(op, channel=1000 * counts[lane] + op.channel))
            else:
                ops.append(op)
        ranks.append(RankSchedule(ranked.memory_bytes, tuple(ops)))
    return Schedule(tuple(ranks))


# A permutation has no memory that anything could be written to twice.
ALL = {
    f"{name}-{algorithm}": each
    for name, known in ALGORITHMS.items()
    for algorithm, each in known.items()
    if name != "permutation"
}


@pytest.mark.parametrize("collective", ALL.values(), ids=ALL)
def test_messages_may_overtake_each_other_over_several_queue_pairs(collective: Collective) -> None:
    shape = Shape(4, 4 * 12 if collective.has_size else 1, slice_bytes=16, sites=2)
    assert races(unordered(collective.schedule(shape))) == []
