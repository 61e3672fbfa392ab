"""Locks between processes: files that only their owner can open, taken with a limit of time.

A lock on a file that others may open can be taken by them for as long as they like. Any kind of death releases a lock.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.errors import DriverError, HostError

_POLL_S = 0.02
_COMMAND_CHARS = 100
_TRIES = 3  # a lock file that is removed at the same moment is made again


@contextmanager
def locked(path: Path, limit_s: float) -> Iterator[int]:
    """Hold the lock file at `path`, made on demand with mode 0600; yield its descriptor.

    A process that inherits the descriptor holds the lock too. Raises HostError that names the holder when the lock is not free
    within `limit_s`, or that the file is not ours; DriverError when it cannot be opened.
    """
    deadline = time.monotonic() + limit_s
    while True:
        descriptor = _open(path)
        try:
            if _take(descriptor, path):
                yield descriptor
                return
            if time.monotonic() > deadline:
                raise HostError(f"{path}: still locked after {limit_s:g} s by {holder(descriptor)}")
        finally:
            os.close(descriptor)
        time.sleep(_POLL_S)


def _open(path: Path) -> int:
    try:
        # Whoever had the lock may have removed the directory too.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DriverError(f"open lock {path}", error.errno or 0) from error
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        os.close(descriptor)
        raise HostError(f"{path}: must be a file of this user with mode 0600")
    return descriptor


def _take(descriptor: int, path: Path) -> bool:
    """Try to lock an open file; False when it is taken, or when it was removed meanwhile and so guards nothing."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def take(path: Path) -> int | None:
    """Lock the file at `path` and return its descriptor, by which the caller holds the lock until it closes that.

    None if another has it. Raises as `locked` does.
    """
    for _ in range(_TRIES):
        descriptor = _open(path)
        try:
            if _take(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    return None


def is_free(descriptor: int) -> bool:
    """Return whether nobody has the lock of an open file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def holder(descriptor: int) -> str:
    """Name the processes that hold the lock of an open file, as `process 12 (flock -x …)`.

    Read from the descriptors of all processes (proc(5), fdinfo): the process that took a lock may be gone, while a child
    still holds it.
    """
    wanted = os.fstat(descriptor)
    holders = [
        f"process {entry.name} ({_command(entry)})"
        for entry in sorted(Path("/proc").iterdir())
        if entry.name.isdecimal() and _holds(entry, wanted)
    ]
    return ", ".join(holders) or "a process that is not visible here"


def _holds(process: Path, wanted: os.stat_result) -> bool:
    # Processes end, and close files, while they are looked at; those of other users cannot be looked into.
    with suppress(OSError):
        for link in (process / "fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(link.stat(), wanted) and "lock:" in (process / "fdinfo" / link.name).read_text():
                    return True
    return False


def _command(process: Path) -> str:
    with suppress(OSError):
        arguments = (process / "cmdline").read_bytes().split(b"\0")[:-1]
        text = " ".join(os.fsdecode(argument) for argument in arguments)
        return text.encode(errors="backslashreplace").decode()[:_COMMAND_CHARS]
    return "ended meanwhile"
