"""Killing at random: what is under way, who is hit, by which signal and when are all drawn from a seed.

After each kill the machine is examined: what runs works, what does not is reported as broken, a deploy restores it, destroy
leaves nothing, and what is not ours is untouched.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.live.machine import Machine, wait_for

PAIR = ("-t", "pair", "--dilation", "1000")
OTHER = ("-t", "two-dc:hosts=1,name=pair", "--dilation", "1000")
END_S = 90
EARLIEST_S, LATEST_S = 0.1, 3.0
"""Before that there is nothing but an interpreter that starts; on a busy machine it does so for longer."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)

# What is under way: what stands before, and the command that is hit.
DEEDS = {
    "deploy": ((), ("deploy", *PAIR)),
    "run": ((), ("run", "all_reduce", *PAIR, "--clock", "real", "-b", "16M", "--out", "here", "--force")),
    "run on a lab": (
        (("deploy", *PAIR),),
        ("run", "all_reduce", *PAIR, "--clock", "real", "-b", "16M", "--out", "here", "--force"),
    ),
    "reconcile": ((("deploy", *PAIR),), ("deploy", *OTHER)),
    "destroy": ((("deploy", *PAIR),), ("destroy", "--name", "pair")),
    "redeploy": ((("deploy", *PAIR),), ("redeploy", *PAIR)),
}
VICTIMS = ("command", "agent", "command and agent", "agent and command", "program in a node")
"""The last one is for deeds on a lab that stands."""


@dataclass(frozen=True)
class Kill:
    """One kill; what it consists of follows from its seed alone."""

    seed: int
    deed: str
    victim: str
    signal: signal.Signals
    after_s: float
    restore: bool

    @classmethod
    def drawn(cls, seed: int) -> Kill:
        """Draw a kill; deeds and victims take turns, so that few seeds hit all of them."""
        draw = random.Random(seed)
        deed = list(DEEDS)[seed % len(DEEDS)]
        victims = VICTIMS if DEEDS[deed][0] else VICTIMS[:-1]
        return cls(
            seed=seed,
            deed=deed,
            victim=victims[seed // len(DEEDS) % len(victims)],
            signal=draw.choice(SIGNALS),
            after_s=draw.uniform(EARLIEST_S, LATEST_S),
            restore=draw.random() < 0.5,
        )

    def __str__(self) -> str:
        return f"{self.signal.name} for {self.victim} {self.after_s:.2f} s into {self.deed}, seed {self.seed}"


def survive(machine: Machine, kill: Kill, stranger: str) -> None:
    """Kill, look, restore or not, clean up; insist on all that must hold. `stranger` is a namespace that is not ours."""
    before, deed = DEEDS[kill.deed]
    for command in before:
        machine.ok(*command)
    sleeper = _sleeper(machine) if kill.victim == VICTIMS[-1] else None
    with ended(sleeper), ended(machine.start(*deed)) as process:
        _wait(process, kill.after_s)
        for victim in kill.victim.split(" and "):
            agents = [agent.pid for agent in machine.agents()] if victim == "agent" else []
            pids = {"command": [process.pid], "agent": agents}.get(victim, _children(sleeper))
            for pid in pids:
                end(pid, kill.signal)
        _, errors = process.communicate(timeout=END_S)
        assert "Traceback" not in errors, errors
    _look(machine)
    if kill.restore:
        machine.ok("deploy", *PAIR)
        assert [lab["state"] for lab in machine.labs()] == ["running"]
        _ping(machine)
    machine.ok("destroy", "--all")
    assert machine.namespaces() == [stranger], "destroy left something, or took what is not ours"
    assert machine.state_files() == [] and machine.agents() == []


@contextmanager
def ended(process: subprocess.Popen[str] | None) -> Iterator[subprocess.Popen[str]]:
    """Kill a process in the end, if it still runs."""
    if process is None:
        yield  # type: ignore[misc]
        return
    try:
        yield process
    finally:
        for child in _children(process):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()


def _wait(process: subprocess.Popen[str], seconds: float) -> None:
    """Let a command get on for so long, or to its end."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def _children(process: subprocess.Popen[str] | None) -> list[int]:
    """Return the programs that a command has started."""
    if process is None or process.poll() is not None:
        return []
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def _sleeper(machine: Machine) -> subprocess.Popen[str]:
    """Start a program in a node, and wait until it runs."""
    process = machine.start("exec", "--name", "pair", "a1", "--", "sleep", "600")
    wait_for(lambda: _children(process) != [])
    return process


def _look(machine: Machine) -> None:
    """A lab is either whole, and then carries frames, or said to be broken."""
    for lab in machine.labs():
        assert lab["state"] in ("running", "broken"), lab
        if lab["state"] == "running":
            _ping(machine)


def _ping(machine: Machine) -> None:
    answer = machine.ok("exec", "--name", "pair", "a1", "--", "ping", "-c", "1", "-W", "30", "b1")
    assert "1 received" in answer, answer


def end(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a process a signal and wait until it is gone; one that does not go by itself is killed."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(descriptor, number)
        if not select.select([descriptor], [], [], END_S / 3)[0]:
            raise AssertionError(f"process {pid} outlived {number.name}: {Path(f'/proc/{pid}/cmdline').read_bytes()!r}")
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
