"""What the machine lacks is said in one line, with exit code 3, and nothing is left half-built."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.system import netem
from tests.live.machine import Machine, private_machine

DEPLOY = ("deploy", "-t", "pair", "--dilation", "1000")
RUN = ("run", "all_reduce", "-t", "pair", "--clock", "virtual", "-b", "64K")
FULL, CLOSED = "/run/full", "/run/closed"
STRANGER = "testbed-pair-leaf"


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path, require_root: None) -> Iterator[Machine]:
    """Return a machine of our own inside this one."""
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


def inside(machine: Machine, *command: str) -> None:
    """Run a program on that machine."""
    subprocess.run(["nsenter", f"--mount=/proc/{machine.holder}/ns/mnt", *command], check=True, capture_output=True)


def full_disk(machine: Machine, at: str = FULL) -> None:
    """Mount a file system on which there is no room."""
    inside(machine, "install", "-d", "-m", "700", at)
    inside(machine, "mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "tmpfs", at)
    inside(machine, "dd", "if=/dev/zero", f"of={at}/ballast", "bs=4096", "count=1")


def read_only(machine: Machine) -> None:
    """Mount a file system that nobody may write to."""
    inside(machine, "install", "-d", CLOSED)
    inside(machine, "mount", "-t", "tmpfs", "-o", "ro", "tmpfs", CLOSED)


def full_state(machine: Machine) -> None:
    """Leave no room for what an agent writes down."""
    full_disk(machine, "/run/testbed")


def taken_name(machine: Machine) -> None:
    """Give a namespace that is not ours the name of a node."""
    inside(machine, "ip", "netns", "add", STRANGER)


Prepare = Callable[[Machine], None]
LACKS: dict[str, tuple[Prepare, tuple[str, ...], str]] = {
    "no room for a result": (full_disk, (*RUN, "--out", f"{FULL}/here"), "No space left on device"),
    "no room for an agent": (full_state, DEPLOY, "No space left on device"),
    "no room for a picture": (
        full_disk,
        ("graph", "-t", "pair", "--html", "-o", f"{FULL}/x"),
        "No space left on device",
    ),
    "nothing may be written": (read_only, (*RUN, "--out", f"{CLOSED}/here"), "Read-only file system"),
    "the name of a node is taken": (taken_name, DEPLOY, "that name is taken by something which is not of this lab"),
}


@pytest.mark.parametrize("what", LACKS)
def test_it_is_reported_in_one_line(machine: Machine, what: str) -> None:
    prepare, command, said = LACKS[what]
    prepare(machine)
    try:
        done = machine.run(*command)
        assert done.returncode == 3, done.stderr + done.stdout
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("testbed: ")]
        assert said in line and "Traceback" not in done.stderr
        assert [name for name in machine.namespaces() if name != STRANGER] == []
        machine.ok("destroy", "--all")
        assert machine.namespaces() == ([STRANGER] if prepare is taken_name else []), "what is not ours stays"
    finally:
        if prepare is taken_name:
            inside(machine, "ip", "netns", "del", STRANGER)
        if prepare is full_state:
            inside(machine, "umount", "/run/testbed")
            inside(machine, "rmdir", "/run/testbed")


def test_netem_is_had_or_its_absence_said(machine: Machine) -> None:
    done = machine.run(*DEPLOY, "--emulation", "netem")
    if netem.probe():
        assert done.returncode == 0, done.stderr
    else:
        assert (done.returncode, "netem" in done.stderr) == (3, True), done.stderr
        assert machine.namespaces() == []
