"""Chakra traces: the wire format, nodes and their attributes of every kind, groups, compression, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from testbed.errors import ExperimentError
from testbed.replay.chakra import read_chakra, read_groups
from testbed.replay.chakra_writing import write_chakra
from testbed.replay.form import Op, Trace
from testbed.replay.matching import match
from testbed.replay.protobuf import written as field
from testbed.replay.protobuf import written_varint
from testbed.replay.reading import Options, read_traces
from tests.unit.replay.traces import traces, written

# Version 0.0.4; node 1, compute "fwd" of 250 us; node 2 after it, an all-reduce "grad" of 1 MiB in group "0".
VECTOR = bytes.fromhex(
    "070a05302e302e341c08011203667764180438fa01520e0a0969735f6370755f"
    "6f70d801004c080212046772616418072a0101520e0a0969735f6370755f6f70"
    "d80100520d0a09636f6d6d5f747970654800520f0a09636f6d6d5f73697a6548"
    "808040520d0a0770675f6e616d65ea010130"
)


def message(raw: bytes) -> bytes:
    return written_varint(len(raw)) + raw


def node(number: int, kind: int, deps: list[int] | None = None, duration: int = 0, **said: int | str | bytes) -> bytes:
    """Return a node; `comm_size=9` is written as int64, text as a string."""
    raw = (field(1, number) if number else b"") + field(3, kind) + (field(7, duration) if duration else b"")
    raw += field(5, b"".join(map(written_varint, deps))) if deps else b""
    for name, value in said.items():
        raw += field(10, field(1, name) + (field(9, value) if isinstance(value, int) else field(29, value)))
    return message(raw)


def files(directory: Path, *ranks: bytes) -> list[Path]:
    head = message(field(1, "0.0.4"))
    return [written(directory, head + raw, f"t.{rank}.et") for rank, raw in enumerate(ranks)]


def test_the_vector_is_read_plain_and_compressed(tmp_path: Path) -> None:
    for raw in (VECTOR, gzip.compress(VECTOR)):
        reading = read_chakra([written(tmp_path, raw, "t.0.et")])
        assert reading.trace.ranks == ((Op("calc", 250 * 10**6, lane=0), Op("all_reduce", 2**20, after=(0,))),)
    assert reading.took == ("1 rank", "2 nodes")


def test_messages_collectives_and_nodes_that_depend_on_later_ones(tmp_path: Path) -> None:
    first = (
        node(7, 5, [9], comm_size=64, comm_dst=1, comm_tag=3)
        + node(9, 4, duration=2, is_cpu_op=1)
        + node(0, 7, comm_type=2, comm_size=10)
        + node(1, 7, comm_type=9, comm_size=0)
    )
    second = (
        node(1, 6, comm_size=64, comm_src=0, comm_tag=3)
        + node(2, 7, comm_type=2, comm_size=10)
        + node(3, 7, comm_type=9, comm_size=5)
    )
    trace = read_chakra(files(tmp_path, first, second)).trace
    assert trace.ranks[0] == (
        Op("send", 64, 1, 3, after=(1,)),
        Op("calc", 2 * 10**6, lane=1),
        Op("all_gather", 20),  # of both parts together
        Op("barrier", 0),
    )
    assert trace.ranks[1][0] == Op("recv", 64, 0, 3)


@pytest.mark.parametrize("number", [7, 9, 11, 13, 19, 21, 23, 25])
def test_integers_of_every_kind_are_read(tmp_path: Path, number: int) -> None:
    fixed = {19: 4, 23: 4, 21: 8, 25: 8}.get(number)
    value = field(number, 5)
    if fixed:
        value = written_varint(number << 3 | (5 if fixed == 4 else 1)) + (5).to_bytes(fixed, "little")
    attributes = field(10, field(1, "comm_type") + field(7, 0)) + field(10, field(1, "comm_size") + value)
    (ops,) = read_chakra(files(tmp_path, message(field(3, 7) + attributes))).trace.ranks
    assert ops == (Op("all_reduce", 5),)
    zigzag = field(10, field(1, "comm_size") + field(17, 10))
    (ops,) = read_chakra(files(tmp_path, message(field(3, 7) + attributes + zigzag))).trace.ranks
    assert ops == (Op("all_reduce", 5),)


def test_groups_come_from_a_file_or_a_metadata_node_and_calls_of_the_host_send_nothing(tmp_path: Path) -> None:
    call = node(5, 7, comm_type=0, comm_size=8, pg_name="x")
    paths = files(tmp_path, call, call, call, call)
    groups = written(tmp_path, '{"x": [0, 1, 2, 3], "y": [1, 3]}', "groups.json")
    (reading,) = read_traces(paths, options=Options(groups=groups))
    assert reading.trace.groups[reading.trace.ranks[0][0].peer] == (0, 1, 2, 3)
    listed = b'[{"pg_name": "x", "ranks": [2, 3]}, {"pg_name": "all", "ranks": []}]'
    head = message(field(3, 1) + field(8, field(1, b"['" + listed + b"']")))
    idle = head + node(9, 7, duration=3)
    trace = read_chakra(files(tmp_path, idle, idle, head + call, head + call)).trace
    assert trace.groups[trace.ranks[2][1].peer] == (2, 3)
    assert trace.ranks[0][1] == Op("calc", 3 * 10**6, lane=0)
    assert "process group x, taken as all ranks" in str(read_chakra(files(tmp_path, call, call)).left[0])


def test_missing_ranks_and_files_without_a_rank_are_refused(tmp_path: Path) -> None:
    zero, one, two = files(tmp_path, b"", b"", b"")
    with pytest.raises(ExperimentError, match="rank 1 is missing among 2 files"):
        read_chakra([zero, two])
    with pytest.raises(ExperimentError, match="rank 1 is in"):
        read_chakra([zero, one, one])
    with pytest.raises(ExperimentError, match=r"write PREFIX\.RANK\.et"):
        read_chakra([tmp_path / "x"])


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (node(1, 5, comm_size=8), "node 1: a message has"),
        (node(1, 4, [2]), "waits for node 2, which the file does not have"),
        (node(1, 4) + node(1, 4), "two nodes have this id"),
        (node(1, 7, comm_type=3, comm_size=8), "collectives of type 3 are not read"),
        (node(1, 7, comm_type=0, comm_size=-8), "a size of -8 bytes"),
        (node(1, 5, comm_size=8, comm_dst=4), "rank 4 is not one of 1"),
        (node(1, 4, duration=2**62), "a duration of"),
        (b"\x05\x08", "a message of 5 bytes where 1 are left"),
        (b"\xff" * 12, "a number of more than ten bytes"),
        (message(b"\x0b"), "a field of kind 3"),
        (message(b"\x52\x7f"), "a field of 127 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path: Path, raw: bytes, text: str) -> None:
    with pytest.raises(ExperimentError, match=text):
        read_chakra(files(tmp_path, raw))


def test_files_cut_anywhere_are_refused_in_words_or_read_in_part(tmp_path: Path) -> None:
    for length in range(len(VECTOR)):
        try:
            trace = read_chakra([written(tmp_path, VECTOR[:length], "t.0.et")]).trace
        except ExperimentError as error:
            assert "not a Chakra trace" in str(error)
        else:
            assert len(trace.ranks[0]) < 2
    with pytest.raises(ExperimentError, match="not a gzip file"):
        read_chakra([written(tmp_path, gzip.compress(VECTOR)[:-9], "t.0.et")])
    for text in ("[1]", '{"0": 5}', '{"0": [-1]}', "{"):
        with pytest.raises(ExperimentError, match="not"):
            read_groups(written(tmp_path, text, "groups.json"))


@given(traces())
@settings(deadline=None, max_examples=40)
def test_there_and_back_is_the_same(tmp_path_factory: pytest.TempPathFactory, drawn: Trace) -> None:
    """But for what Chakra does not have: any source, ops that begin with another, lanes beyond two, parts of a microsecond."""
    directory = tmp_path_factory.mktemp("chakra")
    matched = match(drawn)
    ranks = tuple(
        tuple(
            op._replace(
                begun=(),
                amount=op.amount * 1000 if op.kind == "calc" else op.amount,
                lane=min(op.lane, 1) if op.kind == "calc" else op.lane,
                peer=op.peer if op.kind != "recv" else matched.received[rank, place].source[0],
            )
            for place, op in enumerate(ops)
        )
        for rank, ops in enumerate(drawn.ranks)
    )
    trace = Trace(drawn.files, ranks)
    paths = [written(directory, raw, f"x.{rank}.et") for rank, raw in enumerate(write_chakra(trace))]
    assert read_chakra(paths).trace.ranks == ranks


def test_collectives_are_written_as_they_are_read_and_what_has_no_node_is_refused(tmp_path: Path) -> None:
    groups = ((0, 1), (0,))
    call = (Op("all_gather", 64), Op("all_reduce", 8, 1, after=(0,)))
    trace = Trace(("t",), (call, call[:1]), groups)
    paths = [written(tmp_path, raw, f"x.{rank}.et") for rank, raw in enumerate(write_chakra(trace))]
    back = read_chakra(paths, {"1": [0]}).trace
    assert back.ranks == trace.ranks and back.groups == groups
    for op in (Op("recv", 1, -1), Op("calc", 1, begun=(0,)), Op("scatter", 8), Op("broadcast", 8, 0, 1)):
        with pytest.raises(ValueError, match="Chakra has no"):
            write_chakra(Trace(("t",), ((op,), ()), groups))


def graph(*nodes: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({**more, "workload_graph": nodes}).encode()


def test_json_says_what_the_binary_form_says(tmp_path: Path) -> None:
    """The vector in JSON, plain and compressed, and messages between two ranks."""
    first = {
        "Id": 1,
        "Name": "fwd",
        "NodeType": 4,
        "runtime": 250,
        "is_cpu_op": False,
        "ctrlDeps": [7],
        "data_deps": [],
    }
    second = {
        "Id": 2,
        "Name": "grad",
        "NodeType": 7,
        "data_deps": [1],
        "comm_type": 0,
        "comm_size": 2**20,
        "pg_name": 0,
    }
    binary = read_chakra([written(tmp_path, VECTOR, "b.0.et")])
    for raw, name in ((graph(first, second), "t.0.json"), (gzip.compress(graph(first, second)), "u.0.json.gz")):
        (reading,) = read_traces([written(tmp_path, raw, name)])
        assert (reading.trace.ranks, reading.took) == (binary.trace.ranks, binary.took)
        assert [left.what for left in reading.left] == [left.what for left in binary.left]
    send = {"Id": 0, "NodeType": 5, "comm_size": 64, "comm_dst": 1, "comm_tag": 3, "comm_priority": 2, "tensor_size": 8}
    recv = {"Id": 0, "NodeType": 6, "comm_size": 64, "comm_src": 0, "comm_tag": 3, "comm_type": None}
    paths = [written(tmp_path, graph(node, num_nodes=1), f"m.{rank}.json") for rank, node in enumerate((send, recv))]
    assert read_chakra(paths).trace.ranks == ((Op("send", 64, 1, 3),), (Op("recv", 64, 0, 3),))
    assert read_chakra([written(tmp_path, graph({**first, "extra": 1}), "x.0.json")]).left != ()


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"schema": "1.0", "nodes": []}', 'no list of nodes by the key "workload_graph"'),
        (graph({"Id": 1}), r"workload_graph\[0\]: it has no NodeType"),
        (b'{"workload_graph": [7]}', r"workload_graph\[0\]: not an object"),
        (graph({"Id": 1, "NodeType": 4, "runtime": 1.5}), r"workload_graph\[0\].runtime: not a whole number"),
        (graph({"Id": 1, "NodeType": 4, "data_deps": 3}), r"workload_graph\[0\].data_deps: not a list"),
        (graph({"Id": 1, "NodeType": 4, "data_deps": [3]}), "node 1: it waits for node 3"),
        (graph({"Id": 1, "NodeType": 5, "comm_size": -1, "comm_dst": 0}), "comm_size: not a whole number"),
        (graph({"Id": 1, "NodeType": 7, "comm_size": 1, "comm_type": 2**70}), "comm_type: not a whole number"),
    ],
)
def test_json_that_is_no_trace_is_refused(tmp_path: Path, raw: bytes, fault: str) -> None:
    with pytest.raises(ExperimentError, match=fault):
        read_chakra([written(tmp_path, raw, "t.0.json")])
