"""The options of nccl-tests at the command line: what each row is, and what is refused before anything begins."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.virtual.harness import make_trial, priority, run_trial

Call = Callable[..., "subprocess.CompletedProcess[str]"]


def data(done: "subprocess.CompletedProcess[str]") -> list[list[str]]:
    """Return the rows of the table, as a script reads them."""
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("# Wrong elements")[0].splitlines()
    return [line.split() for line in table if line[:1] == " "]


def test_sizes_from_nothing_in_steps_of_bytes(call_testbed: Call) -> None:
    rows = data(call_testbed("run", "all_reduce", "-t", "pair", "-b", "0", "-e", "12", "-i", "4"))
    assert [row[:3] for row in rows] == [
        ["0", "0", "float"],
        ["4", "1", "float"],
        ["8", "2", "float"],
        ["12", "3", "float"],
    ]
    # Nothing takes no time and has nothing to compare.
    assert rows[0][5:9] == ["0.00", "0.00", "0.00", "N/A"] and [row[8] for row in rows[1:]] == ["0"] * 3


def test_all_roots_of_a_broadcast_of_bytes(call_testbed: Call) -> None:
    done = call_testbed("run", "broadcast", "-t", "two-dc:length=1km", "-b", "64K", "-r", "all", "-d", "int8")
    assert [[*row[1:5], row[8]] for row in data(done)] == [
        ["65536", "int8", "none", str(root), "0"] for root in range(4)
    ]


@pytest.mark.parametrize("name", ["gather", "scatter", "sendrecv", "barrier"])
def test_one_rank_keeps_what_is_its_own(name: str, call_testbed: Call) -> None:
    settings = ("--set", "workload.ranks=[b1]", "-b", "64")
    rows = data(call_testbed("run", name, "-t", "pair", *settings))
    assert len(rows) == 1 and float(rows[0][5]) == 0 and rows[0][8] == ("N/A" if name == "barrier" else "0")


def test_a_size_that_holds_no_element_is_a_row_of_none(call_testbed: Call) -> None:
    rows = data(call_testbed("run", "all_reduce", "-t", "pair", "-b", "4", "-e", "8", "-d", "double", "-o", "prod"))
    assert [row[:4] for row in rows] == [["0", "0", "double", "prod"], ["8", "1", "double", "prod"]]


def test_a_warm_up_changes_no_figure() -> None:
    """Nothing of it is counted, and the timeline begins behind it: frames are lost on a link that is down for 5 us."""
    settings = ("workload.size=256K", "timeline=[{at: 50us, link: 'a1:eth1', impair: {down: true}, for: 5us}]")
    cold, warm = (
        run_trial(make_trial("pair:rate=10G", "sendrecv", *settings, f"workload.warmup-iterations={times}"))
        for times in (0, 3)
    )
    assert warm.rows == cold.rows and warm.flows == cold.flows
    assert cold.report["drops"]["outage"] > 0
    assert warm.report["drops"] == cold.report["drops"]
    # Where packet numbers begin, and with them which packets ask for an acknowledgement, differs by workload.
    for port in cold.report["ports"]:
        assert priority(warm.report, port)["data_frames_tx"] == priority(cold.report, port)["data_frames_tx"]
    assert warm.impairments == cold.impairments
    assert warm.start_ps is not None and cold.start_ps is not None and warm.start_ps > cold.start_ps


def test_calls_at_once_share_their_latency() -> None:
    """A small message crosses 80 km in 392 us; ten of them at once cost hardly more than one."""
    one, ten = (
        run_trial(make_trial("pair:length=80km", "sendrecv", "workload.size=4K", f"workload.aggregate={number}")).rows[
            0
        ]
        for number in (1, 10)
    )
    assert one["time_us"] > 783 and one["wrong"] == ten["wrong"] == 0
    assert ten["time_us"] == pytest.approx(one["time_us"] / 10, rel=0.01)


def test_rows_are_written_as_rccl_tests_do(call_testbed: Call, tmp_path: Path) -> None:
    options = ("run", "reduce_scatter", "-t", "pair", "-b", "1K", "-e", "2K", "-d", "half", "-o", "avg")
    assert call_testbed(*options, "-x", "rows.json").returncode == 0
    records: list[dict[str, Any]] = json.loads((tmp_path / "rows.json").read_text())
    assert [(record["size"], record["inPlace"], record["type"], record["redop"]) for record in records] == [
        (size, in_place, "half", "avg") for size in (1024, 2048) for in_place in (0, 1)
    ]
    again = call_testbed(*options, "-x", "rows.json")
    assert again.returncode == 2 and "rows.json is there already" in again.stderr
    printed = call_testbed(*options, "-Z", "csv")
    lines = printed.stdout[printed.stdout.index("numCycle") :].splitlines()
    assert [line["busBw"] for line in csv.DictReader(lines)] == [str(record["busBw"]) for record in records]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-r", "7"), "workload.root: 7 is none of 2 ranks"),
        (("-d", "float16"), 'no datatype is called "float16"'),
        (("-o", "xor"), 'no redop is called "xor"'),
        (("-i", "1K", "-f", "2"), "give stepfactor or stepbytes, not both"),
        (("-b", "0", "-e", "1G", "-i", "1"), "more than 64 sizes"),
        (("-m", "0"), "workload.aggregate"),
    ],
)
def test_what_makes_no_row_is_refused(options: tuple[str, ...], message: str, call_testbed: Call) -> None:
    done = call_testbed("run", "reduce", "-t", "pair", *options)
    assert done.returncode == 2 and message in done.stderr, done.stderr
