"""Signals and closed pipes reach what they are meant for: programs in nodes, and commands that follow a quiet lab."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.machine import CODE, Machine, private_machine, wait_for


@pytest.fixture(scope="module")
def machine(repo_root: Path, tmp_path_factory: pytest.TempPathFactory, require_root: None) -> Iterator[Machine]:
    """Give a machine of our own with a lab that stands still."""
    with private_machine(repo_root, tmp_path_factory.mktemp("machine")) as machine:
        machine.ok("deploy", "-t", "pair", "--dilation", "2000")
        yield machine


def processes(mark: str) -> list[int]:
    """Return the processes whose command line has a word."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0] == mark.encode():
                pids.append(int(entry.name))
    return pids


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_program_in_a_node_gets_the_signals_of_its_command(machine: Machine, number: signal.Signals) -> None:
    mark = f"sleeper-{os.getpid()}-{number.name}"
    command = machine.start("exec", "--name", "pair", "a1", "--", "bash", "-c", f"exec -a {mark} sleep 336")
    wait_for(lambda: bool(processes(mark)))
    command.send_signal(number)
    command.communicate(timeout=20)
    assert command.returncode == 128 + number
    assert processes(mark) == []


def test_a_program_may_take_a_signal_as_it_likes(machine: Machine) -> None:
    script = "trap 'echo heard; exit 7' TERM; echo ready; while :; do read -t 0.1 x; done"
    command = machine.start("exec", "--name", "pair", "a1", "--", "bash", "-c", script)
    assert command.stdout is not None and command.stdout.readline() == "ready\n"
    command.terminate()
    out, _ = command.communicate(timeout=20)
    assert (command.returncode, out) == (7, "heard\n")


@pytest.mark.parametrize(
    ("program", "status"), [("nosuch", 127), ("/etc/passwd/nosuch", 127), ("/etc/passwd", 126), ("false", 1)]
)
def test_a_program_that_is_none_ends_as_in_a_shell(machine: Machine, program: str, status: int) -> None:
    done = machine.run("exec", "--name", "pair", "a1", "--", program)
    assert (done.returncode, done.stdout) == (status, "")
    said = done.stderr.splitlines()
    assert said == [] if program == "false" else len(said) == 1 and said[0].startswith(f"testbed: run {program}: ")


def test_a_program_ends_with_its_terminal(machine: Machine) -> None:
    mark = f"sleeper-{os.getpid()}-terminal"
    control, terminal = os.openpty()
    words = ["exec", "--name", "pair", "a1", "--", "bash", "-c", f"exec -a {mark} sleep 336"]
    enter = ["nsenter", f"--mount=/proc/{machine.holder}/ns/mnt"]
    # As a terminal emulator does it: the command leads a session whose terminal this is.
    command = subprocess.Popen(
        [*enter, "setsid", "--ctty", "--wait", sys.executable, "-c", CODE, *words],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    os.close(terminal)
    wait_for(lambda: bool(processes(mark)))
    os.close(control)
    wait_for(lambda: not processes(mark))
    command.wait(20)


@pytest.mark.parametrize(
    ("command", "read_bytes"),
    [
        (("capture", "--name", "pair", "a1:eth1", "-w", "-"), 24),
        (("events", "--name", "pair"), 1),
        (("events", "--name", "pair", "--format", "json"), 1),
    ],
)
def test_a_follower_of_a_quiet_lab_ends_with_its_reader(
    machine: Machine, command: tuple[str, ...], read_bytes: int
) -> None:
    process = machine.start(*command)
    assert process.stdout is not None
    assert len(os.read(process.stdout.fileno(), read_bytes)) == read_bytes
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_an_interrupted_deploy_undoes_what_it_began_and_says_so(machine: Machine) -> None:
    before = machine.namespaces()
    process = machine.start("deploy", "-t", "clos:hosts=8", "--dilation", "5000")
    wait_for(lambda: machine.namespaces() != before)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert errors.endswith("interrupted; lab clos was taken down again\n")
    assert machine.namespaces() == before


def test_a_run_that_is_interrupted_while_its_lab_is_built_leaves_none(machine: Machine) -> None:
    before = machine.namespaces()
    words = ("run", "all_reduce", "-t", "clos:hosts=8", "--clock", "real", "--dilation", "5000", "--keep", "-b", "4K")
    process = machine.start(*words)
    wait_for(lambda: machine.namespaces() != before)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; lab clos was taken down again" in errors
    assert machine.namespaces() == before
