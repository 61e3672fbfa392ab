"""Programs of jobs: what waits for what, on a network that takes no time."""

import pytest

from testbed.traffic import Calc, RankSchedule, Recv, Schedule, Send, Shape
from testbed.traffic.program import CHANNELS, Label, Part, Program, Step, lengths_alone, unrolled
from testbed.traffic.races import races
from testbed.traffic.ring_all_reduce import RING_ALL_REDUCE
from testbed.traffic.schedule import build_graph


def ring(ranks: int, size_bytes: int = 1 << 20) -> Schedule:
    return lengths_alone(RING_ALL_REDUCE.schedule(Shape(ranks, size_bytes // 4, payload=False)))


def ends(programs: list[Program], ranks: int) -> dict[tuple[int, Label], int]:
    """Return when each calc ends, by rank and label, where messages arrive at once."""
    schedule, labels = unrolled(programs, ranks)
    schedule.validate()
    graph = build_graph(schedule)
    places = [(rank, index) for rank, r in enumerate(schedule.ranks) for index in range(len(r.ops))]
    times = [0] * graph.size
    for node in graph.walk():
        rank, index = places[node % graph.total_ops]
        op = schedule.ranks[rank].ops[index]
        lasts = op.duration_ps if isinstance(op, Calc) and node < graph.total_ops else 0
        times[node] = max((times[before] for before in graph.before[node]), default=0) + lasts
    ends_ps = {}
    for rank, ranked in enumerate(schedule.ranks):
        calcs = [index for index, op in enumerate(ranked.ops) if isinstance(op, Calc)]
        assert len(calcs) == len(labels[rank])
        ends_ps |= {
            (rank, label): times[graph.finish(rank, index)] for index, label in zip(calcs, labels[rank], strict=True)
        }
    return ends_ps


def test_steps_come_one_after_the_other_and_iterations_too() -> None:
    steps = (Step(5), Step(parts=(Part((0, 1), ring(2)),)), Step(7))
    seen = ends([Program((0, 1), steps, repeat=3, start_ps=100)], 2)
    assert [seen[0, Label(0, "iteration", number)] for number in range(3)] == [112, 124, 136]
    assert seen[1, Label(0, "begin", 1, 1)] == 117 == seen[1, Label(0, "end", 1, 1)]


def test_a_step_beside_does_not_hold_up_what_follows_until_somebody_waits() -> None:
    """Rank 1 computes for 50 before it takes part; rank 0 goes on computing, and then waits."""
    late = Part((0, 1), ring(2))
    first = Part((1, 2), ring(2))
    steps = (Step(5), Step(parts=(first,)), Step(parts=(late,), beside=True), Step(20), Step(after=(2,)), Step(3))
    seen = ends([Program((0, 1, 2), steps), Program((2,), (Step(50),))], 3)
    assert seen[0, Label(0, "compute", 0, 3, 20)] == 25
    assert seen[0, Label(0, "iteration", 0)] == 28
    other = (Step(5), Step(parts=(late,), beside=True), Step(20, after=(0,)), Step(after=(1,)))
    assert ends([Program((0, 1), other)], 2)[0, Label(0, "iteration", 0)] == 25


def test_after_takes_the_place_of_the_step_before() -> None:
    """Two computations after the first run at the same time; a third comes after both."""
    steps = (Step(5), Step(10), Step(20, after=(0,)), Step(1, after=(1, 2)))
    seen = ends([Program((0,), steps)], 1)
    assert seen[0, Label(0, "compute", 0, 2, 20)] == 25
    assert seen[0, Label(0, "iteration", 0)] == 26


def test_an_iteration_waits_for_all_its_steps() -> None:
    steps = (Step(30), Step(5, after=()))
    seen = ends([Program((0,), steps, repeat=2)], 1)
    assert [seen[0, Label(0, "iteration", number)] for number in range(2)] == [30, 60]


def test_jobs_and_steps_beside_have_channels_of_their_own() -> None:
    steps = (Step(parts=(Part((0, 1), ring(2)),)), Step(parts=(Part((1, 0), ring(2)),), beside=True))
    schedule, _ = unrolled([Program((2, 0), steps, repeat=2), Program((0, 1), steps[:1])], 3)
    schedule.validate()
    used = {
        (rank, op.peer, op.channel) for rank, r in enumerate(schedule.ranks) for op in r.ops if isinstance(op, Send)
    }
    assert used == {(0, 2, 0), (2, 0, 0), (0, 2, 2), (2, 0, 2), (0, 1, CHANNELS), (1, 0, CHANNELS)}


def test_ranks_without_a_share_pass_by() -> None:
    steps = (Step(4), Step(parts=(Part((0, 2), ring(2)),)), Step(4))
    seen = ends([Program((0, 1, 2), steps)], 3)
    assert (1, Label(0, "begin", 0, 1)) not in seen and seen[1, Label(0, "iteration", 0)] == 8


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_lengths_alone_send_what_the_schedule_sends_in_its_order(ranks: int) -> None:
    whole = RING_ALL_REDUCE.schedule(Shape(ranks, 64 * ranks, slice_bytes=64))
    alone = lengths_alone(whole)
    alone.validate()
    assert races(alone) == [] or ranks == 2
    for before, after in zip(whole.ranks, alone.ranks, strict=True):
        kept = [op for op in before.ops if isinstance(op, Send | Recv)]
        assert [(type(op), op.peer, op.bytes) for op in kept] == [(type(op), op.peer, op.bytes) for op in after.ops]  # type: ignore[union-attr]
    # What a send waited for by way of a sum it still waits for.
    assert all(op.requires for op in alone.ranks[0].ops[2 * (64 * 4 // 64) :] if isinstance(op, Send))


def test_a_step_cannot_come_after_a_later_one() -> None:
    with pytest.raises(ValueError, match="after one that is not earlier"):
        unrolled([Program((0,), (Step(1, after=(1,)), Step(1)))], 1)


def test_nothing_at_all_is_a_schedule() -> None:
    schedule, labels = unrolled([Program((), (Step(1),))], 2)
    assert schedule == Schedule((RankSchedule(0, ()),) * 2) and labels == [[], []]
