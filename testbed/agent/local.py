"""The agent that belongs to this machine: find it, start it when there is none, and end it for certain.

The state directory holds files that only their owner can read: `agent.json` (who the agent is and its password),
`bus.sock` (where it is reached), `agent.log` and `agent.lock`. The state is a hint, never an authority: a process counts
as the agent only while its pid, its start time and its command line all agree, so that a reused pid is never mistaken
for it, let alone killed.

Start-up is race-free because the lock is handed over: the starter takes `agent.lock` and the new agent inherits the
open file, so the lock stays taken until the agent can be reached, even when the starter is killed in between.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from testbed.agent import captures
from testbed.agent.ledger import STATE_VARIABLE, Ledger, default_state_dir
from testbed.agent.privileges import SINGLE_THREADED
from testbed.bus.address import BrokerAddress
from testbed.bus.admission import check_path
from testbed.data import DATA
from testbed.errors import HostError
from testbed.system import bounded_log
from testbed.system.locks import locked

IDLE_VARIABLE = "TESTBED_AGENT_IDLE_S"
METRICS_VARIABLE = "TESTBED_AGENT_METRICS"
IDLE_EXIT_S = 5.0

# Importing everything takes about two seconds on an idle machine.
_ROOM_BYTES = 1 << 16
_START_S = 30.0
_KILL_S = 5.0
_LOCK_S = 45.0
_STATE_FILE = "agent.json"
_LOG_FILE = "agent.log"
_LOCK_FILE = "agent.lock"
_SOCKET_FILE = "bus.sock"


class AgentRecord(BaseModel):
    """What `agent.json` says. `start_ticks` is field 22 of /proc/<pid>/stat: clock ticks since boot."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    pid: int = Field(gt=1)
    start_ticks: int
    socket: Path = Field(strict=False)
    username: str
    password: str = Field(repr=False)

    def address(self) -> BrokerAddress:
        """Return where the agent's embedded broker is."""
        return BrokerAddress(socket=self.socket, username=self.username, password=self.password)


@dataclass(frozen=True)
class ProcessId:
    """Name one process for good: a pid alone may be reused."""

    pid: int
    start_ticks: int


def state_dir() -> Path:
    """Return the state directory, made on demand with mode 0700. Raise `HostError` when somebody else owns it."""
    path = default_state_dir()
    check_path(socket_path(path))
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = path.lstat()
        room = os.statvfs(path)
    except OSError as error:
        raise HostError(f"state directory {path}: {error.strerror}") from None
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise HostError(f"state directory {path}: must be a directory of this user with mode 0700")
    # An agent that finds no room could not even write down why it ends. A file system without a limit has no blocks.
    if room.f_blocks and room.f_bavail * room.f_frsize < _ROOM_BYTES:
        raise HostError(f"state directory {path}: {os.strerror(errno.ENOSPC)}")
    return path


def socket_path(directory: Path) -> Path:
    """Name the socket of the local agent of one state directory."""
    return directory / _SOCKET_FILE


def log_path(directory: Path) -> Path:
    """Name the log of the local agent of one state directory."""
    return directory / _LOG_FILE


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None when there is no such process or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the command in parentheses and may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def command_line(directory: Path) -> list[str]:
    """Return the exact arguments of the local agent of one state directory; what its process is recognised by."""
    return [sys.executable, "-m", "testbed.cli", "agent", "--local", "--state-dir", str(directory)]


def is_agent(process: ProcessId, directory: Path, root: Path = Path("/")) -> bool:
    """Return whether a process is alive, the one meant, and an agent of this state directory.

    `root` is where the directory is looked up: in another mount namespace the same path may be another directory.
    """
    if start_ticks(process.pid) != process.start_ticks:
        return False
    try:
        # The parent, since the directory itself may be gone already.
        parents = [place / directory.parent.relative_to("/") for place in (root, Path(f"/proc/{process.pid}/root"))]
        if not os.path.samestat(*(parent.stat() for parent in parents)):
            return False
        if Path(f"/proc/{process.pid}").stat().st_uid != os.geteuid():
            return False
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return False
    # The interpreter's path may differ between two checkouts that share a state directory; what follows it may not.
    return arguments[1:] == [os.fsencode(argument) for argument in command_line(directory)[1:]]


def find(directory: Path) -> AgentRecord | None:
    """Return the running local agent; None when there is none. A stale or broken `agent.json` counts as none."""
    try:
        record = AgentRecord.model_validate_json((directory / _STATE_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if is_agent(ProcessId(record.pid, record.start_ticks), directory) else None


def publish(directory: Path, address: BrokerAddress) -> None:
    """Write `agent.json` for this very process, whole or not at all, with mode 0600."""
    ticks = start_ticks(os.getpid())
    assert ticks is not None and address.socket and address.username is not None and address.password is not None
    record = AgentRecord(
        pid=os.getpid(),
        start_ticks=ticks,
        socket=address.socket,
        username=address.username,
        password=address.password,
    )
    # mkstemp creates with mode 0600, so the password is at no moment readable by others.
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=_STATE_FILE)
    with os.fdopen(descriptor, "w") as file:
        file.write(record.model_dump_json())
    os.replace(temporary, directory / _STATE_FILE)


def withdraw(directory: Path) -> None:
    """Remove `agent.json` if it is this process's own."""
    record = find(directory)
    if record and record.pid == os.getpid():
        (directory / _STATE_FILE).unlink(missing_ok=True)


def ensure(directory: Path, idle_exit_s: float = IDLE_EXIT_S) -> AgentRecord:
    """Return the running local agent, started if need be. However many callers there are, one agent starts.

    Raises `HostError` with the end of the agent's log when it does not come up within 30 s.
    """
    if record := find(directory):
        return record
    with _locked(directory) as lock:
        if record := find(directory):
            return record
        _spawn(directory, lock, idle_exit_s)
        if record := find(directory):
            return record
    raise HostError(f"the local agent did not start; the end of {directory / _LOG_FILE}:\n{_log_tail(directory)}")


def stop(directory: Path) -> None:
    """End every agent of this state directory by SIGTERM, then SIGKILL, and remove the state directory.

    Finds agents by `agent.json` and by their exact command line in /proc, so that one that hangs before it has
    written its state is found as well. Waits until each process is gone. Raises `HostError` when one survives.
    """
    if not directory.exists():
        return
    with contextlib.ExitStack() as stack:
        # An agent that is just starting holds the lock until it can be reached. One that hangs before that is ended
        # without it.
        with contextlib.suppress(HostError):
            stack.enter_context(_locked(directory))
        for process in processes(directory):
            _end(process, directory)
        _remove(directory)


def _remove(directory: Path) -> None:
    for name in (_STATE_FILE, _SOCKET_FILE, _LOG_FILE, f"{_LOG_FILE}{bounded_log.OLDER}", _LOCK_FILE):
        (directory / name).unlink(missing_ok=True)
    for leftover in directory.glob(f"{_STATE_FILE}*"):
        leftover.unlink(missing_ok=True)
    Ledger(directory).clear()
    captures.clear(directory)
    # Somebody else's file in our directory is theirs: then the directory stays.
    with contextlib.suppress(OSError):
        directory.rmdir()


def processes(directory: Path, root: Path = Path("/")) -> list[ProcessId]:
    """List the agents of this state directory, as it is seen from `root`, however they were started."""
    processes = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        ticks = start_ticks(int(entry.name))
        if ticks is not None and is_agent(process := ProcessId(int(entry.name), ticks), directory, root):
            processes.append(process)
    return processes


def ready(lock_fd: int, ready_fd: int) -> None:
    """Let go of the inherited lock and tell the starter, from within the agent, that it can be reached."""
    os.close(lock_fd)
    with contextlib.suppress(BrokenPipeError):
        os.write(ready_fd, b"1")
    os.close(ready_fd)


def inherited() -> tuple[int, int] | None:
    """Return the descriptors a starter handed over (lock, ready pipe); None when the agent was started by hand."""
    pair = os.environ.pop("TESTBED_AGENT_FDS", None)
    if pair is None:
        return None
    lock, pipe = pair.split(",")
    return int(lock), int(pipe)


def environment(directory: Path, idle_exit_s: float) -> dict[str, str]:
    """Return what the local agent of a state directory finds in its environment besides what its starter has there."""
    # The agent leaves the working directory, so a package that is found only from here must be found from there too.
    search = [
        str(DATA.resolve().parents[1]),
        *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)),
    ]
    return {
        "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in search),
        IDLE_VARIABLE: str(idle_exit_s),
        STATE_VARIABLE: str(directory),
        **SINGLE_THREADED,
    }


def _spawn(directory: Path, lock: int, idle_exit_s: float) -> None:
    """Start the agent in a session of its own and wait until it says it is ready, dies, or 30 s have passed."""
    reading, writing = os.pipe()
    log = bounded_log.open_log(log_path(directory))
    try:
        process = subprocess.Popen(
            command_line(directory),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, **environment(directory, idle_exit_s), "TESTBED_AGENT_FDS": f"{lock},{writing}"},
            pass_fds=(lock, writing),
            start_new_session=True,
        )
        os.close(writing)
        writing = -1
        readable, _, _ = select.select([reading], [], [], _START_S)
        if readable and os.read(reading, 1):
            # It outlives this process on purpose, which therefore never waits for it.
            process.returncode = 0
            return
        process.kill()
        process.wait()
    finally:
        os.close(log)
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def _locked(directory: Path) -> AbstractContextManager[int]:
    """Hold `agent.lock`; yield its descriptor. Raise `HostError` that names the holder when it cannot be had in 45 s."""
    return locked(directory / _LOCK_FILE, _LOCK_S)


def _end(process: ProcessId, directory: Path) -> None:
    """Send SIGTERM, then SIGKILL, to a verified process, through a descriptor that cannot come to mean another one."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # Checked after the descriptor is open: from here on it means this process, whatever becomes of the number.
        if not is_agent(process, directory):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if select.select([descriptor], [], [], _KILL_S)[0]:
                return
    finally:
        os.close(descriptor)
    raise HostError(f"the agent, process {process.pid}, did not end after SIGKILL")


def _log_tail(directory: Path) -> str:
    try:
        return "\n".join((directory / _LOG_FILE).read_text(errors="replace").splitlines()[-8:])
    except OSError:
        return "(no log)"


def describe(record: AgentRecord) -> str:
    """Write a record as JSON without its secret, for people and for logs."""
    return json.dumps(record.model_dump(mode="json", exclude={"password"}))
