"""The traffic language: what a valid schedule is, and what it means."""

import random

import numpy as np
import pytest

from testbed.traffic.races import races
from testbed.traffic.schedule import Calc, Op, RankSchedule, Recv, Reduce, Schedule, Send, simulate


def of_ops(*ranks: tuple[Op, ...], memory_bytes: int = 16) -> Schedule:
    return Schedule(tuple(RankSchedule(memory_bytes, ops) for ops in ranks))


def test_a_message_is_copied_and_added_to() -> None:
    schedule = of_ops(
        (Send(1, 0, 8, 8),),
        (Recv(0, 8, 8), Reduce("int32", "sum", 0, 0, 8, 2, requires=(0,)), Calc(5, requires=(1,))),
    )
    memories = simulate(schedule, [np.array([1, -2], "<i4").tobytes(), np.array([10, 20], "<i4").tobytes()])
    assert memories[1].view("<i4").tolist() == [11, 18, 1, -2]
    assert memories[0].view("<i4").tolist() == [1, -2, 0, 0]


def test_int32_sums_wrap_around() -> None:
    schedule = of_ops((Reduce("int32", "sum", 8, 0, 4, 1),))
    (memory,) = simulate(schedule, [np.array([2**31 - 1, 1], "<i4").tobytes()])
    assert memory.view("<i4")[2] == -(2**31)


def test_sends_to_one_peer_leave_in_the_order_of_the_list() -> None:
    """The second send is ready at once, the first waits for a calc: the receives still match by position."""
    schedule = of_ops(
        (Calc(1), Send(1, 0, 4, 0, requires=(0,)), Send(1, 4, 8, 4)),
        (Recv(0, 0, 4), Recv(0, 4, 8)),
    )
    source = bytes(range(16))
    for seed in range(20):
        memories = simulate(schedule, [source, b""], random.Random(seed))
        assert memories[1][:12].tobytes() == source[:12]


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (((Send(1, 0, 4, 0),), ()), "sends 1 messages to rank 1, which receives 0"),
        (((Send(1, 0, 4, 0),), (Recv(0, 0, 8),)), "sends 4 bytes .* expects 8"),
        (((Send(1, 0, 4, 0),), (Recv(0, 4, 4),)), "offset 0 .* expects 4 at 4"),
        (((Send(1, 0, 4, 0, tag=1),), (Recv(0, 0, 4),)), "tag 1"),
        (((Send(0, 0, 4, 0),), ()), "rank 0 op 0: peer 0 is not another rank"),
        (((Send(2, 0, 4, 0),), ()), "peer 2 is not another rank"),
        (((Send(1, 0, 0, 0),), (Recv(0, 0, 0),)), "at least one byte"),
        (((Send(1, 13, 4, 0),), (Recv(0, 0, 4),)), "rank 0 op 0: bytes 13 to 17 lie outside"),
        (((Send(1, 0, 4, 13),), (Recv(0, 13, 4),)), "rank 1 op 0: bytes 13 to 17 lie outside"),
        (((Send(1, -1, 4, 0),), (Recv(0, 0, 4),)), "lie outside"),
        (((Calc(1, requires=(1,)),), ()), "requires op 1"),
        (((Calc(-1),), ()), "negative"),
        (((Reduce("float", "sum", 0, 0, 12, 2),), ()), "lie outside"),
        (((Reduce("float", "sum", 0, 4, 8, 2),), ()), "overlaps"),
        (((Reduce("complex", "sum", 0, 0, 8, 1),), ()), "unknown dtype"),
        (((Reduce("float", "mean", 0, 0, 8, 1),), ()), "unknown redop"),
        (((Reduce("float", "sum", 0, 0, 8, 0),), ()), "at least one element"),
        (((Reduce("float", "avg", 0, 0, 8, 1),), ()), "unknown redop"),
        (((Reduce("float", "sum", 0, 0, 8, 1, (), 0),), ()), "a divisor is at least 1"),
        (((Calc(1, requires=(1,)), Calc(1, requires=(0,))), ()), "cycle"),
        (
            ((Recv(1, 0, 4), Send(1, 0, 4, 0, requires=(0,))), (Recv(0, 0, 4), Send(0, 0, 4, 0, requires=(0,)))),
            "cycle",
        ),
    ],
)
def test_faults_are_named(ranks: tuple[tuple[Op, ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of_ops(*ranks).validate()


def test_a_rank_without_memory_exchanges_lengths_only() -> None:
    schedule = of_ops((Send(1, 0, 1 << 40, 0),), (Recv(0, 0, 1 << 40),), memory_bytes=0)
    assert [len(memory) for memory in simulate(schedule, [b"", b""])] == [0, 0]
    sums = of_ops((Reduce("float", "sum", 0, 0, 1 << 40, 1),), memory_bytes=0)
    assert [len(memory) for memory in simulate(sums, [b""])] == [0]
    mixed = Schedule((RankSchedule(0, (Send(1, 0, 4, 0),)), RankSchedule(4, (Recv(0, 0, 4),))))
    with pytest.raises(ValueError, match="one of ranks 0 and 1 has memory"):
        mixed.validate()


def test_a_memory_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="17 bytes do not fit"):
        simulate(of_ops((Calc(1),)), [bytes(17)])


def test_races_finds_a_buffer_that_is_overwritten_while_it_is_sent() -> None:
    reduce = Reduce("float", "sum", 0, 0, 8, 1)
    send = Send(1, 0, 4, 0)
    receiver = (Recv(0, 0, 4),)
    assert races(of_ops((send, reduce), receiver)) == ["rank 0: op 0 of rank 0 and op 1 of rank 0"]
    after = Reduce("float", "sum", 0, 0, 8, 1, requires=(0,))
    assert races(of_ops((send, after), receiver), until_acknowledged=True) == []


def test_races_tells_landing_from_acknowledgement() -> None:
    """Rank 1 answers into the buffer it was sent from: it knows that the send landed, not that rank 0 knows."""
    schedule = of_ops((Send(1, 0, 4, 0), Recv(1, 0, 4)), (Recv(0, 0, 4), Send(0, 0, 4, 0, requires=(0,))))
    assert races(schedule) == []
    assert len(races(schedule, until_acknowledged=True)) == 1
