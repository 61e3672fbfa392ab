"""Programs in the container of a node, by `docker exec`, and the signals for them.

The engine runs such a program, not the command `docker exec`, which keeps signals to itself and whose end the program survives.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from testbed.drivers.containers import container_name
from testbed.errors import HostError
from testbed.system.forwarding import Deputy
from testbed.system.processes import streams

_MARK = "TESTBED_EXEC"


class ContainerProgram(Deputy):
    """The command `docker exec`; a signal for it goes to the program that it started, which has a mark in its environment."""

    mark: bytes

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program; to the command itself while there is no program yet."""
        is_sent = False
        for descriptor in _marked(self.mark):
            is_sent = True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, sig)
            os.close(descriptor)
        if not is_sent:
            super().send_signal(sig)


def start(
    lab: str, node: str, argv: Sequence[str], captured: bool, terminal: bool, variables: Mapping[str, str]
) -> ContainerProgram:
    """Run `argv` in the container of a node, with the caller's standard streams or captured. Raises HostError without docker."""
    mark = f"{_MARK}={secrets.token_hex(8)}"
    interactive = ["--interactive", *(["--tty"] if terminal else [])]
    given = [word for variable in (mark, *map("=".join, variables.items())) for word in ("--env", variable)]
    command = ["docker", "exec", *interactive, *given, container_name(lab, node), *argv]
    try:
        program = ContainerProgram(command, **streams(captured))
    except FileNotFoundError:
        raise HostError("no docker command on this machine: install Debian's docker.io") from None
    program.mark = mark.encode()
    return program


def _marked(mark: bytes) -> Iterator[int]:
    """Yield descriptors of the processes with a mark whose parents have none: the program itself, not what it started."""
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or not _has(int(entry), mark):
            continue
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(int(entry))
            # Asked again now that the process is pinned: its number may have been given to another in between.
            if _has(int(entry), mark) and not _has(_parent(int(entry)), mark):
                yield descriptor
            else:
                os.close(descriptor)


def _has(process: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _parent(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
