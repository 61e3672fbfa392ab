"""The agent and its labs in a real system: nothing is left behind, whoever is killed and whenever.

All of it happens in a mount namespace with a /run of its own, so that labs and agents of whoever runs the tests are
neither seen nor touched. Links and processes are compared on the whole machine.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from scapy.layers.inet import IP
from scapy.utils import rdpcap

from testbed.agent import local
from testbed.agent.privileges import KEPT
from tests.captures import read_capture
from tests.live.machine import ATTEMPTS, STATE, Machine, private_machine, wait_for
from tests.live.survival import end

PAIR = ("-t", "pair", "--dilation", "1000")


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one; afterwards insist that nothing is left of it."""
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


def test_a_lab_lives_on_after_its_command_and_until_destroyed(machine: Machine) -> None:
    assert "is up" in machine.ok("deploy", *PAIR)
    assert "was up already" in machine.ok("deploy", *PAIR)
    (lab,) = machine.labs()
    assert (lab["lab"], lab["state"], lab["dilation"], lab["agent"]) == ("pair", "running", 1000, "local")
    hosts = {entry["node"]: entry["ip"] for entry in lab["stations"] if entry["kind"] == "kernel"}
    one, two = sorted(hosts)
    assert "1 received" in machine.ok("exec", "--name", "pair", one, "--", "ping", "-c1", "-W20", hosts[two])
    assert machine.run("exec", "--name", "pair", one, "--", "sh", "-c", "exit 7").returncode == 7
    (after,) = machine.labs()
    assert after["ports"] != lab["ports"]
    assert "is gone" in machine.ok("destroy", "-t", "pair")
    assert machine.namespaces() == []


def test_the_health_of_a_lab_is_reported_and_waited_for(machine: Machine) -> None:
    early = machine.start("wait-for", "--name", "pair")
    machine.ok("deploy", *PAIR)
    said, _ = early.communicate(timeout=100)
    assert (early.returncode, said.startswith("lab pair: healthy after")) == (0, True), said
    machine.ok("exec", "--name", "pair", "a1", "--", "ip", "link", "set", "eth1", "down")
    late = machine.run("wait-for", "--name", "pair", "--timeout", "0s")
    assert (late.returncode, late.stdout) == (
        1,
        "lab pair: not healthy within 0s: a1: eth1 is down; leaf: eth1 has no carrier\n",
    )
    assert "b1 of lab pair: healthy" in machine.ok("wait-for", "--name", "pair", "--node", "b1")
    health = machine.labs()[0]["health"]
    assert {node: state["state"] for node, state in health.items()} == {
        "a1": "unhealthy",
        "b1": "healthy",
        "leaf": "unhealthy",
    }
    machine.ok("destroy", "--name", "pair")
    assert "lab pair: gone" in machine.ok("wait-for", "--name", "pair", "--state", "gone")


def test_a_terminal_shows_how_far_a_lab_is_and_a_pipe_stays_clean(machine: Machine) -> None:
    shown = machine.on_terminal("deploy", *PAIR)
    assert (shown.returncode, "lab pair is up" in shown.stdout) == (0, True), shown.stderr
    phases = [(phase, shown.stderr.find(phase)) for phase in ("namespaces", "links", "interfaces", "data plane")]
    assert all(at >= 0 for _, at in phases) and phases == sorted(phases, key=lambda phase: phase[1])
    assert re.search(r"data plane .*[04]/4", shown.stderr)
    piped = machine.run("redeploy", *PAIR)
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, "lab pair is up, dilation 1000\n", "")
    document = machine.on_terminal("deploy", *PAIR, "--format", "json")
    assert (json.loads(document.stdout)["changed"], document.stderr) == (False, "")


def test_a_run_brings_its_lab_and_takes_it_away(machine: Machine) -> None:
    done = machine.run("run", "all_reduce", *PAIR, "--clock", "real", "-b", "64K", "--format", "json", "--pcap")
    result = json.loads(done.stdout)
    assert (result["clock"], result["collective"]["rows"][0]["wrong"]) == ("real", 0), done.stderr
    assert result["verdict"]["lossless"]
    (capture,) = machine.directory.rglob("capture.pcapng")
    times = [at for at, _ in read_capture(capture)]
    assert len(times) > 16 and times == sorted(times)
    assert done.returncode == (0 if result["verdict"]["trusted"] else 4)
    assert machine.labs() == []


def test_a_run_leaves_a_lab_that_was_there_before(machine: Machine) -> None:
    machine.ok("deploy", *PAIR)
    done = machine.run("run", "all_reduce", *PAIR, "--clock", "real", "-b", "64K", "--format", "json")
    assert json.loads(done.stdout)["collective"]["rows"][0]["wrong"] == 0
    assert [lab["lab"] for lab in machine.labs()] == ["pair"]
    clash = machine.run("deploy", "-t", "pair", "--dilation", "500")
    assert (clash.returncode, "another dilation" in clash.stderr) == (2, True)


def test_interrupting_a_run_destroys_its_lab(machine: Machine) -> None:
    process = machine.start("run", "all_reduce", *PAIR, "--clock", "real", "-b", "64M", "--out", "here")
    wait_for(lambda: any(lab.get("busy") for lab in machine.labs()))
    # nsenter has become Python, so this is the command itself.
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert machine.labs() == []


def test_a_capture_hears_both_directions(machine: Machine, tmp_path: Path) -> None:
    machine.ok("deploy", *PAIR)
    (lab,) = machine.labs()
    hosts = sorted(entry["node"] for entry in lab["stations"] if entry["kind"] == "kernel")
    address = {entry["node"]: entry["ip"] for entry in lab["stations"] if entry["kind"] == "kernel"}
    target = tmp_path / "c.pcapng"
    capture = machine.start("capture", "--name", "pair", f"{hosts[0]}:eth1", "-w", str(target), "--count", "2")
    assert capture.stderr is not None and "listening" in capture.stderr.readline()
    machine.ok("exec", "--name", "pair", hosts[0], "--", "ping", "-c1", "-W20", address[hosts[1]])
    assert capture.wait(60) == 0
    assert [(packet[IP].src, packet[IP].dst) for packet in rdpcap(str(target))] == [
        (address[hosts[0]], address[hosts[1]]),
        (address[hosts[1]], address[hosts[0]]),
    ]
    capture.communicate()


def test_a_killed_agent_leaves_a_broken_lab_that_can_be_deployed_again(machine: Machine) -> None:
    machine.ok("deploy", *PAIR)
    (agent,) = machine.agents()
    end(agent.pid)
    assert [(lab["lab"], lab["state"]) for lab in machine.labs()] == [("pair", "broken")]
    machine.ok("deploy", *PAIR)
    assert [lab["state"] for lab in machine.labs()] == ["running"]


def test_a_hanging_agent_does_not_stop_destroy_all(machine: Machine) -> None:
    machine.ok("deploy", *PAIR)
    (agent,) = machine.agents()
    os.kill(agent.pid, signal.SIGSTOP)


def test_destroy_all_leaves_what_is_not_ours(machine: Machine) -> None:
    machine.ok("deploy", *PAIR)
    stranger = "testbed-pair-stranger"  # named like ours, without our label
    subprocess.run(["nsenter", f"--mount=/proc/{machine.holder}/ns/mnt", "ip", "netns", "add", stranger], check=True)
    machine.ok("destroy", "--all")
    assert machine.namespaces() == [stranger]
    subprocess.run(["nsenter", f"--mount=/proc/{machine.holder}/ns/mnt", "ip", "netns", "del", stranger], check=True)


def test_an_agent_keeps_the_capabilities_that_it_needs_and_no_other(machine: Machine) -> None:
    machine.ok("deploy", *PAIR)
    (agent,) = machine.agents()
    kept = f"{sum(1 << bit for bit in KEPT.values()):016x}"
    nothing = f"{0:016x}"
    for task in Path(f"/proc/{agent.pid}/task").iterdir():
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
        sets = {key: status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        assert sets == {"CapInh": nothing, "CapPrm": kept, "CapEff": kept, "CapBnd": kept, "CapAmb": nothing}
        assert status["NoNewPrivs"] == "1"


def test_the_helpers_see_what_they_should(machine: Machine) -> None:
    """The checks of cleanliness would be worth nothing if they saw nothing: here there is something to see."""
    machine.ok("deploy", *PAIR)
    assert len(machine.agents()) == 1
    assert all(re.fullmatch(r"testbed-pair-.+", name) for name in machine.namespaces())
    assert len(machine.namespaces()) >= 3
    assert "agent.json" in machine.state_files()


def ends_of_runs(machine: Machine) -> list[float]:
    """Return when runs ended before their time, by the agent's log, in seconds since 1970."""
    log = local.log_path(Path(f"/proc/{machine.holder}/root{STATE}"))
    lines = [line for line in log.read_text().splitlines() if line.endswith("has ended before its time")]
    return [datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp() for line in lines]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, None])
def test_an_ended_run_ends_on_the_agent_within_a_second_and_its_lab_stays(
    machine: Machine, number: signal.Signals | None
) -> None:
    machine.ok("deploy", *PAIR)
    took_s: list[float] = []
    # A machine may stand still for a second for reasons of its own; not whenever a run is ended.
    while not took_s or (min(took_s) > 1 and len(took_s) < ATTEMPTS):
        process = machine.start(
            "run", "all_reduce", *PAIR, "--clock", "real", "-b", "64M", "--out", f"here-{len(took_s)}"
        )
        wait_for(lambda: machine.labs()[0]["busy"])
        if number is None:
            process.kill()
            process.communicate(timeout=60)
            # What a command takes to start is not the agent's: the same command about another lab takes as long.
            started = time.time()
            assert machine.run("cancel", "--name", "ghost").returncode == 2
            begun = 2 * time.time() - started
            assert machine.ok("cancel", "--name", "pair") == "the run on lab pair was cancelled\n"
        else:
            begun = time.time()
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 130 and "Traceback" not in errors, errors
        # The command has waited for the end, so that there is nothing to wait for any more.
        assert [(lab["state"], lab["busy"]) for lab in machine.labs()] == [("running", False)]
        took_s.append(ends_of_runs(machine)[len(took_s)] - begun)
    assert min(took_s) <= 1, took_s


def test_a_run_whose_command_was_killed_is_cancelled_by_another(machine: Machine) -> None:
    machine.ok("deploy", *PAIR)
    process = machine.start("run", "all_reduce", *PAIR, "--clock", "real", "-b", "64M", "--out", "here")
    wait_for(lambda: machine.labs()[0]["busy"])
    process.kill()
    process.communicate(timeout=60)
    assert machine.labs()[0]["busy"]
    assert machine.ok("cancel", "--name", "pair") == "the run on lab pair was cancelled\n"
    assert not machine.labs()[0]["busy"]
    assert machine.ok("cancel", "--name", "pair") == "no run on lab pair\n"
    ghost = machine.run("cancel", "--name", "ghost")
    assert (ghost.returncode, "no lab ghost is deployed" in ghost.stderr) == (2, True)
