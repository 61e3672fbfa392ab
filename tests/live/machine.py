"""A machine of our own inside this one: a mount namespace with a /run of its own, where labs and agents live apart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from testbed.agent import claims, local
from testbed.agent.local import ProcessId
from testbed.run.verdict import UNTRUSTED
from testbed.system import node_spaces

# An interpreter that starts is nobody's to answer for: an interrupt waits until the command itself begins.
CODE = """
import sys
from signal import SIG_UNBLOCK, SIGINT, pthread_sigmask
from testbed.start import main
sys.argv[0] = "testbed"
try:
    pthread_sigmask(SIG_UNBLOCK, [SIGINT])
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(main())
"""
ATTEMPTS = 5
STATE = Path("/run/testbed")


class Machine:
    """A private /run, commands in it, and what of the testbed's there is in the system."""

    def __init__(self, root: Path, directory: Path, holder: int) -> None:
        self.directory = directory
        self.holder = holder
        self._namespaces = [f"--mount=/proc/{holder}/ns/mnt", f"--net=/proc/{holder}/ns/net"]
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "XDG_CACHE_HOME": str(directory / "cache"),
            "TERM": "xterm",
        }
        self._environment.pop(local.STATE_VARIABLE, None)

    def start(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start testbed with the given arguments."""
        inside = ["nsenter", *self._namespaces, f"--wd={self.directory}"]
        # It is ignored where the tests themselves run in the background.
        inside += ["env", "--default-signal=INT", "--block-signal=INT"]
        return subprocess.Popen(
            [*inside, sys.executable, "-c", CODE, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def on_terminal(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run testbed to its end with a terminal for its standard error."""
        terminal, end = os.openpty()
        shown = bytearray()
        with self.start(*arguments, stderr=end) as process:
            os.close(end)
            # Linux says EIO when nobody holds the other end any more.
            with suppress(OSError):
                while data := os.read(terminal, 1 << 16):
                    shown += data
            out, _ = process.communicate(timeout=100)
        os.close(terminal)
        return subprocess.CompletedProcess(arguments, process.returncode, out, shown.decode())

    def ip(self, *arguments: str) -> None:
        """Run iproute2 on the machine."""
        subprocess.run(["nsenter", *self._namespaces, "ip", *arguments], check=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run testbed to its end."""
        with self.start(*arguments) as process:
            out, errors = process.communicate(timeout=100)
        return subprocess.CompletedProcess(arguments, process.returncode, out, errors)

    def run_carried(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run testbed to its end; where it says that this machine could not carry the run, once more, and again."""
        for _ in range(ATTEMPTS):
            done = self.run(*arguments)
            if done.returncode != UNTRUSTED:
                break
        return done

    def ok(self, *arguments: str) -> str:
        """Run testbed, insist on success, and return its standard output."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def labs(self) -> list[dict[str, Any]]:
        """Return what `inspect` says of all labs."""
        return self.labs_of()

    def labs_of(self, *agent: str) -> list[dict[str, Any]]:
        """Return what `inspect` says of the labs of an agent that global options name."""
        labs: list[dict[str, Any]] = json.loads(self.ok(*agent, "inspect", "--format", "json"))["labs"]
        return labs

    def namespaces(self) -> list[str]:
        """Return the names in the private /run/netns."""
        directory = Path(f"/proc/{self.holder}/root/run/netns")
        return sorted(os.listdir(directory)) if directory.exists() else []

    def state_files(self) -> list[str]:
        """Return the files of the private state directory, itself included."""
        directory = Path(f"/proc/{self.holder}/root{STATE}")
        return [str(directory), *os.listdir(directory)] if directory.exists() else []

    def agents(self) -> list[ProcessId]:
        """Return the agents that live in the private /run."""
        return local.processes(STATE, Path(f"/proc/{self.holder}/root"))

    def assert_clean(self, links: list[str]) -> None:
        """Insist that nothing of ours is left."""
        assert self.namespaces() == []
        assert not Path(f"/proc/{self.holder}/root{node_spaces.DIRECTORY}").exists()
        assert not Path(f"/proc/{self.holder}/root{claims.DIRECTORY}").exists()
        assert self.state_files() == []
        assert self.agents() == []
        assert root_links() == links


def wait_for(condition: Callable[[], bool]) -> None:
    """Ask again and again until it is so; give up after 60 s."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def root_links() -> list[str]:
    """Return the interfaces of the machine's own network namespace."""
    return sorted(os.listdir("/sys/class/net"))


@contextmanager
def private_machine(root: Path, directory: Path, network: bool = False) -> Iterator[Machine]:
    """Make a machine of our own inside this one; afterwards insist that nothing is left of it.

    With `network` it has a network of its own, with nothing in it.
    """
    links = root_links()
    script = "mount -t tmpfs tmpfs /run && echo ready && read end"
    command = ["unshare", "--mount", "--propagation", "private", *(["--net"] if network else []), "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
        machine = Machine(root, directory, holder.pid)
        try:
            yield machine
            machine.ok("destroy", "--all")
            machine.assert_clean(links)
        finally:
            for process in machine.agents():
                os.kill(process.pid, signal.SIGKILL)
