"""Settings without effect are said: before a run, in its report, and in run.json."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from testbed import topologies
from testbed.buffers.queues import deepest_queue
from testbed.experiment.file import load_experiment, new_experiment
from testbed.lab.topology import load_lab
from testbed.run.trial import Trial

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
FOUR = "incast:senders=4"
DCQCN = "transport.congestion-control=dcqcn"
MARKS = "lossless.ecn={kmin: 5KB, kmax: 200KB, pmax: 1%}"


def told(lab: str, *settings: str, collective: str = "incast") -> dict[str, str]:
    experiment = new_experiment(lab, collective).with_overrides(settings)
    return {hint.key: hint.text for hint in Trial(experiment, load_lab(lab)).hints}


def run(call_testbed: Cli, lab: str, *settings: str) -> tuple[Any, str]:
    """Run an incast of 1 MiB; return run.json and what stood on standard error."""
    options = [option for setting in settings for option in ("--set", setting)]
    sizes = ("-b", "1M", "-e", "1M", "--set", "workload.payload=false", "--clock", "virtual", "--format", "json")
    done = call_testbed("run", "incast", "-t", lab, *sizes, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_marks_that_no_queue_reaches_are_reported(call_testbed: Cli) -> None:
    """Four senders behind an XOFF of 100 KB each: their queue never comes to the 1 MiB of SONiC's kmin."""
    result, stderr = run(call_testbed, FOUR, "lossless.ecn=sonic")
    (hint,) = result["hints"]
    assert hint["key"] == "lossless.ecn"
    assert (
        "1,048,576 bytes" in hint["text"] and "nothing is marked" in hint["text"] and "behind 4 ports" in hint["text"]
    )
    assert f"note: lossless.ecn: {hint['text']}" in stderr
    # And it is so.
    assert sum(port["priorities"]["3"]["ecn_marked"] for port in result["ports"].values()) == 0


def test_what_a_queue_can_hold_is_not_exceeded(call_testbed: Cli) -> None:
    trial = Trial(new_experiment(FOUR, "incast").with_overrides(["lossless.ecn=sonic"]), load_lab(FOUR))
    reach = deepest_queue(trial.plan, 3, trial.pairs)
    assert reach is not None and (reach.port, reach.inputs, reach.unpaused_bytes) == ("leaf:eth1", 4, 400_000)
    result, _ = run(call_testbed, FOUR, "lossless.ecn=sonic")
    held = result["ports"][reach.port]["priorities"]["3"]["queue_bytes_max"]
    assert reach.unpaused_bytes < held <= reach.most_bytes


def test_queues_are_not_looked_for_where_nothing_marks() -> None:
    """Which they are is a pass over the links to each receiver: no table of a switch is asked."""
    trial = Trial(new_experiment(FOUR, "incast"), load_lab(FOUR))
    with mock.patch("testbed.buffers.queues.tables_of", side_effect=AssertionError):
        assert deepest_queue(trial.plan, 3, trial.pairs) is None
    marked = Trial(new_experiment(FOUR, "incast").with_overrides([MARKS]), load_lab(FOUR))
    assert deepest_queue(marked.plan, 3, marked.pairs) is not None


def test_congestion_control_without_enough_in_a_queue_says_how_much_was_missing(call_testbed: Cli) -> None:
    """The 1 MiB of SONiC's kmin beside the queue of four senders, which are paused before."""
    result, stderr = run(call_testbed, FOUR, "lossless.ecn=sonic", DCQCN)
    text = {hint["key"]: hint["text"] for hint in result["hints"]}["transport.congestion-control"]
    held = result["ports"]["leaf:eth1"]["priorities"]["3"]["queue_bytes_max"]
    expected = f"no frame was marked; the fullest queue, at leaf:eth1, held {held / 1000:.0f} KB of kmin 1MiB"
    assert text == f"DCQCN never acted: {expected}" and f"note: transport.congestion-control: {text}" in stderr


def test_pauses_that_come_before_marks_are_reported() -> None:
    """The simulator's kmin is 400 KB at 100G, which is what four ports hold at the default XOFF."""
    assert "pauses come before marks" in told(FOUR, "lossless.ecn=hpcc-ns3")["lossless.ecn"]
    assert "lossless.ecn" not in told(FOUR, "lossless.ecn=hpcc-ns3", "lossless.xoff=400KB")
    assert "lossless.ecn" not in told(FOUR, MARKS)


def test_a_shared_pool_and_a_lossy_queue_have_limits_of_their_own(tmp_path: Path) -> None:
    assert "lossless.ecn" not in told(FOUR, "lossless.ecn=hpcc-ns3", "lossless.pfc=false")
    assert "nothing is marked" in told(FOUR, "lossless.ecn=sonic", "lossless.pfc=false")["lossless.ecn"]
    file = tmp_path / "pool.yaml"
    links = "\n".join(f'    - {{endpoints: ["h{n}:eth1", "s:eth{n}"]}}' for n in (1, 2, 3))
    hosts = "\n".join(f"    h{n}: {{kind: host}}" for n in (1, 2, 3))
    switch = "    s: {kind: switch, buffer: auto, pool: 1MB, thresholds: {alpha: 1/8}}"
    file.write_text(f"name: pool\ntopology:\n  nodes:\n{hosts}\n{switch}\n  links:\n{links}\n")
    # Two groups at 1/8 settle at a fifth of the pool.
    trial = Trial(new_experiment(str(file), "incast").with_overrides([MARKS]), load_lab(str(file)))
    reach = deepest_queue(trial.plan, 3, trial.pairs)
    assert reach is not None and reach.unpaused_bytes == 200_000


@pytest.mark.parametrize("minimum", ["100G", "150G"])
def test_a_minimum_that_is_not_below_the_line_is_reported(minimum: str) -> None:
    key = "transport.dcqcn.minimum"
    assert "no cut slows" in told(FOUR, MARKS, DCQCN, f"{key}={minimum}")[key]
    assert key not in told(FOUR, MARKS, DCQCN, f"{key}=99G")
    # A set of parameters can say it too.
    assert key in told("incast:senders=2,rate=1G", MARKS, DCQCN, "transport.dcqcn=hpcc-ns3")


def test_congestion_control_that_never_acted_is_reported(call_testbed: Cli) -> None:
    marks = "lossless.ecn={kmin: 300KB, kmax: 390KB, pmax: 1%}"
    idle, stderr = run(call_testbed, "incast:senders=1", marks, DCQCN, "lossless.xoff=400KB")
    texts = {hint["key"]: hint["text"] for hint in idle["hints"]}
    assert re.fullmatch(
        r"DCQCN never acted: no frame was marked; the fullest queue, at leaf:eth1, held \d+ KB of kmin 300KB",
        texts["transport.congestion-control"],
    )
    assert texts["lossless.ecn"] == texts["transport.congestion-control"].removeprefix("DCQCN never acted: ")
    held = idle["ports"]["leaf:eth1"]["priorities"]["3"]["queue_bytes_max"]
    assert f"held {held / 1000:.0f} KB" in texts["lossless.ecn"]
    assert "DCQCN never acted" in stderr
    busy, _ = run(call_testbed, FOUR, MARKS, DCQCN)
    assert busy["hints"] == []


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("transport.dcqcn", ("transport.dcqcn=paper",)),
        ("transport.erasure", ("transport.erasure.data=16",)),
        ("transport.chunk", ("transport.chunk=128KiB",)),
        ("transport.chunk", ("transport.recovery=erasure", "transport.chunk=128KiB")),
        ("transport.rnr-timer", ("transport.rnr-timer=3",)),
        ("transport.rnr-retries", ("transport.verb=send", "transport.rnr-retries=2")),
        ("lossless.credits", ("lossless.credits=1MB",)),
        ("lossless.watchdog", ("lossless.watchdog=true", "lossless.pfc=false")),
        ("lossless.watchdog", ("lossless.watchdog.detection=1ms", "lossless.flow-control=credit")),
        ("lossless.headroom", ("lossless.headroom=1MB", "lossless.pfc=false")),
        ("lossless.xoff", ("lossless.xoff=1MB", "lossless.flow-control=none")),
        ("lossless.response", ("lossless.response=1us", "lossless.pfc=false")),
        ("lossless.small-share", ("lossless.small-share=50",)),
        ("emulation", ("emulation=netem",)),
        ("dilation", ("dilation=5",)),
        ("prices", ("prices.capex-per-end=1", "prices.lifetime-years=1", "prices.energy-per-kwh=1")),
        ("workload.redop", ("workload.redop=sum",)),
        ("workload.stepfactor", ("workload.stepfactor=4",)),
        ("workload.slice", ("workload.slice=64KiB",)),
    ],
)
def test_settings_that_nothing_reads_are_reported(key: str, settings: tuple[str, ...]) -> None:
    assert "no effect" in told(FOUR, *settings)[key]


@pytest.mark.parametrize(
    ("settings", "collective"),
    [
        ((), "incast"),
        ((), "all_reduce"),
        (("transport.recovery=erasure", "transport.erasure.data=16"), "incast"),
        (("transport.recovery=timer", "transport.chunk=128KiB"), "incast"),
        (("transport.verb=send", "transport.receive-queue=posted", "transport.rnr-timer=3"), "incast"),
        (("lossless.flow-control=credit", "lossless.credits=1MB"), "incast"),
        (("lossless.watchdog=true", "lossless.headroom=1MB", "lossless.xoff=1MB", "lossless.response=1us"), "incast"),
        (("lossless.watchdog=false", "lossless.pfc=false"), "incast"),
        (("workload.redop=sum",), "all_reduce"),
        (("workload.slice=64KiB",), "broadcast"),
        (("workload.minbytes=1K", "workload.maxbytes=4K", "workload.stepfactor=4"), "incast"),
        (("clock=real", "dilation=5", "emulation=netem"), "incast"),
    ],
)
def test_settings_that_something_reads_are_not_reported(settings: tuple[str, ...], collective: str) -> None:
    assert told(FOUR, *settings, collective=collective) == {}


LAB = """
name: idle
topology:
  nodes:
    a: {kind: host}
    b: {kind: host, nic: {drain: 50G, buffer: 2MB, xoff: 1MB}}
    s: {kind: switch, buffer: auto, cell: 208, thresholds: {alpha: 1/8, headroom: 100KB, small-share: 50}, watchdog: true}
  links:
    - {endpoints: ["a:eth1", "s:eth1"], credits: 1MB}
    - {endpoints: ["b:eth1", "s:eth2"], profile: 800g-dr8, length: 20m, ber: 1e-4, loss: 1e-3}
"""


def test_settings_of_a_lab_that_nothing_reads_are_reported(tmp_path: Path, call_testbed: Cli) -> None:
    file = tmp_path / "idle.yaml"
    file.write_text(LAB)
    always = {"topology.links.credits", "topology.links.ber", "topology.nodes.thresholds.small-share"}
    assert told(str(file)).keys() == always
    assert told(str(file), "lossless.xoff=1MB").keys() == {*always, "topology.nodes.thresholds.alpha"}
    without = told(str(file), "lossless.pfc=false")
    assert without.keys() == {*always, "topology.nodes.nic", "topology.nodes.watchdog"}
    shown = json.loads(call_testbed("validate", "--explain", str(file), "--format", "json").stdout)["files"][0]
    assert {hint["key"] for hint in shown["hints"]} == always


@pytest.mark.parametrize("name", sorted(topologies.experiments()))
def test_shipped_experiments_have_no_idle_settings(name: str) -> None:
    experiment = load_experiment(topologies.experiments()[name])
    assert Trial(experiment, load_lab(experiment.topology)).hints == []


def test_the_report_names_them(call_testbed: Cli) -> None:
    options = ("-b", "64K", "--clock", "virtual", "--set", "transport.rnr-timer=3")
    text = call_testbed("run", "incast", "-t", "incast:senders=2", *options).stdout
    assert "Settings without effect" in text and "transport.rnr-timer" in text
