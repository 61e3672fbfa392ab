"""The processes that live in network namespaces of ours."""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, suppress

from testbed.errors import DriverError
from testbed.system.namespaces import Namespace

_GRACE_MS = 500
_KILL_ROUNDS = 10


def end_processes(namespaces: Iterable[Namespace], spare: Collection[int] = ()) -> None:
    """End the processes whose network namespace is one of ours: first asked, then, half a second later, killed.

    This process and those in `spare` are left alone. Raises DriverError if some survive.
    """
    homes = {_identity(f"/proc/self/fd/{namespace.fd}") for namespace in namespaces}
    spared = {os.getpid(), *spare}
    for attempt in range(_KILL_ROUNDS):
        with ExitStack() as stack:
            processes = list(_open_processes(homes, spared, stack))
            if not processes:
                return
            waiting = select.poll()
            for pidfd in processes:
                waiting.register(pidfd, select.POLLIN)
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGTERM if attempt == 0 else signal.SIGKILL)
            _wait_for_all(waiting, len(processes))
    raise DriverError("end the processes of a lab", errno.EBUSY, f"{len(processes)} did not end")


def _wait_for_all(waiting: select.poll, count: int) -> None:
    """Wait until `count` processes have ended, or half a second has passed since the last that did."""
    while count:
        ended = waiting.poll(_GRACE_MS)
        if not ended:
            return
        for pidfd, _events in ended:
            waiting.unregister(pidfd)
        count -= len(ended)


def _open_processes(homes: set[tuple[int, int]], spared: set[int], stack: ExitStack) -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in spared:
            continue
        path = f"/proc/{entry}/ns/net"
        try:
            if _identity(path) not in homes:
                continue
            pidfd = os.pidfd_open(int(entry))
            stack.callback(os.close, pidfd)
            # Asked again now that the process is pinned: its number may have been given to another in between.
            if _identity(path) in homes:
                yield pidfd
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or a zombie


def is_in(process: int, namespace: Namespace) -> bool:
    """Return whether a process lives in a namespace of ours; not so if it has ended."""
    try:
        return _identity(f"/proc/{process}/ns/net") == _identity(f"/proc/self/fd/{namespace.fd}")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _identity(path: str) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino
