"""The local agent as a process.

One starts however many ask, its state is private, and it ends when it is told to or not needed.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testbed.agent import local
from testbed.agent.local import ProcessId
from testbed.bus import client, verbs
from testbed.bus.address import LOCAL_AGENT
from testbed.errors import HostError

STARTER = """
import sys
from pathlib import Path
from testbed.agent import local
print(local.ensure(Path(sys.argv[1]), idle_exit_s=60).pid)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Return an empty state directory; end what was started in it."""
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    yield path
    local.stop(path)


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone; agents of these tests are our own children and are reaped here."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 20)[0], f"process {pid} lives on"
    finally:
        os.close(descriptor)


def ping(record: local.AgentRecord) -> None:
    async def work() -> None:
        async with client.connect(record.address(), LOCAL_AGENT) as caller:
            assert await caller.request(verbs.PING) == {}

    asyncio.run(work())


def test_concurrent_starters_start_one_agent(directory: Path, repo_root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}

    def start(_: int) -> str:
        command = [sys.executable, "-c", STARTER, str(directory)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=90).stdout

    with ThreadPoolExecutor(4) as pool:
        pids = {int(text) for text in pool.map(start, range(4))}
    assert len(pids) == 1
    assert [process.pid for process in local.processes(directory)] == list(pids)


def test_the_password_is_private(directory: Path) -> None:
    record = local.ensure(directory, idle_exit_s=60)
    ping(record)
    assert stat.S_IMODE((directory / "agent.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((directory / "agent.log").stat().st_mode) == 0o600
    secret = record.password.encode()
    assert len(secret) >= 32
    for place in ("cmdline", "environ"):
        assert secret not in Path(f"/proc/{record.pid}/{place}").read_bytes()
    assert secret not in (directory / "agent.log").read_bytes()
    assert record.password not in repr(record)
    assert record.password not in local.describe(record)


def test_a_reused_pid_is_no_agent(directory: Path) -> None:
    """The record names a process that lives, but is not the one that wrote it: this very test."""
    ticks = local.start_ticks(os.getpid())
    assert ticks is not None
    for start in (ticks, ticks - 1):
        record = {"pid": os.getpid(), "start_ticks": start, "socket": "s", "username": "u", "password": "p"}
        (directory / "agent.json").write_text(json.dumps(record))
        assert local.find(directory) is None
        local.stop(directory)  # must not end this test
        directory.mkdir(mode=0o700)
    (directory / "agent.json").write_text(json.dumps(record))
    ping(local.ensure(directory, idle_exit_s=60))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "1"}', '{"pid": 1}', "\0"])
def test_a_broken_state_file_is_replaced(directory: Path, content: str) -> None:
    (directory / "agent.json").write_text(content)
    assert local.find(directory) is None


def test_a_killed_agent_is_replaced(directory: Path) -> None:
    first = local.ensure(directory, idle_exit_s=60)
    os.kill(first.pid, signal.SIGKILL)
    wait_for_end(first.pid)
    assert local.find(directory) is None
    second = local.ensure(directory, idle_exit_s=60)
    assert second.pid != first.pid
    ping(second)


def test_an_idle_agent_ends_and_takes_its_state_along(directory: Path) -> None:
    record = local.ensure(directory, idle_exit_s=0.5)
    wait_for_end(record.pid)
    assert not (directory / "agent.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_an_agent_cleanly(directory: Path, number: signal.Signals) -> None:
    record = local.ensure(directory, idle_exit_s=60)
    os.kill(record.pid, number)
    wait_for_end(record.pid)
    assert not (directory / "agent.json").exists()
    assert "Traceback" not in (directory / "agent.log").read_text()


def test_shutdown_is_answered_and_obeyed(directory: Path) -> None:
    record = local.ensure(directory, idle_exit_s=60)

    async def work() -> None:
        async with client.connect(record.address(), LOCAL_AGENT) as caller:
            await caller.request(verbs.SHUTDOWN)

    asyncio.run(work())
    wait_for_end(record.pid)


def test_stop_ends_even_an_agent_that_hangs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_KILL_S", 1.0)
    record = local.ensure(directory, idle_exit_s=60)
    os.kill(record.pid, signal.SIGSTOP)
    local.stop(directory)
    assert local.start_ticks(record.pid) is None
    assert not directory.exists()


def test_stop_finds_an_agent_without_its_state_file(directory: Path) -> None:
    record = local.ensure(directory, idle_exit_s=60)
    (directory / "agent.json").unlink()
    assert local.processes(directory) == [ProcessId(record.pid, record.start_ticks)]
    local.stop(directory)
    assert local.start_ticks(record.pid) is None


def test_an_agent_that_cannot_start_gives_the_reason(directory: Path) -> None:
    (directory / "agent.json").mkdir()  # nothing can be renamed over a directory
    try:
        with pytest.raises(HostError, match=r"agent\.log"):
            local.ensure(directory)
        assert local.processes(directory) == []
    finally:
        (directory / "agent.json").rmdir()


@pytest.mark.parametrize("more", [0o040, 0o020, 0o010, 0o004, 0o002, 0o001])
def test_a_state_directory_that_anybody_else_can_touch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    """The group alone is too many: any one of its bits, and of the others'."""
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(0o700)
    monkeypatch.setenv(local.STATE_VARIABLE, str(path))
    assert local.state_dir() == path
    path.chmod(0o700 | more)
    with pytest.raises(HostError, match="mode 0700"):
        local.state_dir()


def test_a_state_directory_open_to_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "open"
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    monkeypatch.setenv(local.STATE_VARIABLE, str(path))
    with pytest.raises(HostError, match="0700"):
        local.state_dir()
    monkeypatch.setenv(local.STATE_VARIABLE, str(tmp_path / "link"))
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(HostError):
        local.state_dir()
