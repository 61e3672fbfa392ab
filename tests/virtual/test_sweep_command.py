"""Sweeps: the same rows however many processes run them, each repeatable alone, and one that cannot run fails no other."""

import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed import topologies
from testbed.errors import HostError
from testbed.experiment.axes import axes_of
from testbed.experiment.file import load_experiment
from testbed.study import parallel
from testbed.study.combinations import combine

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = ("sweep", "incast", "-t", "two-dc", "--set", "workload.size=64KiB", "--format", "json")
RECOVERY = "transport.recovery=go-back-n,selective-repeat"
GO_BACK = {"transport.recovery": "go-back-n"}
SELECTIVE = {"transport.recovery": "selective-repeat"}


@pytest.fixture
def testbed(call_testbed: Cli) -> Cli:
    """Run testbed in this process, and so do its sweeps."""
    return lambda *arguments: call_testbed(*arguments, *(() if "--jobs" in arguments else ("--jobs", "1")))


def document(completed: "subprocess.CompletedProcess[str]") -> Any:
    return json.loads(completed.stdout)


def test_rows_are_the_same_for_any_number_of_processes_and_can_be_repeated(
    testbed: Cli, call_testbed: Cli, tmp_path: Path
) -> None:
    over = ("--over", "topology.length=1km,80km", "--over", RECOVERY, "--over", "topology.loss=0,1%", "--seed", "5")
    alone = testbed(*SMALL, *over, "--jobs", "1", "--out", "alone")
    together = testbed(*SMALL, *over, "--jobs", "3", "--out", "together")
    assert alone.returncode == together.returncode == 0, alone.stderr + together.stderr
    one, three = document(alone), document(together)
    assert one.pop("replay") != three.pop("replay") and one == three
    assert [tuple(row["settings"].values()) for row in one["rows"]] == [
        (length, recovery, loss)
        for length in ("1km", "80km")
        for recovery in ("go-back-n", "selective-repeat")
        for loss in ("0", "1%")
    ]
    assert all(row["figures"]["share_of_ideal"] > 0 for row in one["rows"])
    assert {row["figures"]["drops"]["link"] > 0 for row in one["rows"] if row["settings"]["topology.loss"] == "1%"} == {
        True
    }
    written = json.loads((tmp_path / "alone" / "sweep.json").read_text())
    assert written["rows"] == one["rows"]
    kept = json.loads((tmp_path / "together" / "row-7" / "run.json").read_text())
    assert kept["event_log_hash"] == one["rows"][7]["event_log_hash"]
    repeated = call_testbed(*shlex.split(one["rows"][7]["replay"])[1:], "--format", "json")
    assert document(repeated)["event_log_hash"] == one["rows"][7]["event_log_hash"]


SHALLOW = """\
name: shallow
topology:
  nodes: {a1: {kind: host}, b1: {kind: host}, leaf: {kind: switch, buffer: 3MB}}
  links: [{endpoints: ["a1:eth1", "leaf:eth1"]}, {endpoints: ["b1:eth1", "leaf:eth2"], length: 80km}]
"""


def test_a_combination_that_cannot_run_is_a_row_with_the_reason(testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "shallow.yaml").write_text(SHALLOW)
    done = testbed(*SMALL, "--over", "topology=two-dc,shallow.yaml", "--over", "transport.mtu=4096,9000")
    assert done.returncode == 1
    rows = document(done)["rows"]
    assert [row["verdict"] for row in rows] == ["passed", "invalid", "invalid", "invalid"]
    assert rows[1]["reasons"] == ['--set: transport.mtu: "9000" is not 1024, 2048 or 4096']
    assert "shallow" in rows[2]["reasons"][0] and "eth2 priority 3" in rows[2]["reasons"][0]
    assert rows[2]["figures"] is None and rows[0]["reasons"] == []
    assert "-t shallow.yaml" in rows[2]["replay"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--over", "transport.mtuu=1,2"), 'did you mean "mtu"'),
        (("--over", "topology.lenth=1km"), 'two-dc has no parameter "lenth"'),
        (("--over", "transport.mtu=1,2"), "no combination can be run"),
        (("--over", "seed=1,2", "--seed", "3"), "seed is given and also varied"),
        (("--over", "workload.size=1K,2K"), "workload.size is given and also varied"),
        ((), "nothing varies"),
        (("--over", RECOVERY, "--best-by", "transport.mtu"), 'nothing varies "transport.mtu"'),
    ],
)
def test_bad_usage_runs_nothing(testbed: Cli, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = testbed(*SMALL, *arguments)
    assert done.returncode == 2 and message in done.stderr and done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_losing_frames_is_a_finding_and_fails_where_it_is_not_expected(testbed: Cli, tmp_path: Path) -> None:
    options = ("--over", "lossless.pfc=true,false", "--set", "workload.size=1M", "--set", "workload.payload=false")
    lossy = testbed("sweep", "incast", "-t", "incast", *options, "--format", "json")
    assert lossy.returncode == 0, lossy.stderr
    assert [row["verdict"] for row in document(lossy)["rows"]] == ["passed", "lossy"]
    strict = testbed(
        "sweep", "incast", "-t", "incast", *options, "--set", "expect=[drops.lossless == 0]", "--format", "json"
    )
    assert strict.returncode == 1
    rows = document(strict)["rows"]
    assert [row["verdict"] for row in rows] == ["passed", "failed"]
    assert any("expectation failed: drops.lossless == 0" in reason for reason in rows[1]["reasons"])


def test_csv_and_table_say_what_the_document_says(testbed: Cli) -> None:
    over = ("--over", RECOVERY, "--over", "lossless.pfc=true,false", "--best-by", "lossless.pfc")
    sweep = document(testbed(*SMALL, *over))
    lines = list(csv.DictReader(io.StringIO(testbed(*SMALL[:-1], "csv", *over).stdout)))
    assert [float(line["busbw_gbytes_per_s"]) for line in lines] == [
        row["figures"]["busbw_gbytes_per_s"] for row in sweep["rows"]
    ]
    assert [line["transport.recovery"] for line in lines] == [
        row["settings"]["transport.recovery"] for row in sweep["rows"]
    ]
    assert lines[0]["replay"] == sweep["rows"][0]["replay"] and lines[0]["drops_lossless"] == "0"
    table = testbed(*SMALL[:-1], "table", *over).stdout
    assert "4 runs, lab two-dc, seed 1" in table and "Where each wins" in table
    assert table.count("selective-repeat") >= 2 and "pauses" not in table  # nothing was paused


def test_the_shipped_sweep_shows_where_each_recovery_wins(testbed: Cli) -> None:
    """At 1 km any will do; 300 km with one frame in ten thousand lost are too much for go-back-N."""
    shorter = ("--over", "topology.length=1km,300km", "--set", "workload.size=128MiB", "--set", "topology=two-dc")
    shorter += ("--over", "lossless.flow-control=pfc,none", "--over", RECOVERY)
    done = testbed("sweep", "distance-sweep", *shorter, "--over", "topology.loss=0,1e-4", "--format", "json")
    assert done.returncode == 0, done.stderr
    sweep = document(done)
    best = {tuple(winner["where"].values()): winner for winner in sweep["best"]}
    assert list(best) == [("1km", "0"), ("1km", "1e-4"), ("300km", "0"), ("300km", "1e-4")]
    far = best["300km", "1e-4"]
    assert sweep["rows"][far["row"]]["settings"]["transport.recovery"] == "selective-repeat"
    for row in sweep["rows"]:
        if row["settings"] | GO_BACK == row["settings"] and row["settings"]["topology.length"] == "300km":
            rival = next(other for other in sweep["rows"] if other["settings"] == row["settings"] | SELECTIVE)
            slower = row["figures"]["busbw_gbytes_per_s"] < 0.9 * rival["figures"]["busbw_gbytes_per_s"]
            assert slower or row["settings"]["topology.loss"] == "0"
    for winner in sweep["best"]:
        assert all(
            sweep["rows"][winner["row"]]["figures"]["busbw_gbytes_per_s"] >= row["figures"]["busbw_gbytes_per_s"]
            for row in sweep["rows"]
            if all(row["settings"][key] == value for key, value in winner["where"].items())
        )


def test_the_shipped_sweep_has_every_combination_that_it_promises() -> None:
    experiment = load_experiment(topologies.experiments()["distance-sweep"])
    work = combine(experiment, axes_of(experiment.sweep), lambda topology, settings: topology)
    assert len(work) == 6 * 3 * 3 * 3 and all(item.trial is not None for item in work)


def processes_below(pid: int) -> list[int]:
    pids = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return pids + [lower for child in pids for lower in processes_below(child)]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "start"),
    [(signal.SIGTERM, []), (signal.SIGTERM, ["env", "--ignore-signal=INT"]), (signal.SIGKILL, [])],
    ids=["asked", "asked in the background", "killed"],
)
def test_no_worker_outlives_the_command(number: int, start: list[str], tmp_path: Path) -> None:
    """Asked to end it keeps what was finished and says 130; killed, its workers end by themselves."""
    code = "import sys; from testbed.cli import main; sys.exit(main())"
    long = ("sweep", "distance-sweep", "--set", "workload.size=512MiB", "--jobs", "2", "--out", str(tmp_path / "out"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [*start, sys.executable, "-c", code, *long], env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while len(processes_below(process.pid)) < 3:  # two workers, and the tracker of their resources
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    workers = processes_below(process.pid)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL), said
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _square(number: int) -> int:
    if number == 2:
        raise ValueError("two")
    return number * number


def _vanish(number: int) -> int:
    os._exit(7)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_task_raises_is_its_result(jobs: int) -> None:
    results: dict[int, int | parallel.Defect] = {}
    parallel.run_all(_square, [1, 2, 3], jobs, results.__setitem__)
    defect = results[1]
    assert (results[0], results[2]) == (1, 9) and isinstance(defect, parallel.Defect)
    assert defect.summary == "ValueError: two" and "_square" in defect.details


def test_a_worker_that_vanishes_is_an_error_of_the_machine() -> None:
    with pytest.raises(HostError, match="a worker process ended unexpectedly"):
        parallel.run_all(_vanish, [1, 2], 2, lambda number, result: None)


def test_what_links_consume_is_compared_a_step(testbed: Cli) -> None:
    """Two links of 1.6T: 30 W an end of DR8, 9 W co-packaged, 8.4 W of MicroLED; W/rate is their nominal energy a bit."""
    prices = "prices={capex-per-end: 500, lifetime-years: 5, energy-per-kwh: 0.1}"
    profiles = {"1600g-dr8": 30, "1600g-cpo": 9, "microled-1600g": 8.4}
    axis = f"topology.profile={','.join(profiles)}"
    small = ("sweep", "all_reduce", "-t", "pair", "--set", "workload.size=64KiB", "--set", prices, "--over", axis)
    rows = document(testbed(*small, "--format", "json"))["rows"]
    for row, power_w in zip(rows, profiles.values(), strict=True):
        figures = row["figures"]
        assert figures["watts"] == pytest.approx(4 * power_w)
        assert figures["nominal_pj_per_bit"] == pytest.approx(power_w / 1.6)
        seconds = figures["time_us"] / 1e6
        assert figures["joules_per_step"] == pytest.approx(4 * power_w * seconds)
        purchase = 4 * 500 * seconds / (5 * 365.25 * 86_400)
        assert figures["cost_per_step"] == pytest.approx(purchase + figures["joules_per_step"] / 3.6e6 * 0.1)
    (bare,) = document(testbed(*small[:6], "--over", "seed=1", "--format", "json"))["rows"]
    assert bare["figures"]["watts"] is bare["figures"]["cost_per_step"] is None
    table = testbed(*small).stdout
    assert "pJ/bit" in table and "energy a step" in table and "cost a step" in table
