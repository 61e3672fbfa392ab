"""What people see of a result, as snapshots that can be read."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from testbed.optics.energy import PoweredLink, Prices, energy_of_run
from testbed.report.figures import format_bytes, format_ns
from testbed.report.ports import PORT_ROWS
from testbed.report.rows import records_csv, records_json, rows_text
from testbed.report.run import FLOW_ROWS, show
from testbed.run.execution import Outcome
from testbed.run.result import RunResult, assemble
from testbed.run.verdict import RunFacts

FIDELITY = {
    "lateness_ns": {"p50": 12, "p99": 900, "max": 4100},
    "socket_drops": 0,
    "held_share": 0.01,
    "cpu_share": 0.4,
    "overflow": 0,
}

STUCK = {"at_ns": 5e6, "cured_ns": None, "ports": ["s1:eth1", "s2:eth1"], "priority": 3}


PLACES = ({"rank": 0, "host": "a1", "port": "eth1"}, {"rank": 1, "host": "border-b", "port": "eth10", "domain": "pod1"})


def measured(time_us: float, algbw: float, busbw: float, wrong: int | None = 0) -> dict[str, Any]:
    return {"time_us": time_us, "algbw_gbytes_per_s": algbw, "busbw_gbytes_per_s": busbw, "wrong": wrong}


def row(size: int, redop: str, out: dict[str, Any], in_place: dict[str, Any] | None = None) -> dict[str, Any]:
    row = {"size_bytes": size, "count": size // 4, "type": "float", "redop": redop, "root": -1}
    return {**row, **out, "in_place": in_place}


def counters(**changes: Any) -> dict[str, Any]:
    return {"frames_tx": 10, "bytes_tx": 9000, "queue_bytes_max": 4222, "drops": {"headroom": 0, "link": 0}} | changes


def outcome(rows: list[dict[str, Any]], **changes: Any) -> Outcome:
    quiet = {"rate_bps": 10**11, "priorities": {"0": counters(), "3": counters()}}
    report: dict[str, Any] = {
        "event_log_hash": None, "ports": {"a1:eth1": quiet}, "qps": [], "violations": [], "fidelity": FIDELITY,
        "conservation": {"sent": 9, "delivered": 9, "dropped": 0, "in_flight": 0},
        "drops": {"lossless": 0, "lossy": 0, "link": 0},
    }  # fmt: skip
    return Outcome(rows=rows, report=report | changes)


def ring(wanted: Outcome) -> RunResult:
    facts = RunFacts(
        "two-dc", 7, "virtual", 1, "testbed run", collective="all_reduce", algorithm="ring", ranks=4,
        ideal_gbytes_per_s=12.5, places=PLACES,
    )  # fmt: skip
    return assemble(facts, wanted)


def incast(wanted: Outcome, ranks: int = 3) -> RunResult:
    facts = RunFacts("incast", 7, "real", 100, "testbed run", "incast", "direct", ranks, root=0)
    return assemble(facts, wanted)


def shown(result: RunResult, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(result, console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_rows_look_as_nccl_tests_prints_them() -> None:
    rows = [
        row(1048576, "sum", measured(2595.4327, 0.404, 0.606), measured(2595.4, 0.404, 0.606, wrong=3)),
        row(1 << 30, "sum", measured(131319.26, 8.1766, 12.2649), measured(10522.71, 99.5, 12345.6)),
        row(4096, "sum", measured(1.5, 2.0, 3.0), None),
    ]
    assert (
        "\n" + rows_text(ring(outcome(rows))) + "\n"
        == """
# all_reduce (ring), 4 ranks, lab two-dc, seed 7
# virtual clock, dilation 1; times are nominal
#
# rank  host      port   domain  site
#    0  a1        eth1   -       -
#    1  border-b  eth10  pod1    -
#
#                                               out-of-place                    in-place
#      size      count  type redop root     time  algbw  busbw #wrong     time  algbw  busbw #wrong %ideal
#       (B) (elements)                      (us) (GB/s) (GB/s)            (us) (GB/s) (GB/s)
    1048576     262144 float   sum   -1  2595.43   0.40   0.61      0  2595.40   0.40   0.61      3    4.8
 1073741824  268435456 float   sum   -1   131319   8.18  12.26      0  10522.7  99.50 12345.6      0   98.1
       4096       1024 float   sum   -1     1.50   2.00   3.00      0        -      -      -      -   24.0
#
# Wrong elements       : 3 FAILED
# Avg bus bandwidth    : 2472.42
"""
    )


def test_every_line_of_the_rows_can_be_told_from_its_comments() -> None:
    """A script that skips lines beginning with # and splits the others by blanks reads the 13 columns of nccl-tests first."""
    text = rows_text(ring(outcome([row(1 << 33, "sum", measured(9e6, 8, 12), measured(9e6, 8, 12))])))
    data = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert [len(columns) for columns in data] == [14]
    assert data[0][0] == str(1 << 33) and float(data[0][5]) == 9e6
    assert max(len(line) for line in text.splitlines()) <= 107
    last = text.splitlines()[-1].rpartition(":")
    assert last[0].strip() == "# Avg bus bandwidth" and float(last[2]) == 12


def test_long_names_of_types_keep_the_columns_apart() -> None:
    rows = [row(1024, "sum", measured(1, 2, 3)) | {"type": kind, "root": 1023} for kind in ("half", "bfloat16")]
    lines = [line for line in rows_text(ring(outcome(rows))).splitlines() if not line.startswith("#")]
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[2:5] for line in lines] == [["half", "sum", "1023"], ["bfloat16", "sum", "1023"]]


def test_of_very_many_ranks_the_first_are_listed() -> None:
    places = tuple({"rank": rank, "host": f"h{rank}", "port": "eth1"} for rank in range(70))
    facts = RunFacts("x", 7, "virtual", 1, "testbed run", "all_reduce", "ring", ranks=70, places=places)
    text = rows_text(assemble(facts, outcome([row(4096, "sum", measured(1.5, 2.0, 3.0))])))
    assert "#   63  h63   eth1  -       -\n# 6 more ranks in run.json\n#\n" in text


def test_records_are_those_of_rccl_tests() -> None:
    """Keys, their order and the quoted count of wrong elements as rccl-tests write them with -Z json."""
    result = ring(outcome([row(1024, "sum", measured(2.5, 2, 3), measured(2.25, 4, 6, wrong=None))]))
    start = (
        '{"numCycle": 0, "name": "AllReduce", "nodes": 2, "ranks": 4, "ranksPerNode": 2, "gpusPerRank": 1, "size": 1024'
    )
    kind = '"type": "float", "redop": "sum"'
    assert records_json(result).splitlines() == [
        "[",
        f'{start}, {kind}, "inPlace": 0, "time": 2.5, "algBw": 2.0, "busBw": 3.0, "wrong": "0"}},',
        f'{start}, {kind}, "inPlace": 1, "time": 2.25, "algBw": 4.0, "busBw": 6.0, "wrong": "N/A"}}',
        "]",
    ]
    assert records_csv(result).splitlines()[1:] == [
        "0,AllReduce,2,4,2,1,1024,float,sum,0,2.5,2.0,3.0,0",
        "0,AllReduce,2,4,2,1,1024,float,sum,1,2.25,4.0,6.0,N/A",
    ]


def test_a_failed_incast() -> None:
    flows = [
        {
            "src": "s1",
            "dst": "r",
            "bytes": 16 << 20,
            "start_ns": 100,
            "completion_ns": 4_123_556,
            "goodput_bps": 32.5e9,
        },
        {"src": "s2", "dst": "r", "bytes": 16 << 20, "start_ns": 100, "completion_ns": None, "goodput_bps": 0},
    ]
    ports = {
        "a1:eth1": {"rate_bps": 10**11, "priorities": {"0": counters(), "3": counters()}},
        "leaf:eth1": {"rate_bps": 10**11, "priorities": {"3": counters(pause_tx=1204, headroom_bytes_max=10_043_772)}},
        "leaf:eth2": {
            "rate_bps": 10**11,
            "priorities": {"3": counters(pause_rx=2, paused_ns=391_760.5, drops={"headroom": 12345, "link": 17})},
        },
    }
    stopped = outcome(
        [row(16 << 20, "none", measured(4123.456, 12.2, 12.2, wrong=None)) | {"root": 0}],
        ports=ports, drops={"lossless": 12345, "lossy": 0, "link": 17},
    )  # fmt: skip
    stopped.flows, stopped.complete, stopped.reasons = flows, False, ["incast of 16777216 bytes: stalled"]
    assert (
        "\n" + shown(incast(stopped)) + "\n"
        == """
# incast (direct), 3 ranks, lab incast, seed 7
# real clock, dilation 100; times are nominal
#
#                                               out-of-place
#      size      count  type redop root     time  algbw  busbw #wrong %ideal
#       (B) (elements)                      (us) (GB/s) (GB/s)
   16777216    4194304 float  none    0  4123.46  12.20  12.20    N/A      -
#
# Wrong elements       : not checked, lengths only
# Avg bus bandwidth    : 12.2

Flows
source  destination      size    completion     goodput
s1      r            16.78 MB       4.12 ms  32.50 Gb/s
s2      r            16.78 MB  not finished           -

Ports
port       prio  frames tx  pause tx  pause rx     paused  queue max  headroom max            drops
a1:eth1    0            10         -         -          -    4.22 kB             -                -
a1:eth1    3            10         -         -          -    4.22 kB             -                -
leaf:eth1  3            10     1,204         -          -    4.22 kB      10.04 MB                -
leaf:eth2  3            10         -         2  391.76 us    4.22 kB             -  headroom 12,345
                                                                                            link 17
1 of 3 ports had no pause, wait, headroom, mark or drop

FAILED: not lossless, not complete; trusted
  - not lossless: 12,345 frames of lossless priorities dropped for lack of buffer, at leaf:eth2
    priority 3 (headroom 12,345)
  - incast of 16777216 bytes: stalled
"""
    )


def test_marks_have_a_column_where_there_are_any() -> None:
    ports = {"leaf:eth1": {"rate_bps": 10**11, "priorities": {"0": counters(), "3": counters(ecn_marked=1234)}}}
    text = shown(ring(outcome([row(4096, "sum", measured(1.5, 2, 3))], ports=ports)))
    start = text.index("Ports")
    assert (
        "\n" + text[start : text.index("\n\n", start)] + "\n"
        == """
Ports
port       prio  frames tx  ECN marks  pause tx  pause rx  paused  queue max  headroom max  drops
leaf:eth1  0            10          -         -         -       -    4.22 kB             -      -
leaf:eth1  3            10      1,234         -         -       -    4.22 kB             -      -
"""
    )


def test_credits_have_columns_where_there_are_any() -> None:
    waiting = counters(credit_tx=3, credit_rx=1234, credit_wait_ns=5_000)
    ports = {"leaf:eth1": {"rate_bps": 10**11, "priorities": {"0": counters(), "3": waiting}}}
    text = shown(ring(outcome([row(4096, "sum", measured(1.5, 2, 3))], ports=ports)))
    start = text.index("Ports")
    assert (
        "\n" + text[start : text.index("\n\n", start)] + "\n"
        == """
Ports
port       prio  frames tx  credit tx  credit rx  credit wait  queue max  headroom max  drops
leaf:eth1  0            10          -          -            -    4.22 kB             -      -
leaf:eth1  3            10          3      1,234      5.00 us    4.22 kB             -      -
"""
    )


def test_a_quiet_run_has_no_empty_tables() -> None:
    text = shown(
        ring(
            outcome([row(4096, "sum", measured(1.5, 2, 3))], ports={"a1:eth1": {"rate_bps": 10**11, "priorities": {}}})
        )
    )
    assert text.endswith(
        ": 3\n\n1 of 1 ports had no pause, wait, headroom, mark or drop\n\nPASSED: lossless, correct, trusted"
    )
    assert "Ports" not in text and "Flows" not in text


@pytest.mark.parametrize(
    ("changes", "complete", "line"),
    [
        ({}, True, "PASSED: lossless, payload not compared, trusted"),
        ({"fidelity": None}, True, "UNTRUSTED: not trusted; lossless, payload not compared"),
        ({"deadlocks": [STUCK]}, True, "FAILED: deadlock; lossless, payload not compared, trusted"),
        ({}, False, "FAILED: not complete; lossless, trusted"),
    ],
)
def test_the_verdict_claims_no_more_than_was_seen(changes: dict[str, Any], complete: bool, line: str) -> None:
    wanted = outcome([row(4096, "none", measured(1, 1, 1, wrong=None))], **changes)
    wanted.complete = complete
    if not complete:
        wanted.reasons.append("stalled")
    assert line in shown(incast(wanted)).splitlines()


def test_a_run_without_rows_says_so() -> None:
    assert "# No row was completed" in shown(ring(outcome([])))


def test_long_tables_say_what_they_leave_out() -> None:
    busy = {"rate_bps": 1, "priorities": {"3": counters(pause_tx=1)}}
    wanted = outcome([], ports={f"leaf:eth{number}": busy for number in range(PORT_ROWS + 5)})
    flow = {"src": "s", "dst": "r", "bytes": 1, "start_ns": 0, "completion_ns": 1, "goodput_bps": 8e9}
    wanted.flows = [flow] * (FLOW_ROWS + 2)
    text = shown(incast(wanted))
    assert "5 more rows in run.json" in text and "2 more flows in run.json" in text
    assert text.count("leaf:eth") == PORT_ROWS


def test_narrow_terminals_keep_names_and_rows_whole() -> None:
    wanted = outcome(
        [row(4096, "sum", measured(1, 1, 1), measured(1, 1, 1))],
        ports={"border-b:eth9": {"rate_bps": 1, "priorities": {"3": counters(pause_tx=1, headroom_bytes_max=10**7)}}},
    )
    text = shown(ring(wanted), width=80)
    assert any(line.startswith("border-b:eth9 ") for line in text.splitlines())
    assert rows_text(ring(wanted), 80) in text and max(map(len, text.splitlines())) <= 80
    wide = shown(ring(wanted), width=140)
    assert rows_text(ring(wanted)) in wide and "out-of-place                    in-place" in wide


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_a_report_fits_the_widths_that_people_have(width: int) -> None:
    """Every table at its widest: nothing is longer than the line, and every figure is whole."""
    busy = counters(
        pause_tx=1_204_567, pause_rx=98_765, paused_ns=391_760.5, headroom_bytes_max=10_043_772, ecn_marked=1_234_567,
        credit_tx=12_345, credit_rx=12_345, credit_wait_ns=5_000, drops={"headroom": 12_345, "link": 17},
    )  # fmt: skip
    wanted = outcome(
        [row(16 << 20, "sum", measured(4123.456, 12.2, 12.2), measured(4123.456, 12.2, 12.2))],
        ports={f"border-a:eth{number}": {"rate_bps": 10**11, "priorities": {"3": busy}} for number in (1, 12)},
    )
    text = shown(ring(wanted), width=width)
    assert max(map(len, text.splitlines())) <= width
    for figure in ("1,204,567", "98,765", "391.76 us", "10.04 MB", "1,234,567", "12,345", "5.00 us", "4123.46"):
        assert re.search(rf"(^|\s){re.escape(figure)}(\s|$)", text, re.MULTILINE), figure


def connection(**changes: Any) -> dict[str, Any]:
    quiet = {"packets_tx": 5000, "retransmitted": 0, "naks_rx": 0, "timeouts": 0, "error": None, "erasure": None}
    return {"a": "a1", "b": "b1", **quiet, **changes}


def test_connections_that_lost_something() -> None:
    def table(*qps: dict[str, Any]) -> list[str]:
        lines = shown(ring(outcome([], qps=[connection(), *qps]))).splitlines()
        return [" ".join(line.split()) for line in lines[lines.index("Recovery") + 1 :][: 1 + len(qps)]]

    assert table(connection(retransmitted=1200, naks_rx=3, error="retry exceeded")) == [
        "from to packets sent again NAKs error",
        "a1 b1 5,000 1,200 3 retry exceeded",
    ]
    rebuilt = connection(erasure={"blocks": 140, "parity_tx": 560, "blocks_asked": 0, "recovered": 17})
    assert table(rebuilt, connection(rnr_naks_rx=2, retransmitted=64, timeouts=1)) == [
        "from to packets sent again rebuilt RNR NAKs timeouts error",
        "a1 b1 5,000 - 17 - - -",
        "a1 b1 5,000 64 - 2 1 -",
    ]
    assert "Recovery" not in shown(ring(outcome([], qps=[connection()])))


def test_names_in_brackets_are_not_markup() -> None:
    wanted = outcome([], ports={"[red]x:eth1": {"rate_bps": 1, "priorities": {"3": counters(pause_tx=1)}}})
    assert "[red]x:eth1" in shown(ring(wanted))


@pytest.mark.parametrize(
    ("time_ns", "text"), [(0, "0 ns"), (999, "999 ns"), (1000, "1.00 us"), (391_760.5, "391.76 us"), (2e9, "2.00 s")]
)
def test_times(time_ns: float, text: str) -> None:
    assert format_ns(time_ns) == text


@pytest.mark.parametrize(
    ("length", "text"), [(999, "999 B"), (4222, "4.22 kB"), (10**7, "10.00 MB"), (2**30, "1.07 GB")]
)
def test_lengths(length: int, text: str) -> None:
    assert format_bytes(length) == text


def test_energy_by_profile_and_of_the_run() -> None:
    links = [PoweredLink(f"a{n} - leaf", "400g-dr4", 8, 400 * 10**9, 10**6) for n in (1, 2)]
    links.append(PoweredLink("leaf - spine", "microled-800g", 4.2, 798 * 10**9, 0))
    prices = Prices.model_validate({"capex-per-end": {"400g-dr4": 1000}, "lifetime-years": 5, "energy-per-kwh": 0.2})
    for given, costs in ((None, ("", "", "")), (prices, ("0.1356", "-", "-"))):
        energy = energy_of_run(links, 10**9, 10**6, given)
        facts = RunFacts("lab", 7, "virtual", 1, "", "all_reduce", "ring", ranks=2, energy=energy)
        lines = [line.split() for line in shown(assemble(facts, outcome([]))).splitlines()]
        rows = [line for line in lines if line and line[0] in ("400g-dr4", "microled-800g", "run")]
        expected = [
            ["400g-dr4", "2", "32", "W", "20", "pJ/bit", "1.6e+04", "pJ/bit", "0.032", "J"],
            ["microled-800g", "1", "8.4", "W", "5.26", "pJ/bit", "-", "0.0084", "J"],
            ["run", "3", "40.4", "W", "12.6", "pJ/bit", "4.04e+04", "pJ/bit", "0.0404", "J"],
        ]
        assert rows == [[*row, *([cost] if cost else [])] for row, cost in zip(expected, costs, strict=True)]


def test_buffers_are_listed_the_fullest_first() -> None:
    marks = {
        "idle": {"buffer_bytes_max": 0},
        "leaf": {"buffer_bytes_max": 1_060_000, "shared_bytes_max": 800_000, "headroom_bytes_max": 260_000},
        "spine": {"buffer_bytes_max": 4_000_000, "shared_bytes_max": 4_000_000, "lossy_bytes_max": 900_000},
    }
    text = shown(ring(outcome([], pools=marks)))
    assert (
        text[text.index("Buffers") :].partition("\n\n")[0]
        == """\
Buffers
switch  most held  below thresholds   headroom      lossy
spine     4.00 MB           4.00 MB          -  900.00 kB
leaf      1.06 MB         800.00 kB  260.00 kB          -"""
    )
