"""Traces of other tools, altered: each is a trace that matches, or an error in words with the place of its fault."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

from testbed.errors import InputError, TestbedError
from testbed.replay.chakra import read_chakra
from testbed.replay.goal import read_goal
from testbed.replay.goal_binary import read_goal_binary, write_goal_binary
from testbed.replay.hpcc import read_flows
from testbed.replay.htsim import read_matrix
from testbed.replay.lines import Reading
from testbed.replay.made import flows_of
from testbed.replay.matching import match
from testbed.replay.nccl import read_nccl
from testbed.replay.protobuf import written, written_varint
from testbed.replay.simai import read_simai
from testbed.replay.streamed import read_streamed
from tools.fuzz import mutation
from tools.fuzz.target import Target, require

MOST_MATCHED = 20_000
_TOKENS = (
    *mutation.HOSTILE_TOKENS,
    *("//", "/*", "*/", "}", "{"),
    *(
        "requires",
        "irequires",
        "send ",
        "recv ",
        "calc ",
        "tag -1",
        "from -1",
        "cpu 9",
        "rank 1 {",
        "id 1",
        "barrier",
        "msg",
    ),
    *(
        "multishot",
        "oneshot",
        "count 2",
        "ALLTOALL_EP",
        "NONE",
        "MICRO",
        "opCount 0",
        "nranks 3",
        "0x2",
        "[",
        "]",
        "\xa0",
    ),
)
GOAL = """num_ranks 3
rank 0 {
a: calc 1200 cpu 1
b: send 104b to 1 tag 10
b requires a
c: recv 64b from -1 tag -1
c irequires b
}
rank 1 { // c
r: recv 104b from 0 tag 10
w: calc 500
w requires r
s: send 64b to 0 tag 11 nic 1
s requires w
}
rank 2 {
}
"""
MATRIX = """Nodes 4
Connections 3
Triggers 2
0->1 id 1 start 0 size 1000 recv_done_trigger 1
1->2 id 2 trigger 1 size 1000 send_done_trigger 2
3->2 id 3 trigger 2 size 5
trigger id 1 oneshot
trigger id 2 barrier count 1
"""
FLOWS = "# c\n3\n0 1 3 100 2000000 2.0\n1 2 3 100 1 2.000000001\n2 0 4 100 30 2.1\n"
SIMAI = """HYBRID_TRANSFORMER_FWD_IN_BCKWD model_parallel_NPU_group: 2 ep: 2 pp: 1 vpp: 1 ga: 1 all_gpus: 8 checkpoints: 0
2
embed -1 900 NONE 0 800 NONE 0 700 ALLREDUCE 6710 10
mlp0 -1 2500 ALLREDUCE 1677 2500 ALLTOALL_EP 1677 2600 REDUCESCATTER_DP_EP 335 10
"""
NCCL = """n1:811:815 [0] NCCL INFO ncclCommInitRank comm 0x55aa rank 0 nranks 2 cudaDev 0 busId 1b000 commId 0x9f01 - Init COMPLETE
n2:811:815 [0] NCCL INFO ncclCommInitRank comm 0x55aa rank 1 nranks 2 cudaDev 0 busId 1b000 commId 0x9f01 - Init COMPLETE
n1:811:815 [0] NCCL INFO AllReduce: opCount 0 sendbuff 0x7 recvbuff 0x7 count 26 datatype 7 op 0 root 0 comm 0x55aa [nranks=2] stream 0x1
n2:811:815 [0] NCCL INFO AllReduce: opCount 0 sendbuff 0x7 recvbuff 0x7 count 26 datatype 7 op 0 root 0 comm 0x55aa [nranks=2] stream 0x1
n1:811:815 [0] NCCL INFO Send: opCount 1 sendbuff 0x7 recvbuff 0x7 count 26 datatype 0 op 0 root 1 comm 0x55aa stream 0x1
n2:811:815 [0] NCCL INFO Recv: opCount 1 sendbuff 0x7 recvbuff 0x7 count 26 datatype 0 op 0 root 0 comm 0x55aa stream 0x1
"""  # noqa: E501  lines as NCCL writes them


def _chakra() -> bytes:
    """Return a trace of one rank: metadata with groups, computing, a collective, and a message to itself."""

    def node(number: int, kind: int, *deps: int, **said: int | str) -> bytes:
        raw = written(1, number) + written(3, kind) + written(7, 5)
        raw += written(5, b"".join(map(written_varint, deps)))
        for name, value in said.items():
            raw += written(10, written(1, name) + written(9 if isinstance(value, int) else 29, value))
        return raw

    groups = written(8, written(1, '[\'[{"pg_name": "0", "ranks": [0]}]\']'))
    nodes = [
        written(1, "0.0.4"),
        written(3, 1) + written(1, 9) + groups,
        node(1, 4, 9, is_cpu_op=1),
        node(2, 7, 1, comm_type=0, comm_size=64, pg_name="0"),
        node(3, 5, 2, comm_size=8, comm_dst=0),
        node(4, 6, comm_size=8, comm_src=0),
    ]
    return b"".join(written_varint(len(raw)) + raw for raw in nodes)


def _binary() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "t"
        path.write_text(GOAL.replace(" nic 1", ""), encoding="utf-8")
        return write_goal_binary(read_goal(path).trace)


CHAKRA = _chakra()
CHAKRA_JSON = """{"workload_graph": [
{"Id": 1, "Name": "fwd", "NodeType": 4, "runtime": 5, "is_cpu_op": true, "data_deps": []},
{"Id": 2, "NodeType": 7, "data_deps": [1], "comm_type": 0, "comm_size": 64, "pg_name": ""},
{"Id": 3, "NodeType": 5, "data_deps": [2], "comm_size": 8, "comm_dst": 0, "comm_tag": 1},
{"Id": 4, "NodeType": 6, "comm_size": 8, "comm_src": 0, "comm_tag": 1}
]}
"""
FORMATS: dict[str, tuple[tuple[str | bytes, ...], Callable[[Path], Reading]]] = {
    "goal": ((GOAL,), read_goal),
    "goal-binary": ((_binary(),), read_goal_binary),
    "matrix": ((MATRIX,), read_matrix),
    "flows": ((FLOWS,), read_flows),
    "simai": ((SIMAI,), lambda path: read_simai(path, None)),
    "chakra": ((CHAKRA, gzip.compress(CHAKRA, mtime=0)), lambda path: read_chakra([path])),
    "chakra-json": ((CHAKRA_JSON,), lambda path: read_chakra([path])),
    "nccl": ((NCCL,), lambda path: read_nccl([path])),
}
"""By name: files to begin with, which are traces, and what reads one."""
ON_DISK = {"goal": False, "goal-binary": True}
"""Those that are also replayed from disk, and whether they are binary."""


def attempt(kind: str, data: bytes) -> bool:
    """Read a file and match its messages; tell whether it is a trace; raise Defect for an error without its place."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / ("t.0.json" if kind == "chakra-json" else "t.0.et")
        path.write_bytes(data)
        if kind in ON_DISK:
            _is_answered(path, lambda: read_streamed(path, is_binary=ON_DISK[kind]))
        return _is_answered(path, lambda: _read_and_match(kind, path))


def _read_and_match(kind: str, path: Path) -> None:
    trace = FORMATS[kind][1](path).trace
    flows_of(trace)
    if sum(map(len, trace.ranks)) < MOST_MATCHED:
        match(trace)


def _is_answered(path: Path, read: Callable[[], object]) -> bool:
    """Tell whether a file is a trace to what reads it; raise Defect for an error without its place."""
    try:
        read()
    except InputError as error:
        require(len(str(error).encode()) < 2**20, f"{len(error.faults)} faults")
        require(all(fault.file == str(path) for fault in error.faults), f"no place: {error}")
        return False
    except TestbedError:
        return False
    return True


def _target(kind: str) -> Target:
    def draw(random: Random) -> bytes:
        chosen = random.choice(FORMATS[kind][0])
        if isinstance(chosen, bytes):
            return mutation.octets(random, chosen)
        raw = mutation.text(random, chosen, _TOKENS).encode("utf-8", "surrogatepass")
        return mutation.octets(random, raw) if random.random() < 0.2 else raw

    def check(data: bytes) -> None:
        attempt(kind, data)

    return Target(kind, ".trace", draw, check)


TRACES = tuple(map(_target, FORMATS))
