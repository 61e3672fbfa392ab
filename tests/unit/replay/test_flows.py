"""Flows of htsim's connection matrices and of flow.txt: triggers, connections, units, and faults at their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import ExperimentError
from testbed.replay.form import Op
from testbed.replay.hpcc import read_flows
from testbed.replay.htsim import read_matrix
from testbed.replay.made import Flow, flows_of
from testbed.replay.reading import format_of
from tests.unit.replay.traces import written

CHAIN = """\
Nodes 4
Connections 2
Triggers 1
0->1 id 1 start 0 size 1000000 recv_done_trigger 1
1->2 id 2 trigger 1 size 1000000
trigger id 1 oneshot
"""

TWICE = "0->1 id 1 start 0 size 1 send_done_trigger 1 recv_done_trigger 1\n"


def matrix(connections: str, triggers: str = "", nodes: int = 8) -> str:
    counts = connections.count("\n"), triggers.count("\n")
    return f"Nodes {nodes}\nConnections {counts[0]}\nTriggers {counts[1]}\n{connections}{triggers}"


def test_a_trigger_starts_a_flow_behind_what_was_received(tmp_path: Path) -> None:
    reading = read_matrix(written(tmp_path, CHAIN, "t.cm"))
    zero, one, two, three = reading.trace.ranks
    assert zero == (Op("send", 10**6, 1, 0, 0, line=4),)
    assert one == (Op("recv", 10**6, 0, 0, line=4), Op("send", 10**6, 2, 1, 1, (0,), line=5))
    assert two == (Op("recv", 10**6, 1, 1, line=5),) and three == ()
    assert (
        reading.took == ("4 nodes", "2 flows", "1 trigger") and reading.notes == () and flows_of(reading.trace) is None
    )


def test_triggers_of_several_causes_and_of_other_hosts(tmp_path: Path) -> None:
    """A barrier waits for both sends; a message of 0 bytes reports the one that ends elsewhere. Multishot triggers take turns."""
    barrier = matrix(
        "0->1 id 1 start 0 size 8 send_done_trigger 5\n2->1 id 2 start 0 size 8 send_done_trigger 5\n"
        "0->3 id 3 trigger 5 size 9\n",
        "trigger id 5 barrier count 2\n",
    )
    reading = read_matrix(written(tmp_path, barrier, "t.cm"))
    own = reading.trace.ranks[0]
    assert own[1].amount == 9 and own[1].after == (0, 2)
    assert (own[2].kind, own[2].amount, own[2].peer) == ("recv", 0, 2)
    assert reading.trace.ranks[2][1][:3] == ("send", 0, 0) and reading.trace.ranks[2][1].after == (0,)
    assert reading.notes == ("1 trigger at other hosts by a message of 0 bytes",)
    turns = matrix(
        "0->1 id 1 start 0 size 1 send_done_trigger 2\n0->1 id 2 start 0 size 2 send_done_trigger 2\n"
        "0->2 id 3 trigger 2 size 3\n0->3 id 4 trigger 2 size 4\n",
        "trigger id 2 multishot\n",
    )
    own = read_matrix(written(tmp_path, turns, "t.cm")).trace.ranks[0]
    assert [op.after for op in own] == [(), (), (0,), (1,)]


def test_messages_of_one_connection_share_a_queue_pair(tmp_path: Path) -> None:
    text = matrix(
        "0->1 id 7 msg start 0 size 40860\n0->1 id 7 msg 2 start 0 size 5\n0->1 start 0.000000 size 6 addon\n"
    )
    trace = read_matrix(written(tmp_path, text, "t.cm")).trace
    assert [op.lane for op in trace.ranks[0]] == [0, 0, 1]
    assert flows_of(trace) is None, "flows have a queue pair each"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (CHAIN.replace("Connections 2", "Connections 3"), 2, "Connections 3, and there are 2"),
        (CHAIN.replace("1->2", "1->4"), 5, "node 4 is not one of 4"),
        (CHAIN.replace("oneshot", "onceshot"), 6, '"onceshot" is not of a trigger'),
        (CHAIN.replace("trigger id 1", "trigger id 2"), 4, "trigger 1 is not defined"),
        (CHAIN.replace("id 2 trigger 1", "trigger 1"), 5, "has an id"),
        (CHAIN.replace(" recv_done_trigger 1", ""), 6, "no flow sets off trigger 1"),
        (CHAIN.replace("size 1000000 recv", "size 0 recv"), 4, "flows without an end"),
        (CHAIN.replace("start 0", "start 16"), 4, "give --start-unit"),
        (CHAIN.replace("start 0", "start x"), 4, "start has no number"),
        (CHAIN.replace("start 0 ", ""), 4, "a start or a trigger"),
        (CHAIN.replace("size 1000000\n", "sized 1\n"), 5, '"sized" is not a key'),
        (matrix(TWICE, "trigger id 1 oneshot\n"), 4, "set off 2 times, not 1"),
        ("Nodes 4\n0-1 start 0 size 4\n->1 start 0 size 1\n", 3, "is not two nodes"),
    ],
)  # fmt: skip
def test_faults_of_a_matrix_stand_at_their_lines(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        read_matrix(written(tmp_path, text, "t.cm"))
    (fault,) = caught.value.faults
    assert fault.line == line and message in str(fault)


def test_starts_have_the_given_unit_and_ambiguous_ones_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, matrix("0->1 start 16 size 5\n"), "t.cm")
    assert flows_of(read_matrix(path, "us").trace) == [Flow(0, 1, 5, 16 * 10**6)]
    path = written(tmp_path, matrix("0->1 start 2000000 size 5\n"), "t.cm")
    reading = read_matrix(path)
    assert flows_of(reading.trace) == [Flow(0, 1, 5, 2_000_000)] and reading.notes == ("starts in ps",)


def test_flows_of_a_file_begin_with_the_first(tmp_path: Path) -> None:
    text = "\ufeff# 流量\n\n2\n0 1 3 100 2000000 2.0\n3 1 3 100 1 2.000000001"
    path = written(tmp_path, text, "flow.txt")
    assert format_of(path) == "hpcc"
    reading = read_flows(path)
    assert flows_of(reading.trace) == [Flow(0, 1, 2_000_000, 0), Flow(3, 1, 1, 1000)]
    assert reading.notes == ("time begins with the first flow, at 2 s",)
    assert reading.took == ("2 flows", "pg 3 as the lossless priority")
    five = read_flows(written(tmp_path, "2\n0 1 3 5 0\n0 1 4 5 0\n", "flow.txt"))
    assert flows_of(five.trace) == [Flow(0, 1, 5, 0), Flow(0, 1, 5, 0)]
    assert "pg 4" in str(five.left[0])


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("2\n0 1 3 100 5 2.0\n", 1, "2 flows, and there are 1"),
        ("2\n0 1 3 100 5 2.0\n0 1 3 100 5 1.9\n", 3, "starts before"),
        ("1\n0 1 3 100 5\n1\n", 3, "1 words"),
        ("1\n0 1 9 100 5 2.0\n", 2, 'pg "9"'),
        ("1\n0 0 3 100 5 2.0\n", 2, "from 0 to 0"),
        ("1\n0 1 3 100 0 2.0\n", 2, "a flow of 0 bytes"),
        ("1\n0 1 3 100 5 nan\n", 2, 'the start "nan"'),
        ("1\n0 1 3\n", 2, "3 words"),
        ("0\n", 1, "no flows"),
        ("# nothing\n", 1, "no flows"),
    ],
)
def test_faults_of_flows_stand_at_their_lines(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        read_flows(written(tmp_path, text, "flow.txt"))
    (fault,) = caught.value.faults
    assert fault.line == line and message in str(fault)
