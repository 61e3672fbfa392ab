"""Exports of results, by the command line: what other tools' scripts read, of runs as they are."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
STAR = "clos:spines=1,leaves=1,hosts=4"


def test_flows_end_as_fct_txt_and_as_csv(call_testbed: Cli, tmp_path: Path) -> None:
    """An incast of three: in the order of their ends, slowdowns by the last column near three, and the same rows as CSV."""
    lines = "".join(f"{node} 0 3 100 1000000 2.0\n" for node in (1, 2, 3))
    (tmp_path / "flow.txt").write_text(f"3\n{lines}")
    assert call_testbed("replay", "flow.txt", "-t", STAR, "--out", "r").returncode == 0
    done = call_testbed("export", "fct", "r", "-t", STAR, "--payload", "1000", "--offset", "2s", "-o", "fct.txt")
    assert done.returncode == 0 and "wrote 3 flows; left out nothing" in done.stderr, done.stderr
    rows = [line.split() for line in (tmp_path / "fct.txt").read_text().splitlines()]
    assert sorted(row[0] for row in rows) == ["0b000101", "0b000201", "0b000301"] and {row[1] for row in rows} == {
        "0b000001"
    }
    ends = [int(row[5]) + int(row[6]) for row in rows]
    assert ends == sorted(ends) and ends[-1] > 2 * 10**9
    # Of 1 MB by 48 bytes each 1000, and a round trip over two links of 1 us.
    assert {int(row[7]) for row in rows} == {4160 + 1_048_000 * 8 // 100}
    assert int(rows[-1][6]) / int(rows[-1][7]) == pytest.approx(3, rel=0.1)
    table = list(csv.DictReader(io.StringIO(call_testbed("export", "csv", "r").stdout)))
    assert [(row["src"], row["dst"], row["bytes"]) for row in table] == [(f"h{n}", "h1", "1000000") for n in (2, 3, 4)]


def test_pauses_of_a_capture_are_those_that_ports_counted(call_testbed: Cli, tmp_path: Path) -> None:
    options = ["-t", STAR, "-b", "256K", "-e", "256K", "--set", "lossless.xoff=20kB", "--pcap", "--out", "r"]
    assert call_testbed("run", "incast", *options, "--metrics", "m.txt").returncode == 0
    result = json.loads((tmp_path / "r" / "run.json").read_text())
    received = sum(port["priorities"].get("3", {}).get("pause_rx", 0) for port in result["ports"].values())
    done = call_testbed("export", "pfc", "r/capture.pcapng", "-t", STAR)
    lines = [line.split() for line in done.stdout.splitlines()]
    # Ports count pauses and resumes; hosts have the numbers 0 to 3, and one port.
    assert received == len(lines) > 0 and {line[4] for line in lines} == {"0", "1"}
    assert {(line[1], line[2], line[3]) for line in lines} <= {(str(host), "0", "1") for host in range(4)}
    assert [int(line[0]) for line in lines] == sorted(int(line[0]) for line in lines)
    metrics = (tmp_path / "m.txt").read_text()
    assert metrics == call_testbed("export", "openmetrics", "r").stdout
    counted = re.findall(r"^testbed_pfc_pause_frames_total\{.*\} (\S+)$", metrics, re.M)
    assert sum(map(float, counted)) == received and metrics.endswith("# EOF\n")


def test_series_are_written_a_row_a_change(call_testbed: Cli, tmp_path: Path) -> None:
    command = ("run", "incast", "-t", "incast:senders=2", "-b", "64K", "--no-report")
    assert call_testbed(*command, "--series", "5us", "--out", "r").returncode == 0
    done = call_testbed("export", "csv", "r", "--table", "series")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["kind", "name", "priority", "quantity", "time_ps", "value"]
    assert f"wrote {len(rows)} rows" in done.stderr and {int(row["time_ps"]) % 5_000_000 for row in rows} == {0}
    sent = json.loads((tmp_path / "r" / "run.json").read_text())["ports"][rows[0]["name"]]["priorities"]["3"][
        "bytes_tx"
    ]
    of_port = [
        row for row in rows if (row["name"], row["priority"], row["quantity"]) == (rows[0]["name"], "3", "bytes_tx")
    ]
    assert int(of_port[-1]["value"]) == sent > 0
    done = call_testbed("export", "parquet", "r", "--table", "series", "-o", "s.parquet")
    assert done.returncode == 0, done.stderr
    table = parquet.read_table(tmp_path / "s.parquet")
    assert [{name: str(value) for name, value in row.items()} for row in table.to_pylist()] == rows
    assert call_testbed(*command, "--out", "plain").returncode == 0
    refused = call_testbed("export", "csv", "plain", "--table", "series")
    assert refused.returncode == 2 and "plain: nothing was recorded over time; run with --series auto" in refused.stderr


def test_collectives_are_written_as_nccls_inspector_writes_them(call_testbed: Cli, tmp_path: Path) -> None:
    assert call_testbed("run", "all_reduce", "-t", STAR, "-b", "64K", "-e", "64K", "--out", "r").returncode == 0
    row = json.loads((tmp_path / "r" / "run.json").read_text())["collective"]["rows"][0]
    lines = [json.loads(line) for line in call_testbed("export", "inspector", "r").stdout.splitlines()]
    assert len(lines) == 2 and [line["coll_perf"]["coll_sn"] for line in lines] == [0, 1]
    assert lines[0]["header"] == {"id": "clos", "rank": 0, "n_ranks": 4, "nnodes": 4}
    performance = lines[0]["coll_perf"]
    assert (performance["coll"], performance["coll_msg_size_bytes"]) == ("AllReduce", 65_536)
    assert performance["coll_exec_time_us"] == row["time_us"]
    assert performance["coll_busbw_gbs"] == row["busbw_gbytes_per_s"]
    metrics = call_testbed("export", "openmetrics", "r").stdout
    assert (
        f'collective="AllReduce",message_size="65536",algo_proto="ring_RoCE",call="0"}} {row["time_us"]:.17g}'
        in metrics
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fct", "r", "-t", STAR], "not a result of flows"),
        (["pfc", "r/run.json", "-t", STAR], "not a capture of the testbed"),
        (["pfc", "nothing", "-t", STAR], "cannot read nothing"),
        (["csv", "nothing"], "cannot read nothing"),
    ],
)
def test_what_cannot_be_exported_ends_with_2(
    call_testbed: Cli, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert call_testbed("run", "incast", "-t", STAR, "-b", "4K", "-e", "4K", "--out", "r").returncode == 0
    done = call_testbed("export", *arguments)
    assert done.returncode == 2 and message in done.stderr, done.stderr
