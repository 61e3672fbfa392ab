"""One lab on two machines: two agents in network namespaces of their own, a mosquitto, and a network between them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed.agent import local
from testbed.bus import mosquitto
from testbed.run.result import RunResult
from testbed.timeseries import Key, TimeSeries, read
from testbed.units import fibre_delay_ps, parse_length
from tests.live.machine import Machine, private_machine, wait_for

pytestmark = [pytest.mark.usefixtures("require_root"), pytest.mark.timeout(240)]

ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2"}
PORT = 21884
UNDERLAY_MTU = 9000
DILATION = "3000"
SETTINGS = ("--set", "workload.ranks=[a1,b1,a2,b2]", "--set", "workload.in-place=false")
CROSSING = ("all_reduce", "-t", "two-dc", *SETTINGS, "-b", "1M", "-e", "1M")
SPLIT = """
name: split
topology:
  nodes:
    a1: {kind: host, agent: a}
    a2: {kind: host, agent: a}
    b1: {kind: host, agent: b}
    leaf: {kind: switch, agent: b}
  links:
    - endpoints: [a1:eth1, leaf:eth1]
    - {endpoints: [a2:eth1, leaf:eth2], length: LENGTH}
    - endpoints: [b1:eth1, leaf:eth3]
"""


class Site:
    """Two machines, an agent on each, and a controller on the first."""

    def __init__(self, machines: dict[str, Machine], broker: Path) -> None:
        self.machines = machines
        self._broker = broker
        self.agents: dict[str, subprocess.Popen[str]] = {}

    def options(self, user: str) -> list[str]:
        url = f"mqtts://{ADDRESSES['a']}:{PORT}"
        credentials = self._broker / f"{user}.credentials"
        return ["--broker", url, "--credentials", str(credentials), "--ca", str(self._broker / "ca.pem")]

    def start(self, agent: str) -> None:
        """Start an agent and wait until it answers."""
        arguments = [*self.options(agent), "agent", "--name", agent, "--underlay", ADDRESSES[agent]]
        self.agents[agent] = self.machines[agent].start(*arguments)
        wait_for(lambda: self.run("inspect", agent=agent).returncode == 0)

    def begin(self, *arguments: str, agent: str = "a,b") -> subprocess.Popen[str]:
        return self.machines["a"].start(*self.options("controller"), "--agent", agent, *arguments)

    def run(self, *arguments: str, agent: str = "a,b") -> subprocess.CompletedProcess[str]:
        return self.machines["a"].run(*self.options("controller"), "--agent", agent, *arguments)

    def ok(self, *arguments: str, agent: str = "a,b") -> str:
        done = self.run(*arguments, agent=agent)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def measure(self, *arguments: str) -> tuple[int, RunResult]:
        """Run an experiment under the real clock; return the exit code and the result."""
        arguments = ("run", *arguments, "--clock", "real", "--dilation", DILATION, "--format", "json")
        done = self.machines["a"].run_carried(*self.options("controller"), "--agent", "a,b", *arguments)
        assert done.stdout, done.stderr
        return done.returncode, RunResult.model_validate_json(done.stdout)

    def set_mtu(self, mtu_bytes: int, *agents: str) -> None:
        for agent in agents or self.machines:
            self.machines[agent].ip("link", "set", "under", "mtu", str(mtu_bytes))


@contextmanager
def joined(machines: dict[str, Machine]) -> Iterator[None]:
    """Join two machines by a veth pair."""
    one, two = (str(machine.holder) for machine in machines.values())
    ends = ["under", "netns", one, "type", "veth", "peer", "name", "under", "netns", two]
    subprocess.run(["ip", "link", "add", *ends], check=True)
    for agent, machine in machines.items():
        machine.ip("address", "add", f"{ADDRESSES[agent]}/24", "dev", "under")
        machine.ip("link", "set", "under", "up", "mtu", str(UNDERLAY_MTU))
        machine.ip("link", "set", "lo", "up")
    yield


@pytest.fixture(scope="module")
def site(require_root: None, repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        machines = {
            agent: stack.enter_context(private_machine(repo_root, tmp_path_factory.mktemp(agent), network=True))
            for agent in ADDRESSES
        }
        stack.enter_context(joined(machines))
        directory = Path(tempfile.mkdtemp(prefix="tb-broker-"))
        users = [part for agent in ADDRESSES for part in ("--agent", agent)]
        listener = ["--bind", "0.0.0.0", "--port", str(PORT), "--host", ADDRESSES["a"]]
        machines["a"].ok("broker", "up", "--dir", str(directory), *listener, *users)
        stack.callback(mosquitto.remove, directory)
        two_machines = Site(machines, directory)
        for agent in ADDRESSES:
            two_machines.start(agent)
        yield two_machines
        for process in two_machines.agents.values():
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


@pytest.fixture(autouse=True)
def nothing_is_left(site: Site) -> Iterator[None]:
    yield
    site.ok("destroy", "--all")
    for machine in site.machines.values():
        assert machine.namespaces() == []


def split(directory: Path, length: str = "5m") -> str:
    """Write a lab whose hosts are with one agent each and whose switch is with the second."""
    path = directory / "split.yaml"
    path.write_text(SPLIT.replace("LENGTH", length))
    return str(path)


def inspected(site: Site, lab: str) -> dict[str, Any]:
    (row,) = json.loads(site.ok("inspect", "--name", lab, "--format", "json"))["labs"]
    assert isinstance(row, dict)
    return row


def check_series(result: RunResult, real: TimeSeries | None, exact: TimeSeries | None) -> None:
    """Fail unless the joined series are those of every node, and end where the counters of the run do."""
    assert real is not None and exact is not None and result.time_series is not None
    assert {key for key in real if key.quantity == "bytes_tx"} >= {key for key in exact if key.quantity == "bytes_tx"}
    for key in exact:
        if key.kind == "rank":
            assert real.values(key)[-1] == exact.values(key)[-1], key
    for name, port in result.ports.items():
        for number, counters in port.priorities.items():
            sent = real.values(Key("port", name, int(number), "bytes_tx"))
            assert (int(sent[-1]), len(sent)) == (counters.bytes_tx, result.time_series.points), (name, number)


def test_an_all_reduce_between_two_machines_is_lossless_and_takes_as_long_as_computed(
    site: Site, tmp_path: Path
) -> None:
    series = ("--series", "auto", "--force", "--out")
    code, result = site.measure(*CROSSING, "--keep", *series, str(tmp_path / "real"))
    assert (code, result.verdict.reasons) == (0, [])
    assert result.verdict.lossless and result.verdict.correct
    exact = RunResult.model_validate_json(
        site.machines["a"].ok(
            "run", *CROSSING, "--clock", "virtual", "--format", "json", *series, str(tmp_path / "exact")
        )
    )
    check_series(result, read(tmp_path / "real"), read(tmp_path / "exact"))
    for real, virtual in zip(result.collective.rows, exact.collective.rows, strict=True):
        assert real.time_us == pytest.approx(virtual.time_us, rel=0.05)
    assert result.ports.keys() == exact.ports.keys()
    flows = {(flow.src, flow.dst): flow for flow in exact.flows}
    for flow in result.flows:
        assert flow.completion_ns is not None
        same = flows[flow.src, flow.dst]
        assert flow.bytes == same.bytes
        assert flow.completion_ns == pytest.approx(same.completion_ns, rel=0.05)
    fidelity = result.fidelity
    assert fidelity is not None
    # 1 µs at 100G, which is what frames may be late.
    assert fidelity["apart_ns"] < 1_000 and fidelity["lost_between"] == {}
    assert [(clock["agent"], clock["other"]) for clock in fidelity["clocks"]] == [("a", "b"), ("b", "a")]
    for clock in fidelity["clocks"]:
        # They share this machine's clock.
        assert abs(clock["offset_ns"]) <= clock["round_trip_ns"]
    row = inspected(site, "two-dc")
    assert row["placement"] == {
        node: "b" if node in ("b1", "b2", "border-b", "leaf-b") else "a" for node in row["nodes"]
    }
    assert (row["state"], len(row["nodes"]), len(row["links"])) == ("running", 8, 7)
    assert all(health["state"] == "healthy" for health in row["health"].values())


def test_pauses_stop_hosts_on_another_machine_and_kernels_talk_across(site: Site, tmp_path: Path) -> None:
    lab = split(tmp_path)
    incast = ("incast", "-t", lab, "-b", "2M", "-e", "2M", "--set", "workload.ranks=[b1,a1,a2]")
    code, result = site.measure(*incast, "--keep")
    assert (code, result.verdict.reasons) == (0, [])
    for host in ("a1", "a2"):
        pauses = result.ports[f"{host}:eth1"].priorities["3"].pause_rx
        assert pauses > 0
        assert pauses == result.ports[f"leaf:eth{host[1]}"].priorities["3"].pause_tx
    # Each host is known by its name, whichever agent has it.
    ping = site.machines["a"].ok("exec", "--name", "split", "a1", "ping", "-c", "2", "-W", "10", "b1")
    assert "2 received" in ping


def test_a_lab_of_two_agents_is_changed_in_place(site: Site, tmp_path: Path) -> None:
    site.ok("deploy", "-t", split(tmp_path), "--dilation", DILATION)
    assert "was up already" in site.ok("deploy", "-t", split(tmp_path), "--dilation", DILATION)
    changed = json.loads(site.ok("deploy", "-t", split(tmp_path, "2km"), "--dilation", DILATION, "--format", "json"))
    assert ("link", "a2:eth1 - leaf:eth2") in [(row["kind"], row["name"]) for row in changed["changes"]]
    rows = json.loads(site.ok("impair", "show", "--name", "split", "leaf:eth2", "--format", "json"))["directions"]
    delay_ns = fibre_delay_ps(parse_length("2km")) / 1000
    assert {row["from"]: row["configured"]["delay_ns"] for row in rows} == {"a2:eth1": delay_ns, "leaf:eth2": delay_ns}
    site.ok("impair", "set", "--name", "split", "a1:eth1", "--delay", "7us")
    rows = json.loads(site.ok("impair", "show", "--name", "split", "leaf:eth1", "--format", "json"))["directions"]
    assert [row["configured"]["delay_ns"] for row in rows] == [7_000.0, 7_000.0]


def test_a_network_with_too_small_packets_is_refused_by_all(site: Site, tmp_path: Path) -> None:
    site.set_mtu(4_000)
    try:
        refused = site.run("deploy", "-t", split(tmp_path), "--dilation", DILATION)
    finally:
        site.set_mtu(UNDERLAY_MTU)
    assert refused.returncode == 3
    assert "its MTU of 4200 bytes needs 4250 on the way to 10.77.0." in refused.stderr
    for machine in site.machines.values():
        assert machine.namespaces() == [], "one agent built its part though the other could not"


def test_frames_that_are_lost_between_machines_are_counted_and_not_trusted(site: Site, tmp_path: Path) -> None:
    lab = split(tmp_path)
    site.ok("deploy", "-t", lab, "--dilation", DILATION)
    # From now on what a2 sends goes nowhere.
    gone = ("bridge", "fdb", "del", "00:00:00:00:00:00", "dev", "eth1", "dst", ADDRESSES["b"], "self")
    site.machines["a"].ok("exec", "--name", "split", "a2", *gone)
    # One millisecond and two tries, so that the connections give up soon.
    settings = (
        "--set",
        "transport.timeout=8",
        "--set",
        "transport.retries=1",
        "--dilation",
        DILATION,
        "--clock",
        "real",
    )
    done = site.run("run", "all_reduce", "-t", lab, "-b", "64K", "-e", "64K", *settings, "--format", "json")
    result = RunResult.model_validate_json(done.stdout)
    assert done.returncode == 4 and not result.verdict.trusted and not result.verdict.complete
    assert result.fidelity is not None
    lost = result.fidelity["lost_between"]
    assert lost.keys() == {"a2:eth1"} and lost["a2:eth1"] > 0
    assert (
        f"untrusted: frames lost between machines on their way from a2:eth1 is {lost['a2:eth1']}, more than 0"
        in result.verdict.reasons
    )
    # Each of them is accounted for: none is missing, and none is taken for one that the fabric dropped.
    assert not [reason for reason in result.verdict.reasons if "invariant" in reason or "not lossless" in reason]


def test_an_agent_that_is_killed_ends_the_run_for_all_and_leaves_no_one_waiting(site: Site) -> None:
    site.ok("deploy", "-t", "two-dc", "--dilation", DILATION)
    run = site.begin("run", *CROSSING[:-4], "-b", "64M", "-e", "64M", "--clock", "real", "--dilation", DILATION)
    wait_for(
        lambda: any(row.get("busy") for row in json.loads(site.ok("inspect", "--format", "json", agent="b"))["labs"])
    )
    (pid,) = broker_agents(site, "b")
    os.kill(pid, signal.SIGKILL)
    site.agents["b"].communicate(timeout=60)
    _, errors = run.communicate(timeout=60)
    assert (run.returncode, "agent b went away" in errors, "Traceback" in errors) == (3, True, False), errors
    wait_for(
        lambda: (
            not any(row.get("busy") for row in json.loads(site.ok("inspect", "--format", "json", agent="a"))["labs"])
        )
    )
    site.start("b")
    code, result = site.measure(*CROSSING)
    assert (code, result.verdict.reasons) == (0, [])


def broker_agents(site: Site, agent: str) -> list[int]:
    """Return the process of an agent: the one that stands at the end of what started it."""
    pid = site.agents[agent].pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert local.start_ticks(pid) is not None
    return [int(child) for child in children] or [pid]
