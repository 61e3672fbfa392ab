"""Of several agents on a machine one drives a lab, and the others are told which."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.agent import local
from tests.live.machine import CODE, Machine, private_machine, wait_for

PAIR = ("-t", "pair", "--dilation", "1000")
OTHER_STATE = "/run/another-state"


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one, with a network of its own."""
    with private_machine(repo_root, tmp_path, network=True) as machine:
        machine.ip("link", "set", "lo", "up")
        yield machine


@contextmanager
def agent_on_a_broker(machine: Machine) -> Iterator[tuple[str, ...]]:
    """Run the agent `lab1` on a mosquitto of its own; yield the global options by which commands reach it."""
    port = "21993"
    inside = ["nsenter", f"--mount=/proc/{machine.holder}/ns/mnt", f"--net=/proc/{machine.holder}/ns/net"]
    with subprocess.Popen(
        [*inside, "mosquitto", "-p", port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as broker:
        options = ("--broker", f"mqtt://127.0.0.1:{port}", "--agent", "lab1")
        agent = machine.start("--broker", options[1], "agent", "--name", "lab1", stderr=subprocess.DEVNULL)
        try:
            assert agent.stdout is not None and "agent lab1 is ready" in agent.stdout.readline()
            yield options
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.communicate(timeout=60)
            broker.terminate()


def pings(machine: Machine) -> str:
    return machine.ok("exec", "--name", "pair", "a1", "--", "ping", "-c3", "-i0.2", "-W20", "b1")


def test_a_second_agent_is_refused_the_lab_of_a_living_one(machine: Machine) -> None:
    machine.ok("deploy", *PAIR)
    (owner,) = machine.agents()
    with agent_on_a_broker(machine) as lab1:
        said = f"lab pair is driven by agent local, process {owner.pid} "
        for command in (("deploy", *PAIR), ("destroy", "--name", "pair")):
            refused = machine.run(*lab1, *command)
            assert refused.returncode == 3 and said in refused.stderr, refused.stderr
        (row,) = machine.labs_of(*lab1)
        assert row["state"] == "foreign" and f"process {owner.pid} " in row["owner"]
        assert "destroyed" not in machine.run(*lab1, "destroy", "--all").stdout
        replies = pings(machine)
        assert "3 received" in replies and "duplicates" not in replies
        assert [lab["state"] for lab in machine.labs()] == ["running"]
        # Once its owner is dead, the lab is anybody's.
        os.kill(owner.pid, signal.SIGKILL)
        wait_for(lambda: machine.agents() == [])
        machine.ok(*lab1, "deploy", *PAIR)
        assert [lab["state"] for lab in machine.labs_of(*lab1)] == ["running"]
        refused = machine.run("destroy", "--all")
        assert (refused.returncode, "lab pair stays: it is driven by agent lab1, process" in refused.stderr) == (
            3,
            True,
        )
        assert "3 received" in pings(machine)


def test_an_agent_of_another_state_directory_is_another(machine: Machine) -> None:
    machine.ok("deploy", *PAIR)
    inside = ["nsenter", f"--mount=/proc/{machine.holder}/ns/mnt", f"--net=/proc/{machine.holder}/ns/net"]
    environment = {**os.environ, local.STATE_VARIABLE: OTHER_STATE}

    def other(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*inside, sys.executable, "-c", CODE, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    refused = other("deploy", *PAIR)
    assert (refused.returncode, "lab pair is driven by agent local, process" in refused.stderr) == (3, True)
    assert other("run", "all_reduce", *PAIR, "--clock", "real", "-b", "64K").returncode == 3
    assert other("destroy", "--all").returncode == 3
    assert "3 received" in pings(machine)
