"""Logs of NCCL: communicators, counts and types, streams and group calls, and what a log must say."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import ExperimentError
from testbed.replay.form import Op
from testbed.replay.lines import Reading
from testbed.replay.matching import match
from testbed.replay.reading import read_traces
from tests.unit.replay.traces import written


def init(rank: int, ranks: int, comm: str = "0x55aa", ident: str = "0x9f01") -> str:
    return (
        f"n{rank}:811:815 [0] NCCL INFO ncclCommInitRank comm {comm} rank {rank} nranks {ranks} cudaDev 0 nvmlDev 0"
        f" busId 1b000 commId {ident} - Init COMPLETE\n"
    )


def call(
    name: str, count: int, rank: int = 0, more: str = "", number: str = "0", root: int = 0, stream: str = "0x1"
) -> str:
    return (
        f"n{rank}:811:815 [0] NCCL INFO {name}: opCount {number} sendbuff 0x7f00 recvbuff 0x7f10 count {count}"
        f" datatype 7 op 0 root {root} comm 0x55aa {more}stream {stream}\n"
    )


def read(directory: Path, *logs: str) -> Reading:
    (reading,) = read_traces([written(directory, log, f"{number}.log") for number, log in enumerate(logs)])
    return reading


def test_one_log_is_enough_for_collectives_of_all_ranks(tmp_path: Path) -> None:
    log = "hello\n[2026-01-01 10:00:00] " + init(0, 4) + call("AllReduce", 262144, more="[nranks=4] ")
    log += call("AllGather", 100, number="1") + call("ReduceScatter", 100, number="2", stream="0x2")
    reading = read(tmp_path, log + call("Broadcast", 8, number="3", root=2))
    assert len(reading.trace.ranks) == 4 and reading.trace.groups == ((0, 1, 2, 3),)
    assert set(reading.trace.ranks) == {
        (
            Op("all_reduce", 2**20, line=3),
            Op("all_gather", 1600, after=(0,), line=4),
            Op("reduce_scatter", 1600, line=5),
            Op("broadcast", 32, tag=2, after=(1,), line=6),
        )
    }
    assert reading.notes[1] == "3 ranks without a log do the same as the first that has one"
    assert len(match(reading.trace).calls) == 4


def test_messages_of_a_group_call_are_under_way_together(tmp_path: Path) -> None:
    """Two ranks swap 4 bytes twice: a receive and a send with one number each, the second behind the first."""
    logs = []
    for rank in (0, 1):
        log = init(rank, 2)
        for number in ("a", "b"):
            log += call("Send", 1, rank, number=number, root=1 - rank) + call(
                "Recv", 1, rank, number=number, root=1 - rank
            )
        logs.append(log)
    reading = read(tmp_path, *logs)
    assert [(op.kind, op.peer, op.after) for op in reading.trace.ranks[0]] == [
        ("send", 1, ()),
        ("recv", 1, ()),
        ("send", 1, (0, 1)),
        ("recv", 1, (0, 1)),
    ]
    assert len(match(reading.trace).received) == 4


def test_smaller_communicators_have_the_places_of_the_largest(tmp_path: Path) -> None:
    logs = [init(rank, 4) for rank in range(4)]
    for rank in (1, 3):
        logs[rank] += init(rank, 2, "0x77", "0x2").replace(f"rank {rank} nranks", f"rank {rank // 2} nranks")
        logs[rank] += call("AllReduce", 1, rank).replace("comm 0x55aa", "comm 0x77")
    reading = read(tmp_path, *logs)
    assert reading.trace.groups == ((1, 3),) and [len(ops) for ops in reading.trace.ranks] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("log", "line", "text"),
    [
        (call("AllReduce", 1), 1, "communicator 0x55aa is not initialised"),
        (init(0, 2) + call("AllReduce", 1, more="[nranks=3] "), 2, "nranks=3, but the communicator has 2"),
        (init(0, 2) + call("AllReduce", 1).replace("datatype 7", "datatype 12"), 2, "datatype 12 is not known"),
        (init(0, 2) + call("Broadcast", 1, root=2), 2, "root 2 is not one of 2"),
        (init(0, 2) + call("Send", 1, root=1), 2, "need the logs of all"),
        (init(0, 2) + init(0, 3), 2, "an earlier line says otherwise"),
        (init(2, 2), 1, "rank 2 of 2"),
        (init(0, 2), 0, "no call"),
    ],
)
def test_what_a_log_lacks_is_refused_with_its_line(tmp_path: Path, log: str, line: int, text: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        read(tmp_path, log)
    (fault,) = caught.value.faults
    assert fault.line == line and text in str(fault)
