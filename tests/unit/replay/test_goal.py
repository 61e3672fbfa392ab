"""GOAL: the grammar with its corners, faults at their lines, the binary form to the byte, the way there and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from testbed.errors import ExperimentError
from testbed.replay.form import ANY, Op, Trace
from testbed.replay.goal import read_goal, write_goal
from testbed.replay.goal_binary import MAGIC, USED_UP, read_goal_binary, write_goal_binary
from testbed.replay.reading import format_of, read_traces
from tests.unit.replay.traces import traces, written

PING = """\
num_ranks 2
rank 0 {
a: calc 1200 cpu 0
b: send 1048576b to 1 tag 10
b requires a
c: recv 64b from 1 tag 11
c irequires b
}
rank 1 {
r: recv 1048576b from 0 tag 10
w: calc 500
w requires r
s: send 64b to 0 tag 11 cpu 1 nic 0
s requires w
}
"""
# Two ranks: x: calc 100, y: send 4096b to 1 tag 7 after x; and its receive. As txt2bin of LogGOPSim writes it.
BINARY = bytes.fromhex(
    "7f10000000000000020000000000260000000000000084000000000000008400"
    "000000000000b700000000000000020000000100000000000000000000000300"
    "0000006400000000000000000000000000010000000000000000000000010000"
    "0001000000010100000000100000000000000700000000000000000001000000"
    "0000000001000000010000000100000001000000000000000000000002000000"
    "00001000000000000007000000000000000000000000000000000000000000"
)


def read(directory: Path, text: str) -> Trace:
    return read_goal(written(directory, text)).trace


def test_statements_dependencies_and_lines(tmp_path: Path) -> None:
    first, second = read(tmp_path, PING).ranks
    assert first == (
        Op("calc", 1_200_000, lane=0, line=3),
        Op("send", 1 << 20, 1, 10, after=(0,), line=4),
        Op("recv", 64, 1, 11, begun=(1,), line=6),
    )
    assert [(op.kind, op.amount, op.after) for op in second] == [
        ("recv", 1 << 20, ()),
        ("calc", 500_000, (0,)),
        ("send", 64, (1,)),
    ]


@pytest.mark.parametrize(
    "spelling",
    [
        PING.replace("\n", "\r\n"),
        "\ufeff" + PING,
        PING.replace("\nb:", "\n\t  b :"),
        PING.rstrip("\n").removesuffix("}"),
        PING.replace("64b", "64 b").replace("recv 1048576b from 0 tag 10", "recv1048576bfrom0tag10"),
        PING.replace("rank 1 {\n", "rank 1 { // the other one\n/* of\ntwo */ ").replace("a: calc", "// first\na: calc"),
    ],
    ids=["crlf", "mark", "indented", "no-last-brace", "blanks", "comments"],
)
def test_other_spellings_mean_the_same(tmp_path: Path, spelling: str) -> None:
    def without_lines(trace: Trace) -> list[list[Op]]:
        return [[op._replace(line=0) for op in ops] for ops in trace.ranks]

    assert without_lines(read(tmp_path, spelling)) == without_lines(read(tmp_path, PING))


def test_wildcards_defaults_and_labels_given_twice(tmp_path: Path) -> None:
    text = (
        "num_ranks 2\nrank 0 {\nx: recv 8b from -1 tag -1\nx: calc 5\nlast: calc 6 cpu 255\n"
        "last requires x\nlast requires x\n}\nrank 1 {\n}\n"
    )
    (any_, calc, last), empty = read(tmp_path, text).ranks
    assert (any_.peer, any_.tag) == (ANY, ANY) and not empty
    assert (calc.lane, last.lane) == (0, 255)
    assert last.after == (0, 0), "the first of two labels counts, and a dependency that is said twice is two"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("rank 0 {\n}\n", 1, "before num_ranks"),
        ("num_ranks 2\nrank 0 {\n}\n", 3, "rank 1 is missing"),
        ("num_ranks 2\nrank 1 {\n}\n", 2, "rank 0 comes next"),
        ("num_ranks 1\nrank 0 {\n}\nrank 1 {\n}\n", 4, "all ranks were there"),
        ("num_ranks 1\nrank 0 {\nsend 4b to 1\n}\n", 3, "rank 1 is not one of 1"),
        ("num_ranks 2\nrank 0 {\nsend 4b from 1\n}\n", 3, "is not a send, recv, calc or requires"),
        ("num_ranks 2\nrank 0 {\nsend 4b to -1\n}\n", 3, "is not a send"),
        ("num_ranks 2\nrank 0 {\nsend 4 to 1\n}\n", 3, "is not a send"),
        ("num_ranks 1\nrank 0 {\na: calc 1\nb requires a\n}\n", 4, 'has the label "b"'),
        ("num_ranks 1\nrank 0 {\ncalc 1 cpu 300\n}\n", 3, "the cpu 300 is larger than 255"),
        ("num_ranks 1\nrank 0 {\ncalc: calc 1\n}\n", 3, '"calc" cannot be a label'),
        ("num_ranks 1\nrank 0 {\ncalc 99999999999999999999\n}\n", 3, "is larger than"),
        ("num_ranks 1\nrank 0 {\n/* open\n}\n", 4, "ends within a comment"),
        ("", 0, "no ranks"),
        ("num_ranks 0\n", 1, "not a whole number from 1"),
    ],
)
def test_faults_stand_at_their_lines(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        read(tmp_path, text)
    (fault,) = caught.value.faults
    assert fault.line == line and message in str(fault)


def test_the_binary_form_is_read_and_written_to_the_byte(tmp_path: Path) -> None:
    path = written(tmp_path, BINARY, "t.bin")
    assert format_of(path) == "goal-binary"
    trace = read_goal_binary(path).trace
    assert trace.ranks == (
        (Op("calc", 100_000, lane=0), Op("send", 4096, 1, 7, after=(0,))),
        (Op("recv", 4096, 0, 7),),
    )
    assert write_goal_binary(trace) == BINARY


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (BINARY[:-1], "the block of rank 1"),
        (BINARY + b"\0", "something follows the last block"),
        (USED_UP.to_bytes(8, "little") + BINARY[8:], "used up this file"),
        ((MAGIC + 1).to_bytes(8, "little") + BINARY[8:], "magic number"),
        (BINARY[:8] + b"\xff\xff\xff\xff" + BINARY[12:], "4294967295 ranks"),
        (BINARY[:46] + b"\xff\xff\xff\x7f" + BINARY[50:], "do not fit"),
        (BINARY[:62] + b"\x09" + BINARY[63:], "op of kind 9"),
        (BINARY[:97] + b"\x02" + BINARY[98:], "2 dependencies"),
        (b"", "ends within its head"),
    ],
)
def test_binary_files_that_do_not_agree_with_themselves_are_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        read_goal_binary(written(tmp_path, raw, "t.bin"))


@given(traces())
@settings(deadline=None, max_examples=60)
def test_there_and_back_in_both_forms_is_the_same(tmp_path_factory: pytest.TempPathFactory, trace: Trace) -> None:
    directory = tmp_path_factory.mktemp("goal")
    (text,) = read_traces([written(directory, write_goal(trace))])
    assert [[op._replace(line=0) for op in ops] for ops in text.trace.ranks] == [list(ops) for ops in trace.ranks]
    (binary,) = read_traces([written(directory, write_goal_binary(trace), "t.bin")])
    assert replace(binary.trace, files=trace.files) == trace
