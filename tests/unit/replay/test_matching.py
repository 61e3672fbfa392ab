"""Matching as MPI has it: order, wildcards, receives before and after arrival, and everything that can go wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from testbed.errors import ExperimentError, UsageError
from testbed.replay.form import ANY, Op, Trace, trace_from
from testbed.replay.matching import Matched, match
from tests.unit.replay.traces import traces

MS = 10**9


def trace(*ranks: list[Op], groups: tuple[tuple[int, ...], ...] = ()) -> Trace:
    numbered = (tuple(op._replace(line=10 * rank + at) for at, op in enumerate(ops)) for rank, ops in enumerate(ranks))
    return Trace(("t.goal",), tuple(numbered), groups).check()


def pairs(matched: Matched) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    return {(place, message.receive) for place, message in matched.messages.items() if message.receive}


@pytest.mark.parametrize("posted_ps", [0, MS], ids=["before", "after"])
def test_a_receive_takes_the_first_that_it_allows_before_and_after_arrival(posted_ps: int) -> None:
    """Of three messages with the tags 1, 2, 1 the receive of tag 2 takes the second, and that of any tag then the first."""
    sends = [Op("send", 8, 1, 1), Op("send", 8, 1, 2, after=(0,)), Op("send", 8, 1, 1, after=(1,))]
    receives = [
        Op("calc", posted_ps),
        Op("recv", 8, 0, 2, after=(0,)),
        Op("recv", 8, 0, ANY, begun=(1,)),
        Op("recv", 8, ANY, 1, begun=(2,)),
    ]
    matched = pairs(match(trace(sends, receives)))
    assert matched == {((0, 1), (1, 1)), ((0, 0), (1, 2)), ((0, 2), (1, 3))}


def test_any_source_takes_whichever_comes_first() -> None:
    late, early = [Op("calc", MS), Op("send", 8, 2, after=(0,))], [Op("send", 8, 2)]
    first, second = Op("recv", 8, ANY, ANY), Op("recv", 8, ANY, ANY, after=(0,))
    assert pairs(match(trace(late, early, [first, second]))) == {((1, 0), (2, 0)), ((0, 1), (2, 1))}


def test_messages_of_two_ranks_do_not_overtake_each_other() -> None:
    long, short = Op("send", 10**6, 1), Op("send", 10**6, 1, begun=(0,))
    matched = pairs(match(trace([long, short], [Op("recv", 10**6, 0), Op("recv", 10**6, 0, begun=(0,))])))
    assert matched == {((0, 0), (1, 0)), ((0, 1), (1, 1))}


def test_calcs_of_one_lane_run_one_after_another_in_the_order_in_which_they_could() -> None:
    slow, waits, ready = Op("calc", 5, lane=0), Op("calc", 7, lane=1), Op("calc", 3, lane=0, after=(1,))
    matched = match(trace([slow, waits, ready, Op("calc", 1, lane=0)]))
    assert matched.lanes == {(0, 3): 0, (0, 2): 3}


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (([Op("send", 8, 1, 3)], []), "t.goal: rank 0, op 0: sends 8 bytes with tag 3 to rank 1"),
        (([], [Op("calc", 0), Op("recv", 8, 0)]), "t.goal:11: rank 1: receives 8 bytes with tag 0 from rank 0"),
        (([], [Op("calc", 0), Op("recv", 8, ANY, ANY)]), "with any tag from any rank"),
        (([Op("calc", 0), Op("send", 8, 1)], [Op("calc", 0), Op("recv", 9, 0)]), "rank 0 sends 8 .t.goal:1."),
        (([Op("calc", 0), Op("calc", 0, after=(1,))],), "t.goal:1: rank 0: waits for itself"),
        (([Op("calc", 1), Op("calc", 0, after=(9,))],), "waits for an op that does not exist; the rank has 2"),
        (([Op("send", 8, 4)],), "rank 4 is not one of 1"),
        (([Op("all_red", 8)],), 'no collective is called "all_red"'),
        (([Op("all_reduce", 8)],), "in group 0, which the rank is not in"),
    ],
)
def test_what_cannot_run_is_refused_with_its_place(ranks: tuple[list[Op], ...], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        match(trace(*ranks))


def test_collectives_match_by_group_and_order_and_must_agree() -> None:
    call = Op("all_reduce", 64)
    whole = ((0, 1),)
    assert len(match(trace([call, call], [call, call], groups=whole)).calls) == 2
    with pytest.raises(ExperimentError, match="never begins on ranks 1"):
        match(trace([call], [], groups=whole))
    with pytest.raises(
        ExperimentError, match=r"all_gather of 64 bytes is call 0 of its group, which is all_reduce of 64"
    ):
        match(trace([call], [Op("all_gather", 64)], groups=whole))


@given(traces())
@settings(deadline=None, max_examples=60)
def test_every_send_has_a_receive_and_traces_survive_the_bus(drawn: Trace) -> None:
    assert trace_from(drawn.data()) == drawn
    matched = match(drawn)
    sends = sum(op.kind == "send" for ops in drawn.ranks for op in ops)
    assert len(pairs(matched)) == sends == len(matched.received)


@pytest.mark.parametrize("data", [None, {}, "x", {"files": [], "groups": [], "algorithms": {}, "ranks": []}])
def test_malformed_data_is_refused_with_a_message(data: object) -> None:
    with pytest.raises(ValueError, match=r"trace|lists|name"):
        trace_from(data)


def test_scaled_and_by_another_algorithm() -> None:
    computed = trace([Op("calc", 1001), Op("all_reduce", 64)], groups=((0,),))
    assert computed.scaled(0.5).ranks[0][0].amount == 500
    assert computed.by(["double-tree"]).algorithm("all_reduce").algorithm == "double-tree"
    assert computed.by(["all_reduce=ring"]).algorithm("all_reduce").algorithm == "ring"
    with pytest.raises(UsageError, match="collectives: all_reduce; their algorithms: double-tree"):
        computed.by(["double_trees"])
    with pytest.raises(UsageError, match="collectives: all_reduce"):
        computed.by(["all_gather=ring"])
