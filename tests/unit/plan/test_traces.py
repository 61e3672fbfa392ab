"""Traces as programs: channels of what is under way at once, and collectives that are too much for memory."""

from __future__ import annotations

import pytest

from testbed.errors import ExperimentError
from testbed.plan.traces import MOST_RANKS, OF_COLLECTIVES, ops_of_trace, program_of
from testbed.replay.form import Op, Trace
from testbed.traffic import Recv, Send


def trace(*ranks: list[Op], groups: tuple[tuple[int, ...], ...] = ()) -> Trace:
    return Trace(("t.goal",), tuple(map(tuple, ranks)), groups).check()


def channels(traced: Trace) -> list[int]:
    """Return the channels of the messages of rank 0, in the order in which they stand there."""
    program, _ = program_of(traced, range(len(traced.ranks)), 1, 0)
    return [entry.op.channel for entry in program.graphs[0] if isinstance(entry.op, Send | Recv)]


def test_messages_that_can_be_under_way_at_once_have_a_queue_pair_each() -> None:
    receive = [Op("recv", 1000, 0, tag) for tag in range(3)]
    together = [Op("send", 1000, 1, tag) for tag in range(3)]
    assert channels(trace(together, receive)) == [OF_COLLECTIVES, OF_COLLECTIVES + 1, OF_COLLECTIVES + 2]
    behind = [Op("send", 1000, 1, tag, after=(tag - 1,) if tag else ()) for tag in range(3)]
    assert channels(trace(behind, receive)) == [OF_COLLECTIVES] * 3
    one = [Op("send", 1000, 1, tag, lane=7) for tag in range(3)]
    assert channels(trace(one, receive)) == [OF_COLLECTIVES] * 3


def test_collectives_of_one_rank_side_by_side_have_channels_of_their_own() -> None:
    calls = [Op("all_reduce", 64), Op("all_reduce", 64, 1), Op("all_reduce", 64, after=(0, 1))]
    assert set(channels(trace(calls, calls, groups=((0, 1), (1, 0))))) == {0, 1}


@pytest.mark.parametrize("kind", ["all_reduce", "all_to_all"])
def test_a_collective_of_more_messages_than_memory_holds_is_refused_before_it_is_made(kind: str) -> None:
    ranks = MOST_RANKS + 1
    large = trace(*([Op(kind, 2**20, line=3)] for _ in range(ranks)), groups=(tuple(range(ranks)),))
    ops_of_trace(large)
    with pytest.raises(ExperimentError, match=f"t.goal:3: rank 0: {ranks} ranks send each other more"):
        program_of(large, range(ranks), 1, 0)
    tree, _ = program_of(large.by(["double-tree"]) if kind == "all_reduce" else trace([]), range(ranks), 1, 0)
    assert tree.graphs


def test_a_receive_that_waits_for_a_later_message_does_not_stand_before_it_on_a_queue_pair() -> None:
    """Of three messages of nothing, sent at one time, the receive of the second waits for that of the third."""
    sends = [Op("send", 0, 1, 5), Op("send", 0, 1, 8), Op("send", 0, 1, 7, begun=(0,))]
    receives = [Op("recv", 0, 0, 5), Op("recv", 0, 0, 8, after=(0, 2)), Op("recv", 0, 0, 7)]
    assert len(set(channels(trace(sends, receives)))) == 3


def test_more_messages_at_once_than_a_job_has_queue_pairs_are_refused() -> None:
    count = OF_COLLECTIVES + 1
    sends, receives = ([Op(kind, 0, peer, tag) for tag in range(count)] for kind, peer in (("send", 1), ("recv", 0)))
    with pytest.raises(
        ExperimentError, match=f"more than {OF_COLLECTIVES} messages to rank 1 can be under way at once"
    ):
        channels(trace(sends, receives))
